//! Open challenges: what a login that waits for its second factor is known by.
//!
//! The token that the client holds is a handle; what it stands for is an entry here, so it can be completed
//! once, die of wrong guesses, and end with a credential event, whatever the token itself says.
use crate::{budget::Method, records::Id};
use countersign_plugin_api::{Login, SessionMode, Time};
use serde::{Deserialize, Serialize};

/// The purpose of its tokens.
pub(crate) const PURPOSE: &str = "mfa";
/// So many can wait at a time; the oldest gives way.
const MAX_OPEN: usize = 5;
/// So many wrong guesses and a challenge is dead.
pub(crate) const MAX_TRIES: u32 = 5;
/// So many completed ones are remembered. A code completes one in 30 seconds and a challenge lives 5
/// minutes, so it takes several factors, or a long `challenge_ttl`, for one to be forgotten early.
const MAX_COMPLETED: usize = 32;

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Challenge {
    pub(crate) id: Id,
    /// The pending session that it completes.
    pub(crate) session: String,
    /// Whether the handle alone will do. Otherwise the pending session must come along: a handle that leaked
    /// is worth nothing in another browser.
    pub(crate) bearer: bool,
    /// Whether the first factor was the mailbox, which is not two factors; or goes by a name of ours, which a code by mail
    /// would then seem to have earned.
    pub(crate) by_mail: bool,
    /// The account's epoch when it was made: a credential event since then has ended it.
    pub(crate) epoch: u64,
    pub(crate) expires_at: Time,
    pub(crate) failures: u32,
    pub(crate) completed: bool,
}

impl Challenge {
    pub(crate) fn new(id: Id, login: &Login, expires_at: Time) -> Self {
        Self {
            id,
            session: login.session.clone(),
            bearer: login.mode == SessionMode::Bearer,
            by_mail: by_mail(login) || goes_by_ours(login),
            epoch: login.subject.epoch,
            expires_at,
            failures: 0,
            completed: false,
        }
    }

    /// Whether there is still something to say about it. That it was completed outlives a change of epoch.
    pub(crate) fn is_kept(&self, now: Time, epoch: u64) -> bool {
        now < self.expires_at && (self.completed || self.epoch == epoch)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.failures >= MAX_TRIES
    }
}

/// Whether the mailbox had a part in the first factor.
pub(crate) fn by_mail(login: &Login) -> bool {
    login.amr.iter().any(|method| method == Method::Email.amr())
}

/// An application may have had a second factor proven by somebody else.
fn goes_by_ours(login: &Login) -> bool {
    let ours = [Method::Totp, Method::Recovery].map(Method::amr);
    login.amr.iter().any(|method| ours.contains(&method.as_str()))
}

/// Adds a challenge; answers the session of the one that gives way to it.
pub(crate) fn open(challenges: &mut Vec<Challenge>, new: Challenge) -> Option<String> {
    let full = challenges.iter().filter(|c| !c.completed).count() >= MAX_OPEN;
    // Entries are in the order in which they were opened.
    let oldest = challenges.iter().position(|c| !c.completed).filter(|_| full);
    let gone = oldest.map(|at| challenges.remove(at).session);
    challenges.push(new);
    gone
}

/// Marks one as completed, and forgets the oldest completed ones beyond what is remembered.
pub(crate) fn complete(challenges: &mut Vec<Challenge>, id: Id) {
    if let Some(challenge) = challenges.iter_mut().find(|c| c.id == id) {
        challenge.completed = true;
    }
    let mut surplus = challenges.iter().filter(|c| c.completed).count().saturating_sub(MAX_COMPLETED);
    challenges.retain(|c| {
        let forgotten = c.completed && surplus > 0;
        surplus -= usize::from(forgotten);
        !forgotten
    });
}

/// The challenge that a client means: the one with that id, or without one the one of its session, and only
/// when it may speak for it.
pub(crate) fn find<'a>(
    challenges: &'a [Challenge],
    id: Option<&str>,
    session: &str,
    with_session: bool,
) -> Found<'a> {
    let meant = |c: &&Challenge| c.session == session && id.is_none_or(|id| c.id.to_string() == id);
    match challenges.iter().rfind(meant) {
        Some(challenge) if with_session || challenge.bearer => Found::Known(challenge),
        Some(_) => Found::Foreign,
        None => Found::Gone,
    }
}

/// What became of a challenge that was issued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Known(&'a Challenge),
    /// It lives, but its session did not come along.
    Foreign,
    /// It expired, was cancelled, gave way, or a credential event ended it.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_plugin_api::Subject;

    fn challenge(n: u8) -> Challenge {
        let subject = Subject {
            id: "u1".into(),
            email: "ann@example.org".into(),
            email_verified: true,
            role: "user".into(),
            epoch: 7,
            created_at: Time::EPOCH,
        };
        let (session, mode, amr) = (format!("s{n}"), SessionMode::Cookie, vec!["pwd".into()]);
        Challenge::new(Id([n; 16]), &Login { subject, session, mode, amr }, Time::from_secs(300))
    }

    #[test]
    fn the_sixth_open_one_ends_the_oldest() {
        let mut challenges = Vec::new();
        for n in 1..=5 {
            assert_eq!(open(&mut challenges, challenge(n)), None);
        }
        complete(&mut challenges, Id([1; 16]));
        assert_eq!(open(&mut challenges, challenge(6)), None, "a completed one takes no place");
        assert_eq!(open(&mut challenges, challenge(7)), Some("s2".into()));
        let open: Vec<&str> =
            challenges.iter().filter(|c| !c.completed).map(|c| c.session.as_str()).collect();
        assert_eq!(open, ["s3", "s4", "s5", "s6", "s7"]);
        assert!(challenges[0].completed && challenges[0].session == "s1");
    }

    #[test]
    fn completed_ones_are_remembered_within_bounds() {
        let mut challenges = Vec::new();
        for n in 0..40 {
            open(&mut challenges, challenge(n));
            complete(&mut challenges, Id([n; 16]));
        }
        assert_eq!(challenges.len(), MAX_COMPLETED);
        assert_eq!(challenges[0].session, "s8");
    }

    #[test]
    fn time_and_a_credential_event_end_it() {
        let open = challenge(1);
        let completed = Challenge { completed: true, ..challenge(1) };
        let expired = Time::from_secs(300);
        for (challenge, now, epoch, kept) in [
            (&open, Time::from_secs(299), 7, true),
            (&open, expired, 7, false),
            (&open, Time::from_secs(1), 8, false),
            (&completed, Time::from_secs(1), 8, true),
            (&completed, expired, 7, false),
        ] {
            assert_eq!(challenge.is_kept(now, epoch), kept, "{challenge:?} {now} {epoch}");
        }
    }

    #[test]
    fn who_may_speak_for_it() {
        let bearer = Challenge { bearer: true, ..challenge(2) };
        let challenges = [challenge(1), bearer];
        let (one, two) = (Id([1; 16]).to_string(), Id([2; 16]).to_string());
        for (id, session, with_session, found) in [
            (Some(&one), "s1", true, Found::Known(&challenges[0])),
            (None, "s1", true, Found::Known(&challenges[0])),
            (Some(&one), "s1", false, Found::Foreign),
            (Some(&two), "s2", false, Found::Known(&challenges[1])),
            (Some(&two), "s2", true, Found::Known(&challenges[1])),
            (Some(&one), "s2", true, Found::Gone),
            (None, "s3", true, Found::Gone),
        ] {
            assert_eq!(find(&challenges, id.map(String::as_str), session, with_session), found);
        }
    }
}

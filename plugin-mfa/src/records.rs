//! What is kept of an account, all of it in one record: one read tells a decision what it needs, and one
//! conditional write makes any two decisions about one account serial.
use crate::{budget::Budget, challenge::Challenge, email_otp::Sent, quota::Quota, trust::Trusted};
use countersign_plugin_api::{Context, Decision, Found, Name, Problem, Refusal, Secret, Time};
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};
use std::{fmt, time::Duration};

/// The name of the record.
pub(crate) const STATE: &str = "state";
/// The first byte of a record. A newer one is refused unread: this code would drop what it does not know.
const VERSION: u8 = 1;

/// An id of ours: 128 random bits, 32 hexadecimal digits outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Id(pub(crate) [u8; 16]);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A TOTP secret: 160 bits where it was made here (RFC 4226, R6), and from 128 to 512 where it was imported.
pub(crate) type Key = Secret<Vec<u8>>;

/// An active TOTP factor.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Factor {
    pub(crate) id: Id,
    pub(crate) label: String,
    #[serde(serialize_with = "exposed")]
    pub(crate) key: Key,
    pub(crate) created_at: Time,
    pub(crate) last_used_at: Option<Time>,
    /// The newest time step whose code was accepted: it and all before it are spent.
    pub(crate) last_step: u64,
}

/// A factor that has not proven yet that the app holds its key. It lies apart from the active ones, so that
/// whatever becomes of it touches none of them.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Enrolment {
    pub(crate) id: Id,
    pub(crate) label: String,
    #[serde(serialize_with = "exposed")]
    pub(crate) key: Key,
    /// Only the session that began it can finish it.
    pub(crate) session: String,
    pub(crate) expires_at: Time,
}

/// The recovery codes that are left, hashed by the kernel.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recovery {
    pub(crate) salt: [u8; 16],
    pub(crate) hashes: Vec<[u8; 32]>,
}

/// A second-factor proof by recovery code. New codes want a TOTP proof, and a session does not tell which of
/// its methods its `mfa_verified_at` comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recovered {
    pub(crate) session: String,
    pub(crate) at: Time,
}

/// The second-factor state of an account.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) factors: Vec<Factor>,
    pub(crate) enrolment: Option<Enrolment>,
    pub(crate) recovery: Option<Recovery>,
    pub(crate) recovered: Vec<Recovered>,
    pub(crate) budget: Budget,
    pub(crate) challenges: Vec<Challenge>,
    /// The one code by mail that is live.
    pub(crate) mailed: Option<Sent>,
    /// The codes that were sent by mail.
    pub(crate) mails: Quota,
    /// The password was set anew by mail, and no factor has been proven beside it since: the mailbox alone must not open
    /// the door, so no code is sent there.
    pub(crate) reset_by_mail: bool,
    pub(crate) trusted: Vec<Trusted>,
}

impl State {
    pub(crate) fn enrolled(&self) -> bool {
        !self.factors.is_empty()
    }

    pub(crate) fn recovery_codes(&self) -> usize {
        self.recovery.as_ref().map_or(0, |recovery| recovery.hashes.len())
    }

    /// Whether a code by mail completes a login; `by_mail` tells that it began with the mailbox.
    pub(crate) fn takes_mail(&self, by_mail: bool) -> bool {
        self.enrolled() && !by_mail && !self.reset_by_mail
    }

    /// What the account can complete a login with, on a host that sends mail or does not.
    pub(crate) fn methods(&self, by_mail: bool, sends_mail: bool) -> Vec<&'static str> {
        let totp = self.enrolled().then_some("totp");
        let recovery = (self.recovery_codes() > 0).then_some("recovery");
        let email = (sends_mail && self.takes_mail(by_mail)).then_some("email_otp");
        totp.into_iter().chain(recovery).chain(email).collect()
    }

    /// Drops what time or a credential event has ended, so that nothing later needs to ask.
    #[must_use]
    pub(crate) fn at(mut self, now: Time, epoch: u64, step_up_window: Duration) -> Self {
        self.challenges.retain(|challenge| challenge.is_kept(now, epoch));
        self.enrolment.take_if(|enrolment| enrolment.expires_at <= now);
        self.recovered.retain(|recovered| now < recovered.at + step_up_window);
        self.trusted.retain(|browser| browser.is_kept(now, epoch));
        self.mailed.take_if(|sent| sent.expires_at <= now);
        self
    }

    /// From when on nothing of it matters any more.
    fn expires_at(&self) -> Time {
        if self.enrolled()
            || self.recovery.is_some()
            || self.reset_by_mail
            || self.budget != Budget::default()
        {
            return Time::NEVER;
        }
        let challenges = self.challenges.iter().map(|challenge| challenge.expires_at);
        challenges.chain(self.enrolment.iter().map(|e| e.expires_at)).max().unwrap_or(Time::EPOCH)
    }

    /// Enough bytes for its record: labels are the longest part, of 100 characters at most.
    pub(crate) fn room(&self) -> usize {
        let labelled = self.factors.len() + self.trusted.len() + 1;
        let named = self.challenges.len() + self.recovered.len() + 1;
        1024 + labelled * 640 + named * 192
    }

    pub(crate) fn decode(record: &[u8]) -> Result<Self, Refusal> {
        decode(STATE, record)
    }
}

/// Reads the record `name` back.
pub(crate) fn decode<T: DeserializeOwned>(name: &str, record: &[u8]) -> Result<T, Refusal> {
    let fault = |why: fmt::Arguments<'_>| {
        Refusal::new(Problem::PluginFault).because(format_args!("the {name} record {why}"))
    };
    match record.split_first() {
        Some((&VERSION, fields)) => match postcard::take_from_bytes(fields) {
            Ok((state, [])) => Ok(state),
            Ok(_) => Err(fault(format_args!("is longer than its fields"))),
            Err(error) => Err(fault(format_args!("does not read back: {error}"))),
        },
        Some((version, _)) => Err(fault(format_args!(
            "has format version {version}, and this plugin knows {VERSION}: it was written by another release"
        ))),
        None => Err(fault(format_args!("is empty"))),
    }
}

/// The record `name` as it is written. There must be room for all of it, or growing would leave copies of what
/// is in it behind.
pub(crate) fn encode(name: &str, value: &impl Serialize, room: usize) -> Result<Secret<Vec<u8>>, Refusal> {
    let mut record = Vec::with_capacity(room);
    record.push(VERSION);
    postcard::to_extend(value, record)
        .map(Secret::new)
        .map_err(|error| Refusal::new(Problem::PluginFault).because(format_args!("{name}: {error}")))
}

fn exposed<S: Serializer>(key: &Key, serializer: S) -> Result<S::Ok, S::Error> {
    key.expose().serialize(serializer)
}

/// Reads an account's state; without a record it is empty.
pub(crate) fn load(context: &dyn Context, subject: &str) -> Result<State, Refusal> {
    let mut found = Found::new();
    context.get(&[Name::of(subject, STATE)], &mut found)?;
    found.at(0).map_or_else(|| Ok(State::default()), |record| State::decode(record.value))
}

/// Adds to a decision that the state, which was read in this call, becomes this one.
pub(crate) fn save(decision: Decision, subject: &str, state: &State) -> Result<Decision, Refusal> {
    let name = Name::of(subject, STATE);
    Ok(match state.expires_at() {
        Time::EPOCH => decision.delete(name),
        expires_at => decision.put(name, encode(STATE, state, state.room())?.expose(), expires_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_the_largest_record_so_that_no_key_is_left_behind() {
        let (id, at) = (Id([255; 16]), Time::NEVER);
        let key = || Secret::new(vec![255; 64]);
        let label = |length| "🔑".repeat(length);
        let session = "s".repeat(64);
        let challenge = Challenge {
            id,
            session: session.clone(),
            bearer: true,
            by_mail: true,
            epoch: u64::MAX,
            expires_at: at,
            failures: u32::MAX,
            completed: true,
        };
        let factor = Factor {
            id,
            label: label(64),
            key: key(),
            created_at: at,
            last_used_at: Some(at),
            last_step: u64::MAX,
        };
        let browser = Trusted {
            id,
            label: label(100),
            hash: [255; 32],
            created_at: at,
            last_used_at: at,
            expires_at: at,
            epoch: u64::MAX,
        };
        let mut mails = Quota::default();
        (0..10).for_each(|_| mails.count(at, Duration::from_secs(1)));
        let state = State {
            factors: vec![factor; 10],
            enrolment: Some(Enrolment {
                id,
                label: label(64),
                key: key(),
                session: session.clone(),
                expires_at: at,
            }),
            recovery: Some(Recovery { salt: [255; 16], hashes: vec![[255; 32]; 16] }),
            recovered: vec![Recovered { session, at }; 4],
            budget: Budget::default(),
            challenges: vec![challenge; 37],
            mailed: Some(Sent { challenge: id, mac: [255; 32], expires_at: at, failures: u32::MAX }),
            mails,
            reset_by_mail: true,
            trusted: vec![browser; 10],
        };
        for state in [State::default(), state] {
            let room = state.room();
            assert_eq!(encode(STATE, &state, room).unwrap().expose().capacity(), room);
        }
    }
}

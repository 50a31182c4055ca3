//! Who must have a second factor, from when on, and how fresh a proof is fresh enough.
use crate::{
    budget::Method,
    config::{Mfa, Require},
};
use countersign_plugin_api::{Session, SessionKind, Subject, Time};

impl Mfa {
    /// Whether policy wants the account to have a second factor.
    pub(crate) fn binds(&self, subject: &Subject) -> bool {
        match &self.require {
            Require::OptIn => false,
            Require::All => true,
            Require::Roles(roles) => roles.contains(&subject.role),
        }
    }

    /// Until when an account that must enrol may still do so later.
    pub(crate) fn grace_until(&self, subject: &Subject) -> Time {
        subject.created_at + self.grace_period
    }

    /// Whether the account may do nothing but enrol.
    pub(crate) fn enrollment_required(&self, subject: &Subject, enrolled: bool, now: Time) -> bool {
        !enrolled && self.binds(subject) && self.grace_until(subject) <= now
    }

    /// Whether a session has proven itself freshly enough to change credentials: by second factor where one
    /// is active, and by the first where there is none. A password does not stand in for a second factor, and
    /// the mailbox for neither: it completes a login, or begins one, so a session that was proven by nothing
    /// else has no other method to show.
    pub(crate) fn stepped_up(&self, session: &Session, enrolled: bool, now: Time) -> bool {
        let shows = |counts: fn(&str) -> bool| session.amr.iter().any(|method| counts(method));
        let proven = if enrolled {
            let factor = |method: &str| [Method::Totp.amr(), Method::Recovery.amr()].contains(&method);
            session.mfa_verified_at.filter(|_| shows(factor))
        } else {
            Some(session.authenticated_at).filter(|_| shows(|method| method != Method::Email.amr()))
        };
        session.kind == SessionKind::Standard && proven.is_some_and(|at| now < at + self.step_up_window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_plugin_api::SessionMode;
    use std::time::Duration;

    fn subject(role: &str) -> Subject {
        Subject {
            id: "u1".into(),
            email: "ann@example.org".into(),
            email_verified: true,
            role: role.into(),
            epoch: 1,
            created_at: Time::from_secs(1_000),
        }
    }

    #[test]
    fn policy_by_role_and_time() {
        let (admin, user) = (subject("admin"), subject("user"));
        let roles = || Require::Roles(vec!["admin".into()]);
        for (require, grace, subject, enrolled, now, required) in [
            (Require::OptIn, 0, &admin, false, 1_000, false),
            (Require::All, 0, &user, false, 1_000, true),
            (Require::All, 0, &user, true, 1_000, false),
            (roles(), 0, &admin, false, 1_000, true),
            (roles(), 0, &admin, true, 1_000, false),
            (roles(), 0, &user, false, 1_000, false),
            (Require::All, 60, &user, false, 1_059, false),
            (Require::All, 60, &user, false, 1_060, true),
        ] {
            let config = Mfa { require, grace_period: Duration::from_secs(grace), ..Mfa::default() };
            assert_eq!(
                config.enrollment_required(subject, enrolled, Time::from_secs(now)),
                required,
                "{:?} {grace} {} {enrolled} {now}",
                config.require,
                subject.role
            );
        }
    }

    #[test]
    fn a_password_is_fresh_enough_only_without_a_factor() {
        let config = Mfa::default();
        let at = Time::from_secs;
        for (kind, password, factor, amr, enrolled, now, fresh) in [
            (SessionKind::Standard, 1_000, None, "pwd", false, 1_299, true),
            (SessionKind::Standard, 1_000, None, "pwd", false, 1_300, false),
            (SessionKind::Standard, 1_000, None, "email", false, 1_000, false),
            (SessionKind::Standard, 1_000, None, "email pwd", false, 1_299, true),
            (SessionKind::Standard, 1_000, None, "pwd", true, 1_000, false),
            (SessionKind::Standard, 1_290, Some(1_000), "pwd otp", true, 1_299, true),
            (SessionKind::Standard, 1_290, Some(1_000), "pwd recovery", true, 1_299, true),
            (SessionKind::Standard, 1_290, Some(1_000), "pwd email otp", true, 1_299, true),
            (SessionKind::Standard, 1_290, Some(1_000), "pwd email", true, 1_000, false),
            (SessionKind::Standard, 1_290, Some(1_000), "email", true, 1_000, false),
            (SessionKind::Standard, 1_290, Some(1_000), "pwd otp", true, 1_300, false),
            (SessionKind::Standard, 1_000, Some(1_290), "pwd otp", false, 1_300, false),
            (SessionKind::Pending, 1_000, None, "pwd", false, 1_000, false),
            (SessionKind::Pending, 1_000, Some(1_000), "pwd otp", true, 1_000, false),
        ] {
            let session = Session {
                id: "s".into(),
                kind,
                mode: SessionMode::Cookie,
                authenticated_at: at(password),
                mfa_verified_at: factor.map(at),
                amr: amr.split(' ').map(Into::into).collect(),
                expires_at: Time::NEVER,
            };
            assert_eq!(config.stepped_up(&session, enrolled, at(now)), fresh, "{session:?} {enrolled} {now}");
        }
    }
}

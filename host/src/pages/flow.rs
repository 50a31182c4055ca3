//! Who is shown what, and where everybody else goes: pure decisions.
use super::file::Access;
use std::fmt::Write;

pub(crate) const HOME: &str = "/";
pub(crate) const LOGIN: &str = "/login";
pub(crate) const CHALLENGE: &str = "/mfa/challenge";
pub(crate) const ENROL: &str = "/settings/mfa";
pub(crate) const STEP_UP: &str = "/step-up";

/// Who looks at a page.
#[expect(clippy::struct_excessive_bools, reason = "each is a question that templates ask")]
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Visitor {
    /// Signed in, though policy may want more.
    pub(super) signed_in: bool,
    /// The password is proven, the second factor is not.
    pub(super) pending: bool,
    pub(super) email: String,
    pub(super) role: String,
    /// How it was proven who it is: RFC 8176 names.
    pub(super) amr: Vec<String>,
    /// Has a second factor.
    pub(super) enrolled: bool,
    pub(super) enrollment_required: bool,
    /// Has proven it just now; the password, for whoever has none.
    pub(super) stepped_up: bool,
}

/// Whether a page is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Show,
    /// To another page, which leads back here.
    Via(&'static str),
    /// To where the visitor was going, for there is nothing to do here.
    On,
}

pub(super) fn admit(visitor: &Visitor, access: Access, fresh: bool) -> Admission {
    let signed_in = |also_enrolling: bool| {
        if visitor.pending {
            Admission::Via(CHALLENGE)
        } else if !visitor.signed_in {
            Admission::Via(LOGIN)
        } else if visitor.enrollment_required && !also_enrolling {
            Admission::Via(ENROL)
        } else if fresh && visitor.enrolled && !visitor.stepped_up {
            Admission::Via(STEP_UP)
        } else {
            Admission::Show
        }
    };
    match access {
        Access::SignedOut if visitor.pending => Admission::Via(CHALLENGE),
        Access::SignedOut if visitor.signed_in => Admission::On,
        Access::Anyone | Access::SignedOut => Admission::Show,
        Access::Pending if visitor.pending => Admission::Show,
        Access::Pending if visitor.signed_in => Admission::On,
        Access::Pending => Admission::Via(LOGIN),
        Access::Enrolling => signed_in(true),
        Access::Session => signed_in(false),
    }
}

/// A location with what it carries on: where to go in the end, and a text to show there.
pub(crate) fn location(path: &str, next: Option<&str>, said: Option<&str>) -> String {
    let mut location = path.to_owned();
    for (name, value) in [("next", next), ("said", said)] {
        if let Some(value) = value {
            location.push(if location.contains('?') { '&' } else { '?' });
            location.push_str(name);
            location.push('=');
            location.push_str(&encoded(value));
        }
    }
    location
}

/// Percent-encodes all but the unreserved characters (RFC 3986, 2.3).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{
        Admission::{On, Show, Via},
        *,
    };

    #[test]
    fn every_visitor_at_every_page() {
        let nobody = Visitor::default();
        let pending = Visitor { pending: true, enrolled: true, ..Visitor::default() };
        let standard = Visitor { signed_in: true, stepped_up: true, ..Visitor::default() };
        let bound = Visitor { enrollment_required: true, ..standard.clone() };
        let stale = Visitor { enrolled: true, stepped_up: false, ..standard.clone() };
        let visitors = [&nobody, &pending, &standard, &bound, &stale];
        for (access, expected) in [
            (Access::Anyone, [Show, Show, Show, Show, Show]),
            (Access::SignedOut, [Show, Via(CHALLENGE), On, On, On]),
            (Access::Pending, [Via(LOGIN), Show, On, On, On]),
            (Access::Enrolling, [Via(LOGIN), Via(CHALLENGE), Show, Show, Show]),
            (Access::Session, [Via(LOGIN), Via(CHALLENGE), Show, Via(ENROL), Show]),
        ] {
            let found = visitors.map(|visitor| admit(visitor, access, false));
            assert_eq!(found, expected, "{access:?}");
        }
        assert_eq!(admit(&stale, Access::Session, true), Via(STEP_UP));
        assert_eq!(admit(&standard, Access::Session, true), Show);
        let again = Visitor { enrolled: true, ..standard };
        assert_eq!(admit(&again, Access::Session, true), Show);
    }

    #[test]
    fn what_is_carried_on_is_one_value_each() {
        assert_eq!(location("/login", None, None), "/login");
        assert_eq!(
            location("/login", Some("/a?b=c&d=e#f%20"), None),
            "/login?next=%2Fa%3Fb%3Dc%26d%3De%23f%2520"
        );
        assert_eq!(location("/x?m=1", Some("/"), Some("said.sent")), "/x?m=1&next=%2F&said=said.sent");
    }
}

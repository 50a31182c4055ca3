//! Where a browser is sent that a reverse proxy asks about: to the page that helps it on, and from there back.
use super::{Asked, Reply};
use crate::config::Config;
use countersign_plugin_api::Problem;
use std::fmt::Write;

/// The page that helps with a refusal, when a browser asks and there is one.
pub(super) fn to_page(asked: &Asked<'_>, problem: Problem) -> Option<Reply> {
    let page = match problem {
        Problem::SessionRequired => "/login",
        Problem::MfaRequired => "/mfa/challenge",
        Problem::EnrollmentRequired => "/settings/mfa",
        _ => return None,
    };
    let accept = asked.request.header("accept").and_then(|accept| std::str::from_utf8(accept).ok())?;
    if !accept.split(',').any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "text/html")) {
        return None;
    }
    let mut location = format!("{}{page}", asked.config.public_url.origin());
    if let Some(next) = asked.request.query("next").filter(|next| may_follow(next, asked.config)) {
        location.push_str("?next=");
        encode(next, &mut location);
    }
    Some(Reply { status: 302, headers: vec![("location", location)], ..Reply::empty() })
}

/// Whether a browser may be sent there afterwards: to a path of this site, or over https to a host that the
/// configuration names. Everything else is an open redirect.
fn may_follow(next: &str, config: &Config) -> bool {
    let hosts = config.allowed_hosts.iter().map(String::as_str).chain([config.public_url.host()]);
    leads_to(next, hosts)
}

fn leads_to<'a>(next: &str, mut hosts: impl Iterator<Item = &'a str>) -> bool {
    // Browsers read a backslash as a slash, and drop what is not printable.
    if !next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return false;
    }
    match next.strip_prefix("https://") {
        None => next.starts_with('/') && !next.starts_with("//"),
        Some(rest) => {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            hosts.any(|allowed| allowed.eq_ignore_ascii_case(host))
        }
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, 2.3).
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_sent_to_this_site_and_to_hosts_that_are_named_only() {
        let hosts = || ["app.example.org", "wiki.example.org:8443"].into_iter();
        for good in [
            "/",
            "/a/b?c=d#e",
            "https://app.example.org",
            "https://APP.example.org/x",
            "https://wiki.example.org:8443/?q",
        ] {
            assert!(leads_to(good, hosts()), "{good}");
        }
        for bad in [
            "",
            "a",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "http://app.example.org/",
            "https://evil.example/",
            "https://app.example.org.evil.example/",
            "https://app.example.org@evil.example/",
            "https://evil.example\\@app.example.org/",
            "https:///app.example.org",
            "https:app.example.org",
            "javascript:alert(1)",
            "/a b",
            "/a\r\nSet-Cookie: x",
            "https://wiki.example.org/",
            "/ü",
        ] {
            assert!(!leads_to(bad, hosts()), "{bad:?}");
        }
    }

    #[test]
    fn what_follows_is_one_value_of_the_query() {
        let mut out = String::new();
        encode("/a?b=c&d=e#f%20", &mut out);
        assert_eq!(out, "%2Fa%3Fb%3Dc%26d%3De%23f%2520");
    }
}

//! Where a browser is sent that a reverse proxy asks about: to the page that helps it on, and from there back.
use super::{Asked, Reply};
use crate::{
    config::Config,
    pages::{CHALLENGE, ENROL, LOGIN, location},
};
use axum::http::{HeaderMap, header};
use countersign_plugin_api::{Problem, Refusal, Request};
use std::borrow::Cow;

/// A longer address is not come back to: three times as long in a query, it would be a request that is refused.
const MAX_NEXT: usize = 2048;

/// Answers a refusal with the page that helps on: 302 for a browser. Else it is the refusal, and `Location` tells a
/// proxy where to send a browser itself, since nginx's `auth_request` can pass no redirect on.
pub(super) fn to_page(asked: &Asked<'_>, refusal: Refusal) -> Result<Reply, Refusal> {
    let page = match refusal.problem() {
        Problem::SessionRequired => LOGIN,
        Problem::MfaRequired => CHALLENGE,
        Problem::EnrollmentRequired => ENROL,
        _ => return Err(refusal),
    };
    if !asked.config.pages.enabled {
        return Err(refusal);
    }
    let next = asked.request.query("next").map(Cow::Borrowed);
    let next = next.or_else(|| if asked.proxied { original(asked.request, asked.config) } else { None });
    let next = next.filter(|next| next.len() <= MAX_NEXT && may_follow(next, asked.config));
    let page = location(page, next.as_deref(), None);
    let location = ("location", format!("{}{page}", asked.config.public_url.origin()));
    let reply = if asked.request.header("accept").is_some_and(accepts_html) {
        Reply { status: 302, ..Reply::empty() }
    } else {
        Reply::refused(refusal)
    };
    Ok(Reply { headers: vec![location], ..reply })
}

/// What the browser asked the proxy for: a path here, or a URL elsewhere, not yet looked at. One header names all of
/// it (`X-Original-URL`), or three do (`X-Forwarded-Proto`, `-Host` and `-Uri`).
fn original<'a>(request: &'a Request<'_>, config: &Config) -> Option<Cow<'a, str>> {
    let said = |name| std::str::from_utf8(request.header(name)?).ok();
    let here = config.public_url.origin();
    if let Some(url) = said("x-original-url") {
        let path = url.strip_prefix(here).filter(|path| path.starts_with('/'));
        return Some(path.unwrap_or(url).into());
    }
    let (scheme, host) = (said("x-forwarded-proto")?, said("x-forwarded-host")?);
    let path = said("x-forwarded-uri").filter(|path| path.starts_with('/'))?;
    let origin = format!("{scheme}://{host}");
    Some(if origin.eq_ignore_ascii_case(here) { path.into() } else { format!("{origin}{path}").into() })
}

/// Whether it is a browser that asks, and for something to look at.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accept| accepts_html(accept.as_bytes()))
}

fn accepts_html(accept: &[u8]) -> bool {
    let kinds = accept.split(|byte| *byte == b',').filter_map(|kind| kind.split(|byte| *byte == b';').next());
    kinds.map(<[u8]>::trim_ascii).any(|kind| kind == b"text/html")
}

/// Whether a browser may be sent there afterwards: to a path of this site, or over https to a host that the
/// configuration names. Everything else is an open redirect.
pub(crate) fn may_follow(next: &str, config: &Config) -> bool {
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
}

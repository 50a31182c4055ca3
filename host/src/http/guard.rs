//! What is asked of every request before it reaches a route: the right host, the right site, the right media.
use super::{cookies::has_bearer, site::Site};
use axum::http::{HeaderMap, HeaderName, Method, Uri, header, request::Parts};
use countersign_plugin_api::{Problem, Refusal};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a request says its body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Media {
    /// It does not say.
    Unsaid,
    /// `application/json`, in UTF-8.
    Json,
    /// A form's fields, as a page without scripts posts them.
    Form,
    /// Anything else, and what cannot be read.
    Other,
}

/// Passes a request that may go on to its route, `has_body` or not.
pub(super) fn check(site: &Site, request: &Parts, has_body: bool) -> Result<(), Refusal> {
    let host = host(&request.headers, &request.uri)?;
    if !site.answers_for(host) {
        return Err(Problem::HostNotAllowed.into());
    }
    let media = media(&request.headers);
    if !is_safe(&request.method) {
        same_site(site, host, &request.headers, media, has_body)?;
    }
    match media {
        Media::Json => Ok(()),
        Media::Form if request.method == Method::POST && site.takes_forms(request.uri.path()) => Ok(()),
        Media::Unsaid if !has_body => Ok(()),
        // With no body, a safe request's media type describes nothing.
        Media::Form | Media::Other if !has_body && is_safe(&request.method) => Ok(()),
        _ => Err(Refusal::new(Problem::UnsupportedMediaType).saying("Send the body as application/json")),
    }
}

/// The host that the request is for: one `Host`, and no other in the request line (RFC 9112 §3.2).
fn host<'a>(headers: &'a HeaderMap, target: &Uri) -> Result<&'a str, Refusal> {
    let host = match only(headers, &header::HOST) {
        Some(Only::One(host)) => host,
        Some(Only::Broken) => return Err(Refusal::malformed("there must be one Host header")),
        None => return Err(Refusal::malformed("the Host header is missing")),
    };
    match target.authority() {
        Some(named) if !named.as_str().eq_ignore_ascii_case(host) => {
            Err(Refusal::malformed("the request line and the Host header name different hosts"))
        }
        _ => Ok(host),
    }
}

/// RFC 9110 §9.2.1; what is not known may change something.
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

/// Whether no other site can have caused this request.
///
/// `Sec-Fetch-Site` decides where it is sent, since no page can forge it: a form on one of our pages, which
/// send no referrer, says `Origin: null` and `same-origin`. `same-site` is another host of the same domain,
/// not us. `none` is the user's own doing, an address bar or a bookmark, and comes with no foreign `Origin`.
fn same_site(
    site: &Site,
    host: &str,
    headers: &HeaderMap,
    media: Media,
    has_body: bool,
) -> Result<(), Refusal> {
    // No page can send `Authorization: Bearer` to another site without that site's leave, which is not given.
    if has_bearer(headers) {
        return Ok(());
    }
    let own_origin = || match only(headers, &header::ORIGIN) {
        Some(Only::One(origin)) => Some(site.is_own_origin(origin, host)),
        Some(Only::Broken) => Some(false),
        None => None,
    };
    let passes = match only(headers, &SEC_FETCH_SITE) {
        Some(Only::One("same-origin")) => true,
        Some(Only::One("same-site")) => own_origin() == Some(true),
        Some(Only::One("none")) => own_origin() != Some(false) && !is_scripted(headers),
        Some(Only::One(_) | Only::Broken) => false,
        // An older browser sends `Origin` with whatever another site can make it send, and names the media
        // type of every form: without both it is no browser.
        None => own_origin().unwrap_or_else(|| media == Media::Json || (media == Media::Unsaid && !has_body)),
    };
    if passes { Ok(()) } else { Err(Problem::CrossSite.into()) }
}

/// What a user does is a navigation; `none` with another mode is none of it.
fn is_scripted(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-mode").is_some_and(|mode| mode != "navigate")
}

fn media(headers: &HeaderMap) -> Media {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Media::Other;
    }
    let value = match only(headers, &header::CONTENT_TYPE) {
        Some(Only::One(value)) => value,
        Some(Only::Broken) => return Media::Other,
        None => return Media::Unsaid,
    };
    let mut parts = value.split(';').map(str::trim);
    let kind = match parts.next().map(str::to_ascii_lowercase).as_deref() {
        Some("application/json") => Media::Json,
        Some("application/x-www-form-urlencoded") => Media::Form,
        _ => return Media::Other,
    };
    let utf_8 = |part: &str| {
        let charset = part.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("charset"));
        charset.is_some_and(|(_, value)| value.trim_matches('"').eq_ignore_ascii_case("utf-8"))
    };
    if parts.all(utf_8) { kind } else { Media::Other }
}

enum Only<'a> {
    One(&'a str),
    /// Several, or one that is not text.
    Broken,
}

/// A header that may be there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Only<'a>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    Some(match (values.next(), first.to_str()) {
        (None, Ok(text)) => Only::One(text),
        _ => Only::Broken,
    })
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;

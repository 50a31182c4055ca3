//! Cookies and bearer tokens: how a session travels.
use axum::http::{HeaderMap, HeaderValue, header};
use countersign_plugin_api::{Problem, Refusal, Secret};
use std::time::Duration;

/// The longest value that is read or set.
const MAX_VALUE: usize = 512;

/// A cookie of the host's, by its full name, with the attributes it is always set with.
///
/// ```
/// use countersign_host::http::Cookie;
/// assert_eq!(Cookie::new("countersign", true, None).name(), "__Host-countersign");
/// assert_eq!(Cookie::new("countersign", true, Some("example.org")).name(), "__Secure-countersign");
/// assert_eq!(Cookie::new("countersign", false, None).name(), "countersign");
/// ```
#[derive(Debug, Clone)]
pub struct Cookie {
    name: String,
    attributes: String,
}

/// What a request shows to be let in.
pub enum Credential {
    /// `Authorization: Bearer`. A cookie beside it counts for nothing: that is why such a request need not be
    /// same-site.
    Bearer(Secret<String>),
    /// The session cookie.
    Cookie(Secret<String>),
    /// Neither, or several session cookies: a sibling domain or a plain-text attacker may have planted one,
    /// and which is the real one cannot be told.
    None,
}

impl Cookie {
    /// A cookie that goes to this host alone (`__Host-`) or, with a `domain`, to its subdomains too
    /// (`__Secure-`). Both prefixes need https; plain http is for loopback.
    pub fn new(base: &str, https: bool, domain: Option<&str>) -> Self {
        let prefix = match (https, domain) {
            (true, None) => "__Host-",
            (true, Some(_)) => "__Secure-",
            (false, _) => "",
        };
        let mut attributes = String::from("; Path=/; HttpOnly; SameSite=Lax");
        if https {
            attributes.push_str("; Secure");
        }
        if let Some(domain) = domain {
            attributes.push_str("; Domain=");
            attributes.push_str(domain);
        }
        Self { name: format!("{prefix}{base}"), attributes }
    }

    /// The name, prefix included.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `Set-Cookie` with a token, kept for `max_age`.
    pub fn set(&self, token: &str, max_age: Duration) -> Result<HeaderValue, Refusal> {
        if !is_token(token) {
            return Err(Refusal::new(Problem::PluginFault).because("a cookie's value is not a token"));
        }
        self.line(token, max_age.as_secs())
    }

    /// `Set-Cookie` that removes it.
    pub fn remove(&self) -> Result<HeaderValue, Refusal> {
        self.line("", 0)
    }

    fn line(&self, value: &str, max_age: u64) -> Result<HeaderValue, Refusal> {
        let line = format!("{}={value}{}; Max-Age={max_age}", self.name, self.attributes);
        HeaderValue::try_from(line)
            .map_err(|error| Refusal::new(Problem::PluginFault).because(format_args!("cookie: {error}")))
    }

    /// Its value in a request, when it is there once and can be a token of ours.
    pub fn read(&self, headers: &HeaderMap) -> Option<Secret<String>> {
        let lines = headers.get_all(header::COOKIE).iter();
        let mut values =
            lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).filter_map(|pair| {
                let pair = pair.trim_ascii();
                let rest = pair.strip_prefix(self.name.as_bytes())?;
                rest.strip_prefix(b"=")
            });
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        token(value)
    }

    /// A cookie beside this one, whose name goes on with a dash, with the same attributes.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        Self { name: format!("{}-{name}", self.name), attributes: self.attributes.clone() }
    }

    /// The cookies beside this one in a request, by the rest of their names, each when it is there once and can
    /// be a token of ours.
    pub fn all_beside(&self, headers: &HeaderMap) -> Vec<(String, Secret<String>)> {
        let lines = headers.get_all(header::COOKIE).iter();
        let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let mut names: Vec<String> = pairs
            .filter_map(|pair| {
                let rest = pair.trim_ascii().strip_prefix(self.name.as_bytes())?.strip_prefix(b"-")?;
                let end = rest.iter().position(|byte| *byte == b'=')?;
                String::from_utf8(rest[..end].to_vec()).ok()
            })
            .take(16)
            .collect();
        names.sort_unstable();
        names.dedup();
        let value = |name: String| Some((self.beside(&name).read(headers)?, name));
        names.into_iter().filter_map(value).map(|(value, name)| (name, value)).collect()
    }

    /// What a request shows, when this is the session's cookie.
    pub fn credential(&self, headers: &HeaderMap) -> Credential {
        if has_bearer(headers) {
            return bearer(headers).map_or(Credential::None, Credential::Bearer);
        }
        self.read(headers).map_or(Credential::None, Credential::Cookie)
    }
}

/// Whether any `Authorization` speaks of a bearer token. Other schemes, such as the Basic of a proxy in front,
/// are sent by browsers of themselves and say nothing to us.
pub(super) fn has_bearer(headers: &HeaderMap) -> bool {
    headers.get_all(header::AUTHORIZATION).iter().any(|line| of_bearer(line).is_some())
}

/// The bearer token, when there is one `Authorization` and it can be a token of ours.
fn bearer(headers: &HeaderMap) -> Option<Secret<String>> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let only = lines.next().filter(|_| lines.next().is_none())?;
    token(of_bearer(only)?)
}

fn of_bearer(line: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = line.as_bytes().split_at_checked("Bearer".len())?;
    let apart = rest.is_empty() || rest.starts_with(b" ");
    (scheme.eq_ignore_ascii_case(b"Bearer") && apart).then(|| rest.trim_ascii())
}

fn token(bytes: &[u8]) -> Option<Secret<String>> {
    let text = std::str::from_utf8(bytes).ok()?;
    is_token(text).then(|| Secret::new(text.to_owned()))
}

/// Our tokens are base64url, in parts with dots between them.
fn is_token(text: &str) -> bool {
    let fits = (1..=MAX_VALUE).contains(&text.len());
    fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    fn shown(lines: &[(&str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        match Cookie::new("countersign", true, None).credential(&headers) {
            Credential::Bearer(token) => format!("bearer {}", token.expose()),
            Credential::Cookie(token) => format!("cookie {}", token.expose()),
            Credential::None => "none".into(),
        }
    }

    #[test]
    fn cookies_beside_are_read_by_the_rest_of_their_names_and_once_only() {
        let cookie = Cookie::new("countersign", true, None);
        let mut headers = HeaderMap::new();
        let line = "__Host-countersign=a; __Host-countersign-mfa-trust=b; countersign-mfa-trust=c; x=y; __Host-countersign-mfa-link=d; __Host-countersign-mfa-link=e";
        headers.insert(header::COOKIE, HeaderValue::from_static(line));
        let found: Vec<_> = cookie
            .all_beside(&headers)
            .into_iter()
            .map(|(name, value)| (name, value.expose().clone()))
            .collect();
        assert_eq!(found, [("mfa-trust".to_owned(), "b".to_owned())]);
        let set = cookie.beside("mfa-trust").set("b", Duration::from_mins(1)).expect("a line");
        assert!(set.to_str().expect("text").starts_with("__Host-countersign-mfa-trust=b; Path=/; HttpOnly"));
    }

    #[test]
    fn a_session_is_named_once_or_not_at_all() {
        let long = format!("__Host-countersign={}", "a".repeat(MAX_VALUE + 1));
        for (lines, expected) in [
            (&[][..], "none"),
            (&[("cookie", "__Host-countersign=abc-_.9")], "cookie abc-_.9"),
            (&[("cookie", "a=1; __Host-countersign=abc; b=2")], "cookie abc"),
            (&[("cookie", "a=1"), ("cookie", "__Host-countersign=abc")], "cookie abc"),
            (&[("cookie", "a=1;__Host-countersign=abc;b")], "cookie abc"),
            // Planted beside the real one.
            (&[("cookie", "__Host-countersign=abc; __Host-countersign=def")], "none"),
            (&[("cookie", "__Host-countersign=abc; __Host-countersign=abc")], "none"),
            (&[("cookie", "__Host-countersign=abc"), ("cookie", "__Host-countersign=def")], "none"),
            (&[("cookie", "__Host-countersign=; __Host-countersign=abc")], "none"),
            // Others' names.
            (&[("cookie", "countersign=abc")], "none"),
            (&[("cookie", "__host-countersign=abc")], "none"),
            (&[("cookie", "x__Host-countersign=abc")], "none"),
            (&[("cookie", "__Host-countersign-trust=abc")], "none"),
            (&[("cookie", "__Host-countersign =abc")], "none"),
            // No tokens of ours.
            (&[("cookie", "__Host-countersign=")], "none"),
            (&[("cookie", "__Host-countersign=a b")], "none"),
            (&[("cookie", "__Host-countersign=\"abc\"")], "none"),
            (&[("cookie", "__Host-countersign=a%20b")], "none"),
            (&[("cookie", long.as_str())], "none"),
            // Bearer.
            (&[("authorization", "Bearer abc")], "bearer abc"),
            (&[("authorization", "bearer  abc ")], "bearer abc"),
            (&[("authorization", "Bearer abc"), ("cookie", "__Host-countersign=def")], "bearer abc"),
            (&[("authorization", "Bearer"), ("cookie", "__Host-countersign=def")], "none"),
            (&[("authorization", "Bearer a b"), ("cookie", "__Host-countersign=def")], "none"),
            (&[("authorization", "Bearer abc"), ("authorization", "Bearer def")], "none"),
            (&[("authorization", "Basic dTpw"), ("authorization", "Bearer abc")], "none"),
            // A proxy's own sign-in.
            (&[("authorization", "Basic dTpw"), ("cookie", "__Host-countersign=def")], "cookie def"),
            (&[("authorization", "Bearerabc"), ("cookie", "__Host-countersign=def")], "cookie def"),
        ] {
            assert_eq!(shown(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn every_cookie_is_set_with_all_its_attributes() {
        let hour = Duration::from_hours(1);
        for (https, domain, set) in [
            (true, None, "__Host-countersign=v1.a; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=3600"),
            (
                true,
                Some("example.org"),
                "__Secure-countersign=v1.a; Path=/; HttpOnly; SameSite=Lax; Secure; Domain=example.org; \
                 Max-Age=3600",
            ),
            (false, None, "countersign=v1.a; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600"),
        ] {
            let cookie = Cookie::new("countersign", https, domain);
            assert_eq!(cookie.set("v1.a", hour).unwrap(), set);
            let removed = set.replace("v1.a", "").replace("3600", "0");
            assert_eq!(cookie.remove().unwrap(), removed.as_str());
        }
    }

    #[test]
    fn nothing_but_a_token_becomes_a_value() {
        let cookie = Cookie::new("countersign", true, None);
        for value in ["", "a;b", "a b", "a\r\nSet-Cookie: x=y", "ä", "a,b"] {
            assert!(cookie.set(value, Duration::ZERO).is_err(), "{value:?}");
        }
    }
}

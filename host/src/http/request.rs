//! A request as handlers get it: complete, checked, and with the client's address.
use super::{log::RequestId, problem::Failure};
use axum::{
    body::Bytes,
    extract::FromRequest,
    http::{HeaderMap, Method, Uri, header},
};
use countersign_plugin_api::{Problem, Refusal, Request};
use serde::de::DeserializeOwned;
use std::{net::IpAddr, sync::Arc};

/// More query parameters than any route has.
const MAX_PARAMETERS: usize = 32;

/// A request whose host, site, media type, size and depth are checked and whose body is here.
///
/// An axum extractor: `async fn login(call: Call) -> Result<Response, Failure>`.
pub struct Call {
    /// The method.
    pub method: Method,
    /// The target, with its query.
    pub uri: Uri,
    /// The headers. Credentials among them are for [`Cookie::credential`](super::Cookie::credential).
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The client's address, as far as it can be trusted.
    pub peer: IpAddr,
    /// The same as text.
    pub address: Arc<str>,
    /// Whether a trusted proxy sent it: what it says of the request that it forwards counts.
    pub proxied: bool,
    /// The number under which the log knows this request.
    pub id: RequestId,
}

/// What [`App`](super::App) found out about a request before it was routed.
#[derive(Clone)]
pub(super) struct Checked {
    pub(super) peer: IpAddr,
    pub(super) address: Arc<str>,
    pub(super) proxied: bool,
    pub(super) id: RequestId,
    /// The whole of it.
    pub(super) body: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Call {
    type Rejection = Failure;

    async fn from_request(request: axum::extract::Request, _: &S) -> Result<Self, Failure> {
        let (mut parts, _) = request.into_parts();
        let checked = parts.extensions.remove();
        // A route that is served past the checks must not work.
        let unchecked = || Refusal::new(Problem::PluginFault).because("a request came past the checks");
        let Checked { peer, address, proxied, id, body } = checked.ok_or_else(unchecked)?;
        Ok(Self {
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            body,
            peer,
            address,
            proxied,
            id,
        })
    }
}

impl Call {
    /// The body as JSON; an empty one is an empty object. `T` denies unknown fields. The error never repeats
    /// a value.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        Request::new("", "", &self.body).json()
    }

    /// The query, decoded, each name once with its first value.
    pub fn query(&self) -> Result<Vec<(String, String)>, Refusal> {
        query(self.uri.query().unwrap_or_default())
    }

    /// The request as a plugin sees it, under `path` below the plugin's mount. Cookies and credentials stay
    /// here: the kernel says who is calling.
    pub fn for_plugin(&self, path: &str) -> Result<Request<'static>, Refusal> {
        let mut request = Request::new(self.method.as_str(), path, &self.body).with_peer(&self.address);
        for (name, value) in &self.headers {
            if ![header::COOKIE, header::AUTHORIZATION, header::PROXY_AUTHORIZATION].contains(name) {
                request = request.with_header(name.as_str(), value.as_bytes());
            }
        }
        for (name, value) in self.query()? {
            request = request.with_query(&name, &value);
        }
        Ok(request)
    }
}

/// Decodes a query string; of a name that comes twice, the first value counts.
fn query(text: &str) -> Result<Vec<(String, String)>, Refusal> {
    let mut parameters: Vec<(String, String)> = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let broken = || Refusal::malformed("the query is not percent-encoded UTF-8");
        let (name, value) = (decode(name).ok_or_else(broken)?, decode(value).ok_or_else(broken)?);
        if parameters.iter().all(|(known, _)| *known != name) {
            parameters.push((name, value));
        }
        if parameters.len() > MAX_PARAMETERS {
            return Err(Refusal::malformed("the query has too many parameters"));
        }
    }
    Ok(parameters)
}

/// `application/x-www-form-urlencoded`, strictly: a `%` starts two hexadecimal digits.
pub(crate) fn decode(text: &str) -> Option<String> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => u8::try_from(digit(bytes.next())? << 4 | digit(bytes.next())?).ok()?,
            other => *other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_strictly_and_its_first_value_counts() {
        for (text, expected) in [
            ("", Some(&[][..])),
            ("a=1&b=2", Some(&[("a", "1"), ("b", "2")])),
            ("a=1&a=2", Some(&[("a", "1")])),
            ("a=1&%61=2", Some(&[("a", "1")])),
            ("a", Some(&[("a", "")])),
            ("&&a=&", Some(&[("a", "")])),
            ("a=b=c", Some(&[("a", "b=c")])),
            ("a=%C3%a4+%2B", Some(&[("a", "ä +")])),
            ("a=%0d%0a", Some(&[("a", "\r\n")])),
            ("a=%", None),
            ("a=%4", None),
            ("a=%zz", None),
            ("a=%+1", None),
            ("a=%ff", None),
            ("%80=1", None),
        ] {
            let decoded = query(text).ok();
            let expected = expected.map(|pairs| {
                pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect::<Vec<_>>()
            });
            assert_eq!(decoded, expected, "{text:?}");
        }
        let many = |count: usize| (0..count).map(|n| format!("p{n}=")).collect::<Vec<_>>().join("&");
        assert!(query(&many(MAX_PARAMETERS)).is_ok());
        assert!(query(&many(MAX_PARAMETERS + 1)).is_err());
    }

    #[test]
    fn a_plugin_sees_the_request_without_its_credentials() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::COOKIE, "__Host-countersign=secret"),
            (header::COOKIE, "other=secret"),
            (header::AUTHORIZATION, "Bearer secret"),
            (header::PROXY_AUTHORIZATION, "Basic secret"),
            (header::USER_AGENT, "agent"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let call = Call {
            method: Method::POST,
            uri: "/api/auth/mfa/challenge/status?challenge=v1.a%2E".parse().unwrap(),
            headers,
            body: Bytes::from_static(b"{}"),
            proxied: false,
            peer: "192.0.2.1".parse().unwrap(),
            address: "192.0.2.1".into(),
            id: RequestId::next(),
        };
        let request = call.for_plugin("/challenge/status").unwrap();
        assert_eq!((request.method(), request.path()), ("POST", "/challenge/status"));
        assert_eq!((request.peer(), request.body()), ("192.0.2.1", &b"{}"[..]));
        assert_eq!(request.query("challenge"), Some("v1.a."));
        assert_eq!(request.header("user-agent"), Some(&b"agent"[..]));
        for kept in ["cookie", "authorization", "proxy-authorization"] {
            assert_eq!(request.header(kept), None, "{kept}");
        }
    }
}

//! Bytes of a connection, and headers of credentials.
use super::{
    App, Call, Cookie, Credential, Failure, MAX_BODY, MAX_DEPTH, ServerLimits, Site, connection, door::Door,
};
use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
};
use serde_json::Value;
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    runtime::Runtime,
    sync::watch,
};

/// Whom the site answers for, at the port of https.
const HOSTS: [&str; 2] = ["a", "auth.example.org"];

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime of one thread")
});

/// One connection from its first byte to its end, over a pipe: no answer is 5xx, every error is a problem document, and
/// what reaches a handler is what every handler relies on.
pub fn request(bytes: &[u8]) {
    let site = Site::new("https://auth.example.org", &["a".into()], |peer| peer.is_loopback())
        .expect("an origin")
        .forms(|path| path == "/form");
    let app = App::new(site, Router::new().fallback(arrived));
    let answers = RUNTIME.block_on(async {
        let (mut client, server) = duplex(256 << 10);
        let (_reload, apps) = watch::channel(Arc::new(app));
        let (_close, closing) = watch::channel(false);
        let peer = "127.0.0.1".parse().expect("an address");
        let limits = ServerLimits::default();
        let asking = async {
            // The server may end it before all is written.
            let _ = client.write_all(bytes).await;
            let _ = client.shutdown().await;
            let mut answers = Vec::new();
            let _ = client.read_to_end(&mut answers).await;
            answers
        };
        let (answers, ()) =
            tokio::join!(asking, connection::serve(server, peer, limits, Door::new(112), apps, closing));
        answers
    });
    let answers = String::from_utf8(answers).expect("answers are text");
    assert!(answers.is_empty() || answers.starts_with("HTTP/1."), "{answers}");
    for answer in answers.split("HTTP/1.").skip(1) {
        let status: u16 = answer[2..5].parse().expect("a status");
        let bare = [400, 431].contains(&status) && answer.contains("content-length: 0\r\n");
        let problem = answer.contains("content-type: application/problem+json\r\n");
        assert!(status < 500 && (status < 400 || problem || bare), "{answer}");
    }
}

/// What a handler relies on, asked once more in another way.
async fn arrived(call: Call) -> Result<&'static str, Failure> {
    let all =
        |name: HeaderName| call.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let hosts = all(header::HOST);
    assert!(hosts.len() == 1, "for one host: {hosts:?}");
    let host = text(hosts[0]);
    let (name, port) = host.split_once(':').unwrap_or((&host, "443"));
    assert!(HOSTS.contains(&name) && port.trim_start_matches('0') == "443", "for {host}");
    let lengths = all(header::CONTENT_LENGTH).len();
    let codings = all(header::TRANSFER_ENCODING);
    assert!(lengths + codings.len() < 2, "one framing");
    assert!(codings.iter().all(|coding| text(coding) == "chunked"), "{codings:?}");
    assert!(call.body.len() <= MAX_BODY && call.headers.len() < 200, "of a bounded size");
    if let Ok(value) = serde_json::from_slice::<Value>(&call.body) {
        assert!(depth(&value) <= MAX_DEPTH, "not nested deeply");
    }
    let changes = ![Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(&call.method);
    let bearer = all(header::AUTHORIZATION).iter().any(|line| text(line).starts_with("bearer"));
    if changes && !bearer {
        let sites = all(HeaderName::from_static("sec-fetch-site"));
        assert!(sites.iter().all(|site| text(site) != "cross-site"), "no other site's doing");
        // No page can make a browser say that it is of the same origin: then nothing else is asked.
        let own = sites.iter().any(|site| text(site) == "same-origin");
        let foreign = all(header::ORIGIN).iter().any(|origin| text(origin).contains("evil"));
        assert!(own || !foreign, "{:?}", call.headers);
    }
    let media = all(header::CONTENT_TYPE);
    let form = media.iter().any(|media| text(media).starts_with("application/x-www-form-urlencoded"));
    assert!(!form || call.body.is_empty() || call.uri.path() == "/form", "a form where one is taken");
    assert!(call.peer == call.peer.to_canonical(), "an address has one form");

    let request = call.for_plugin("/")?;
    for kept in ["cookie", "authorization", "proxy-authorization"] {
        assert_eq!(request.header(kept), None, "{kept} stays here");
    }
    for (at, (name, _)) in call.query()?.iter().enumerate() {
        assert!(call.query()?.iter().skip(at + 1).all(|(other, _)| other != name), "{name} comes once");
    }
    cookies(&call.headers);
    call.json::<std::collections::BTreeMap<String, Value>>()?;
    Ok("ok")
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(items) => 1 + items.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Lines of `Cookie`, and of `Authorization` after a `!`.
pub fn cookie(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(20) {
        let (name, value) = match line.strip_prefix(b"!") {
            Some(value) => (header::AUTHORIZATION, value),
            None => (header::COOKIE, line),
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    cookies(&headers);
}

fn cookies(headers: &HeaderMap) {
    let cookie = Cookie::new("countersign", true, None);
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs: Vec<&[u8]> =
        lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii).collect();
    if let Some(value) = cookie.read(headers) {
        one_spelling(&cookie, &pairs, value.expose());
        crate::sessions::fuzzing::id(value.expose());
        crate::auth::device_cookie(value.expose());
    }
    let beside = cookie.all_beside(headers);
    assert!(beside.len() <= 16 && beside.is_sorted_by(|a, b| a.0 < b.0), "few, and each once");
    for (name, value) in &beside {
        one_spelling(&cookie.beside(name), &pairs, value.expose());
    }
    let bearer = headers.contains_key(header::AUTHORIZATION) && super::cookies::has_bearer(headers);
    match cookie.credential(headers) {
        Credential::Bearer(token) => assert!(bearer && is_plain(token.expose())),
        Credential::Cookie(_) => assert!(!bearer, "beside a bearer token no cookie counts"),
        Credential::None => {}
    }
}

/// What is read stands there once, letter by letter, and reads the same when it is set.
fn one_spelling(cookie: &Cookie, pairs: &[&[u8]], value: &str) {
    let named = format!("{}=", cookie.name());
    let same: Vec<_> = pairs.iter().filter(|pair| pair.starts_with(named.as_bytes())).collect();
    assert_eq!(same, [&format!("{named}{value}").as_bytes()], "a cookie that is read is there once");
    assert!(is_plain(value), "{value:?}");
    let line = cookie.set(value, Duration::from_secs(1));
    // The name of a cookie of a plugin's comes from outside here, and may not be fit for a header.
    let Some(line) = line.ok().and_then(|line| line.to_str().map(str::to_owned).ok()) else { return };
    let pair = line.split(';').next().unwrap_or_default();
    let again = HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(pair).expect("it was one"))]);
    assert_eq!(cookie.read(&again).map(|read| read.expose().clone()).as_deref(), Some(value));
}

fn is_plain(value: &str) -> bool {
    (1..=512).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

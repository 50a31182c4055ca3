//! Requests that are right in most ways and wrong in some.
use super::endpoints::Endpoint;
use crate::http::Client;
use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

/// A request that is right in most ways and wrong in some.
pub(super) fn request(client: &Client, endpoint: &Endpoint, random: &mut StdRng) -> Vec<u8> {
    let method = match random.random_range(0..40) {
        0 => ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "get", "QUERY"]
            [random.random_range(0..10)],
        _ => &*endpoint.method,
    };
    // An answer to HEAD has a length and no body, for which this client would wait.
    let method = if method == "HEAD" { "PUT" } else { method };
    let id = if random.random_bool(0.5) { "x".into() } else { escape(&text(random)) };
    let mut path = format!("/{}", endpoint.path.replace("{id}", &id));
    let mut named = Vec::new();
    for name in &endpoint.query {
        if random.random_bool(0.7) {
            named.push(format!("{name}={}", escape(&plain(meant(name, random)))));
        }
    }
    if !named.is_empty() {
        path = format!("{path}?{}", named.join("&"));
    }
    match random.random_range(0..12) {
        0 => path = format!("{path}?{}={}", text(random), escape(&text(random))),
        1 => path.push_str("?token=v1.a.b.c&challenge=v1.a.b.c&after=x&query=%ff"),
        2 => path.push('/'),
        3 => path.push_str("/../.."),
        _ => {}
    }
    let mut headers: Vec<(&str, String)> = Vec::new();
    match random.random_range(0..14) {
        0 => headers.push((
            "content-type",
            [
                "text/plain",
                "application/json; charset=utf-16",
                "",
                "application/x-www-form-urlencoded",
                "multipart/form-data",
            ][random.random_range(0..5)]
            .into(),
        )),
        1 => headers.push(("origin", ["null", "https://evil.example", ""][random.random_range(0..3)].into())),
        2 => headers.push((
            "sec-fetch-site",
            ["cross-site", "same-origin", "none", "x"][random.random_range(0..4)].into(),
        )),
        3 => headers.push((
            "cookie",
            format!("countersign={}; mfa-trust={}", escape(&text(random)), escape(&text(random))),
        )),
        4 => headers.push(("x-forwarded-for", escape(&text(random)))),
        5 => headers.push((
            "user-agent",
            "\u{fc}\u{0}"
                .chars()
                .filter(|c| *c != '\0')
                .collect::<String>()
                .repeat(random.random_range(0..900)),
        )),
        6 => headers.push(("accept", "text/html".into())),
        _ => {}
    }
    if !endpoint.forms.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
        // As a browser posts the form of a page.
        headers.push(("content-type", "application/x-www-form-urlencoded".into()));
        headers.push(("sec-fetch-site", "same-origin".into()));
    }
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = (method != "GET").then(|| body(endpoint, random));
    client.request(method, &path, &headers, body.as_deref())
}

/// What is posted: an object, or a form, and in a third of all cases something that is neither.
fn body(endpoint: &Endpoint, random: &mut StdRng) -> Vec<u8> {
    let fields = &endpoint.fields;
    if !endpoint.forms.is_empty() {
        return form(endpoint, random);
    }
    let mut object = serde_json::Map::new();
    for field in fields {
        if random.random_bool(0.9) {
            object.insert(field.clone(), meant(field, random));
        }
    }
    if random.random_ratio(1, 10) {
        object.insert(text(random), value(random, 0));
    }
    let mut bytes = Value::Object(object).to_string().into_bytes();
    match random.random_range(0..12) {
        0 => bytes.truncate(random.random_range(0..=bytes.len())),
        1 if !bytes.is_empty() => {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        2 => bytes = ["[".repeat(random.random_range(1..3000)), "]".repeat(10)].concat().into_bytes(),
        3 => bytes.extend(vec![b' '; random.random_range(0..20_000)]),
        4 => bytes = value(random, 0).to_string().into_bytes(),
        5 => {
            let field = fields.first().map_or("x", String::as_str);
            bytes = format!("{{\"{field}\":\"a\",\"{field}\":\"b\"}}").into_bytes();
        }
        _ => {}
    }
    bytes
}

fn form(endpoint: &Endpoint, random: &mut StdRng) -> Vec<u8> {
    let (name, fields) = endpoint.forms[random.random_range(0..endpoint.forms.len())];
    let mut pairs = vec![format!("form={name}")];
    for field in fields {
        if random.random_bool(0.9) {
            pairs.push(format!("{field}={}", escape(&plain(meant(field, random)))));
        }
    }
    match random.random_range(0..12) {
        0 => pairs.push(format!("next={}", escape(&text(random)))),
        1 => pairs.push(text(random)),
        2 => pairs.extend((0..random.random_range(0..60)).map(|n| format!("x{n}="))),
        3 => pairs[0] = format!("form={}", escape(&text(random))),
        _ => {}
    }
    let mut bytes = pairs.join("&").into_bytes();
    if random.random_ratio(1, 10) {
        let at = random.random_range(0..bytes.len());
        bytes[at] = random.random();
    }
    bytes
}

/// What a query or a form has of it.
fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// What the field is meant to hold, odd as it may be, or anything: if all fields were odd, the first would hide the
/// others.
fn meant(field: &str, random: &mut StdRng) -> Value {
    if random.random_ratio(1, 4) {
        return value(random, 0);
    }
    match field {
        "session" => ["bearer", "cookie"][random.random_range(0..2)].into(),
        "trust_browser" => random.random::<bool>().into(),
        "next" => {
            ["/", "//evil.example", "https://evil.example/", "/\\evil", "javascript:x", "/me?a=%0d%0ab"]
                [random.random_range(0..6)]
            .into()
        }
        "email" => format!("{}@example.org", text(random)).into(),
        "code" if random.random_bool(0.5) => format!("{:06}", random.random_range(0..1_000_000)).into(),
        "challenge" | "token" if random.random_bool(0.5) => {
            format!("v1.{}.{}.{}", escape(&text(random)), escape(&text(random)), escape(&text(random))).into()
        }
        "password" | "new_password" | "current_password" => format!("twelve letters {}", text(random)).into(),
        _ => text(random).into(),
    }
}

fn value(random: &mut StdRng, depth: usize) -> Value {
    match random.random_range(0..14) {
        0 => Value::Null,
        1 => random.random::<bool>().into(),
        2 => random.random::<i64>().into(),
        3 => json!(random.random::<f64>() * 1e300),
        4 if depth < 20 => (0..random.random_range(0..4)).map(|_| value(random, depth + 1)).collect(),
        5 if depth < 20 => json!({ text(random): value(random, depth + 1) }),
        6 => format!("{:06}", random.random_range(0..1_000_000)).into(),
        7 => format!("{}@example.org", escape(&text(random))).into(),
        8 => ["bearer", "cookie", "Bearer"][random.random_range(0..3)].into(),
        9 => {
            format!("v1.{}.{}.{}", escape(&text(random)), escape(&text(random)), escape(&text(random))).into()
        }
        _ => text(random).into(),
    }
}

/// Texts that parsers trip over.
fn text(random: &mut StdRng) -> String {
    const KNOWN: [&str; 14] = [
        "",
        " ",
        "\0",
        "\r\n.\r\nX: y",
        "\u{202e}abc",
        "a\u{301}",
        "\u{1f468}\u{200d}\u{1f469}",
        "../../etc/passwd",
        "' OR 1=1 --",
        "{{7*7}}",
        "%s%n",
        "<script>",
        "=?utf-8?q?a?=",
        "\u{fffd}\u{feff}",
    ];
    match random.random_range(0..20) {
        at @ 0..14 => KNOWN[at].into(),
        14 => "a".repeat(random.random_range(0..9000)),
        15 => "\u{1f512}".repeat(random.random_range(0..300)),
        _ => (0..random.random_range(0..24)).map(|_| random.random_range(' '..'\u{17f}')).collect(),
    }
}

/// As much of a text as a URL or a header may hold.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|c| if c.is_ascii_alphanumeric() { char::from(c).to_string() } else { format!("%{c:02X}") })
        .collect()
}

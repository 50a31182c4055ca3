use super::*;
use crate::http::{Call, Failure};
use axum::{
    Router,
    extract::Path,
    routing::{any, get, post},
};
use serde_json::{Value, json};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    email: String,
}

async fn login(call: Call) -> Result<String, Failure> {
    let Login { email } = call.json()?;
    match email.as_str() {
        "locked" => {
            let wait = Duration::from_secs(90);
            Err(Refusal::new(Problem::Locked).retry_after(wait).because("the fifth failure").into())
        }
        "weak" => Err(Refusal::new(Problem::PasswordPolicy).violations(vec!["min_length".into()]).into()),
        "panic" => panic!("of a handler"),
        _ => Ok(call.peer.to_string()),
    }
}

fn app() -> App {
    let site = Site::new("https://auth.example.org", &[], |peer| peer.is_loopback()).unwrap();
    let router = Router::new()
        .route("/api/auth/login", post(login))
        .route("/any", post(|| async { "" }))
        .route("/api/auth/kept", get(|| async { ([("cache-control", "max-age=60")], "") }))
        .route("/api/authentic", get(|| async { ([("cache-control", "max-age=60")], "") }))
        .route("/page", get(|| async { ([("content-security-policy", "default-src 'self'")], "") }))
        .route("/number/{n}", get(|Path(n): Path<u8>| async move { n.to_string() }))
        .route("/teapot", any(|| async { StatusCode::IM_A_TEAPOT }));
    App::new(site, router)
}

async fn send(app: &App, method: &str, path: &str, lines: &[(&str, &str)], body: &str) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "auth.example.org");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let body_timeout = Duration::from_secs(10);
    let (socket, framing) = ("127.0.0.1".parse().unwrap(), Framing::Sound);
    let arrival = Arrival { socket, address: "127.0.0.1".into(), framing, body_timeout };
    app.handle(arrival, request).await
}

#[tokio::test]
async fn browsers_are_told_to_come_by_tls_where_they_do() {
    let told = |response: &Response<Body>| response.headers().get("strict-transport-security").cloned();
    let secure = app();
    for (method, path) in [("GET", "/teapot"), ("GET", "/nowhere"), ("POST", "/api/auth/login")] {
        let response = send(&secure, method, path, &[], "").await;
        assert_eq!(told(&response).expect("it is told"), "max-age=31536000", "{path}");
    }
    let plain = Site::new("http://auth.example.org", &[], |_| false).unwrap();
    let plain = App::new(plain, Router::new());
    assert_eq!(told(&send(&plain, "GET", "/nowhere", &[], "").await), None);
}

async fn body(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn problem(response: Response<Body>) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let status = response.status().as_u16();
    let document: Value = serde_json::from_str(&body(response).await).unwrap();
    assert_eq!(document["status"], status);
    document
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_handler_gets_a_whole_request_and_the_client() {
    let lines = [JSON, ("x-forwarded-for", "192.0.2.9")];
    let response = send(&app(), "POST", "/api/auth/login", &lines, r#"{"email":"a"}"#).await;
    assert_eq!(response.status(), 200);
    assert_eq!(body(response).await, "192.0.2.9");
}

#[tokio::test]
async fn whatever_is_refused_is_a_problem_document() {
    let deep = ["[".repeat(17), "]".repeat(17)].concat();
    let large = format!(r#"{{"email":"{}"}}"#, "a".repeat(limits::MAX_BODY));
    let twice = r#"{"email":"a","email":"b"}"#;
    for (method, path, lines, body, status, slug) in [
        ("GET", "/nothing", &[][..], "", 404, "urn:countersign:problem:not-found"),
        ("GET", "/api/auth", &[], "", 404, "urn:countersign:problem:not-found"),
        ("GET", "/api/auth/login", &[], "", 405, "urn:countersign:problem:method-not-allowed"),
        ("GET", "/number/300", &[], "", 400, "urn:countersign:problem:malformed"),
        ("GET", "/teapot", &[], "", 418, "about:blank"),
        ("GET", "/", &[("host", "evil.example")], "", 400, "urn:countersign:problem:malformed"),
        (
            "POST",
            "/api/auth/login",
            &[("content-type", "text/plain")],
            "x",
            403,
            "urn:countersign:problem:cross-site",
        ),
        (
            "POST",
            "/api/auth/login",
            &[("origin", "https://auth.example.org")],
            "{}",
            415,
            "urn:countersign:problem:unsupported-media-type",
        ),
        ("POST", "/api/auth/login", &[JSON], &large, 413, "urn:countersign:problem:too-large"),
        ("POST", "/any", &[JSON], &deep, 400, "urn:countersign:problem:malformed"),
        ("POST", "/api/auth/login", &[JSON], "{", 400, "urn:countersign:problem:malformed"),
        ("POST", "/api/auth/login", &[JSON], "", 400, "urn:countersign:problem:malformed"),
        ("POST", "/api/auth/login", &[JSON], "\u{feff}{}", 400, "urn:countersign:problem:malformed"),
        ("POST", "/api/auth/login", &[JSON], twice, 400, "urn:countersign:problem:malformed"),
        (
            "POST",
            "/api/auth/login",
            &[JSON],
            r#"{"email":"a","x":1}"#,
            400,
            "urn:countersign:problem:malformed",
        ),
        (
            "POST",
            "/api/auth/login",
            &[JSON],
            r#"{"email":"panic"}"#,
            503,
            "urn:countersign:problem:plugin-fault",
        ),
    ] {
        let response = send(&app(), method, path, lines, body).await;
        assert_eq!(response.status(), status, "{method} {path} {lines:?}");
        assert_eq!(problem(response).await["type"], slug, "{method} {path} {lines:?}");
    }
}

#[tokio::test]
async fn a_refusal_says_when_and_why_and_keeps_the_log_to_itself() {
    let response = send(&app(), "POST", "/api/auth/login", &[JSON], r#"{"email":"locked"}"#).await;
    assert_eq!(response.headers()["retry-after"], "90");
    let expected = json!({
        "type": "urn:countersign:problem:locked", "title": "Too many attempts", "status": 429,
        "detail": "Too many attempts", "retry_after": 90,
    });
    assert_eq!(problem(response).await, expected);

    let response = send(&app(), "POST", "/api/auth/login", &[JSON], r#"{"email":"weak"}"#).await;
    assert!(!response.headers().contains_key("retry-after"));
    let document = problem(response).await;
    assert_eq!(document["violations"], json!(["min_length"]));
    assert!(document.get("retry_after").is_none());
}

#[tokio::test]
async fn every_429_and_503_and_no_other_says_when() {
    for known in Problem::ALL {
        let response = problem::refused(&Refusal::new(*known).because("of a canary"));
        let asks_back = matches!(known.status(), 429 | 503);
        assert_eq!(response.headers().contains_key("retry-after"), asks_back, "{known:?}");
        assert_eq!(response.headers().contains_key("www-authenticate"), known.status() == 401, "{known:?}");
        let document = problem(response).await;
        assert_eq!(document["retry_after"], if asks_back { json!(1) } else { Value::Null }, "{known:?}");
        assert!(!document.to_string().contains("canary"), "{known:?}");
    }
}

#[tokio::test]
async fn a_405_names_the_methods_there_are() {
    let response = send(&app(), "DELETE", "/api/auth/login", &[], "").await;
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "POST");
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let headers = |response: Response<Body>| response.headers().clone();
    for path in ["/api/auth/kept", "/api/authentic", "/page", "/nothing", "/api/auth/nothing"] {
        let headers = headers(send(&app(), "GET", path, &[], "").await);
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["x-request-id"].len(), 16, "{path}");
        assert!(!headers.contains_key("x-countersign-development"), "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        let expected =
            if path == "/page" { "default-src 'self'" } else { "default-src 'none'; frame-ancestors 'none'" };
        assert_eq!(policy, expected, "{path}");
        let cache = if path == "/api/authentic" { "max-age=60" } else { "no-store" };
        assert_eq!(headers["cache-control"], cache, "{path}");
    }
}

#[tokio::test]
async fn a_development_server_says_so_in_every_answer() {
    let App { site, answer } = app();
    let site = Arc::into_inner(site).expect("nobody else has it");
    let app = App { site: Arc::new(site.development(true)), answer };
    for path in ["/page", "/nothing"] {
        let response = send(&app, "GET", path, &[], "").await;
        assert_eq!(response.headers()["x-countersign-development"], "true", "{path}");
    }
}

#[tokio::test]
async fn a_route_that_is_served_past_the_checks_does_not_work() {
    let request = Request::post("/api/auth/login").body(Body::from(r#"{"email":"a"}"#)).unwrap();
    let response = (app().answer)(request).await;
    assert_eq!(response.status(), 503);
}

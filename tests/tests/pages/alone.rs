//! Pages that stand at no path: they carry their style, and load nothing.
use super::{FORM, HTML, SAME_SITE};
use base64::{Engine, engine::general_purpose::STANDARD};
use countersign_tests::{Host, Reply};
use sha2::{Digest, Sha256};

/// What is refused before any page is asked is told to people in words, and to programs as it was.
#[test]
fn a_refusal_before_a_page_is_a_page_for_people() {
    let host = Host::start();
    let large = "x".repeat(17 << 10);
    for (method, path, headers, body, status, words) in [
        ("GET", "/login", &[("host", "evil.example")][..], None, 421, "not served here"),
        ("GET", "/nothing", &[("host", "evil.example")], None, 421, "not served here"),
        (
            "POST",
            "/login",
            &[FORM, ("sec-fetch-site", "cross-site")],
            Some("form=login"),
            403,
            "another site",
        ),
        ("POST", "/login", &[FORM, SAME_SITE[1]], Some(large.as_str()), 413, "too much"),
        ("POST", "/login", &[("content-type", "text/plain"), SAME_SITE[1]], Some("x"), 415, "cannot be read"),
        ("POST", "/nothing", &[FORM, SAME_SITE[1]], Some("x=y"), 415, "cannot be read"),
    ] {
        let send = |more: &[(&str, &str)]| {
            let headers = [headers, more].concat();
            host.browser().send(method, path, &headers, body.map(str::as_bytes)).expect("an answer")
        };
        let page = send(&[HTML]);
        let text = page.text();
        assert_eq!(page.status, status, "{method} {path}: {text}");
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{method} {path}");
        assert!(text.contains(words) && text.contains("role=\"alert\""), "{method} {path}: {text}");
        stands_alone(&page);
        let program = send(&[]);
        assert_eq!((program.status, program.problem().is_some()), (status, true), "{method} {path}");
    }
    // Whoever asks the API is a program's, whatever it would like to read.
    let api = host.browser().send("GET", "/api/auth/me", &[HTML, ("host", "evil.example")], None);
    api.expect("an answer").refused(421, "host-not-allowed");
    host.stop();
}

/// It has its style in it, under a policy that lets in no other, and is not told apart by where it is shown.
#[track_caller]
fn stands_alone(page: &Reply) {
    let text = page.text();
    let (_, rest) = text.split_once("<style>").expect("a style");
    let (style, _) = rest.split_once("</style>").expect("its end");
    let hash = STANDARD.encode(Sha256::digest(style));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains(&format!("style-src 'self' 'sha256-{hash}';")), "{policy}");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert!(!text.contains("<script") && !text.contains("stylesheet"), "it loads nothing");
}

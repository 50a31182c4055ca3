use super::*;
use axum::http::Request;

const OK: u16 = 200;
/// Takes a form.
const CONFIRM: &str = "/api/auth/mfa/magic-link/verify";

/// Method, headers, and whether there is a body.
type Shape<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);

/// The status that a request gets at https://auth.example.org, which also answers for app.example.org.
fn status(method: &str, target: &str, lines: &[(&str, &str)], has_body: bool) -> u16 {
    let site = Site::new("https://auth.example.org", &["app.example.org".into()], |_| false).unwrap();
    let site = site.forms(|path| path == CONFIRM);
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    check(&site, &parts, has_body).map_or_else(|refusal| refusal.problem().status(), |()| OK)
}

const HOST: (&str, &str) = ("host", "auth.example.org");
const JSON: (&str, &str) = ("content-type", "application/json");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const OWN: (&str, &str) = ("origin", "https://auth.example.org");
const EVIL: (&str, &str) = ("origin", "https://evil.example");
const NULL: (&str, &str) = ("origin", "null");
const COOKIE: (&str, &str) = ("cookie", "__Host-countersign=abc");

const fn fetch(site: &'static str) -> (&'static str, &'static str) {
    ("sec-fetch-site", site)
}

/// What another site's page, frame, form, image, script, worker or link can make a browser send.
#[test]
fn no_cross_site_shape_passes() {
    let multipart = ("content-type", "multipart/form-data; boundary=x");
    let text = ("content-type", "text/plain");
    let cross = fetch("cross-site");
    let shapes: &[Shape<'_>] = &[
        // Browsers with fetch metadata.
        ("POST", &[cross, EVIL, FORM], true),
        ("POST", &[cross, EVIL, FORM], false),
        ("POST", &[cross, EVIL, text], true),
        ("POST", &[cross, EVIL, multipart], true),
        ("POST", &[cross, EVIL, JSON], true),
        ("POST", &[cross, EVIL], false),
        ("POST", &[cross, EVIL], true),
        ("POST", &[cross, NULL, FORM], true),
        ("POST", &[cross, NULL, JSON], true),
        ("POST", &[cross, FORM], true),
        ("POST", &[cross, JSON], true),
        ("POST", &[cross, OWN, JSON], true),
        ("POST", &[cross], false),
        ("DELETE", &[cross, EVIL], false),
        ("PUT", &[cross, EVIL, JSON], true),
        ("PATCH", &[cross, EVIL, JSON], true),
        ("PROPFIND", &[cross, EVIL], false),
        // A sibling host of the same domain, an allowed one included.
        ("POST", &[fetch("same-site"), ("origin", "https://evil.example.org"), JSON], true),
        ("POST", &[fetch("same-site"), ("origin", "https://app.example.org"), JSON], true),
        ("POST", &[fetch("same-site"), NULL, FORM], true),
        ("POST", &[fetch("same-site"), JSON], true),
        // Dressed up as the user's own doing.
        ("POST", &[fetch("none"), EVIL, JSON], true),
        ("POST", &[fetch("none"), NULL, FORM], true),
        ("POST", &[fetch("none"), ("sec-fetch-mode", "cors"), JSON], true),
        // Broken metadata.
        ("POST", &[fetch(""), JSON], true),
        ("POST", &[fetch("SAME-ORIGIN"), JSON], true),
        ("POST", &[fetch("same-origin, cross-site"), JSON], true),
        ("POST", &[fetch("same-origin"), cross, JSON], true),
        // Browsers without.
        ("POST", &[EVIL, FORM], true),
        ("POST", &[EVIL, JSON], true),
        ("POST", &[EVIL], false),
        ("POST", &[NULL, FORM], true),
        ("POST", &[NULL, JSON], true),
        ("POST", &[OWN, EVIL, JSON], true),
        ("POST", &[("origin", "http://auth.example.org"), JSON], true),
        ("POST", &[("origin", "https://auth.example.org:8443"), JSON], true),
        ("POST", &[("origin", "https://auth.example.org.evil.example"), JSON], true),
        ("POST", &[("origin", "https://app.example.org"), JSON], true),
        ("DELETE", &[EVIL], false),
        // A form that shows neither.
        ("POST", &[FORM], true),
        ("POST", &[FORM], false),
        ("POST", &[text], true),
        ("POST", &[multipart], true),
        ("POST", &[], true),
        // The sign-in of a proxy is sent by the browser of itself.
        ("POST", &[cross, EVIL, JSON, ("authorization", "Basic dTpw")], true),
    ];
    for (method, lines, has_body) in shapes {
        let lines = [&[HOST, COOKIE], *lines].concat();
        for path in ["/api/auth/login", CONFIRM] {
            assert_eq!(status(method, path, &lines, *has_body), 403, "{method} {path} {lines:?} {has_body}");
        }
    }
}

#[test]
fn our_own_pages_and_what_is_no_browser_pass() {
    let same = fetch("same-origin");
    let shapes: &[Shape<'_>] = &[
        ("POST", &[same, OWN, JSON], true),
        ("POST", &[same, JSON], true),
        // A page that sends no referrer.
        ("POST", &[same, NULL, JSON], true),
        ("POST", &[same, OWN], false),
        ("DELETE", &[same, OWN], false),
        ("POST", &[OWN, JSON], true),
        ("POST", &[OWN], false),
        ("POST", &[fetch("none"), JSON], true),
        ("POST", &[fetch("none"), ("sec-fetch-mode", "navigate"), OWN, JSON], true),
        ("POST", &[JSON], true),
        ("POST", &[JSON], false),
        ("POST", &[], false),
        ("DELETE", &[], false),
        ("POST", &[("authorization", "Bearer abc"), JSON], true),
        ("POST", &[("authorization", "Bearer abc"), EVIL, fetch("cross-site"), JSON], true),
        ("GET", &[fetch("cross-site")], false),
        ("GET", &[fetch("cross-site"), EVIL], false),
        ("HEAD", &[fetch("cross-site")], false),
        ("GET", &[FORM], false),
    ];
    for (method, lines, has_body) in shapes {
        let lines = [&[HOST], *lines].concat();
        assert_eq!(status(method, "/api/auth/login", &lines, *has_body), OK, "{method} {lines:?} {has_body}");
    }
    let at_app = [("host", "app.example.org"), ("origin", "https://app.example.org"), JSON];
    assert_eq!(status("POST", "/api/auth/login", &at_app, true), OK);
}

#[test]
fn a_body_is_json_in_utf_8_or_refused() {
    for (media, expected) in [
        ("application/json", OK),
        ("Application/JSON", OK),
        ("application/json; charset=utf-8", OK),
        ("application/json;charset=\"UTF-8\"", OK),
        ("application/json; charset=latin1", 415),
        ("application/json; charset=utf-8; x=y", 415),
        ("application/json;", 415),
        ("application/json, text/plain", 415),
        ("application/jsonp", 415),
        ("application/problem+json", 415),
        ("text/plain", 415),
        ("text/plain; x=application/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
    ] {
        let lines = [HOST, OWN, ("content-type", media)];
        assert_eq!(status("POST", "/api/auth/login", &lines, true), expected, "{media:?}");
    }
    for lines in [
        &[HOST, OWN][..],
        &[HOST, OWN, JSON, JSON],
        &[HOST, OWN, JSON, ("content-encoding", "gzip")],
        &[HOST, OWN, ("content-type", "\u{fc}")],
    ] {
        assert_eq!(status("POST", "/api/auth/login", lines, true), 415, "{lines:?}");
    }
    assert_eq!(status("GET", "/api/auth/me", &[HOST, FORM], true), 415, "a body, whatever the method");
}

#[test]
fn a_form_is_taken_where_a_page_posts_one_from_this_site_and_nowhere_else() {
    let same = fetch("same-origin");
    let utf_8 = ("content-type", "application/x-www-form-urlencoded; charset=UTF-8");
    for (method, path, lines, expected) in [
        ("POST", CONFIRM, &[HOST, same, NULL, FORM][..], OK),
        ("POST", CONFIRM, &[HOST, same, FORM], OK),
        ("POST", CONFIRM, &[HOST, OWN, utf_8], OK),
        ("POST", CONFIRM, &[HOST, FORM], 403),
        ("POST", CONFIRM, &[HOST, OWN, ("content-type", "text/plain")], 415),
        ("POST", CONFIRM, &[HOST, OWN, FORM, ("content-encoding", "gzip")], 415),
        ("GET", CONFIRM, &[HOST, OWN, FORM], 415),
        ("DELETE", CONFIRM, &[HOST, OWN, FORM], 415),
        ("POST", "/api/auth/mfa/magic-link/verify/", &[HOST, OWN, FORM], 415),
        ("POST", "/api/auth/login", &[HOST, OWN, FORM], 415),
    ] {
        assert_eq!(status(method, path, lines, true), expected, "{method} {path} {lines:?}");
    }
}

#[test]
fn the_host_is_named_once_and_is_ours() {
    for (target, lines, expected) in [
        ("/", &[HOST][..], OK),
        ("/", &[("host", "APP.example.org:443")], OK),
        ("/", &[("host", "evil.example")], 421),
        ("/", &[("host", "auth.example.org:8443")], 421),
        ("/", &[("host", "")], 421),
        ("/", &[], 400),
        ("/", &[HOST, HOST], 400),
        ("/", &[HOST, ("host", "evil.example")], 400),
        ("/", &[("host", "\u{fc}")], 400),
        ("/", &[("host", "evil.example"), ("x-forwarded-host", "auth.example.org")], 421),
        ("https://auth.example.org/", &[HOST], OK),
        ("https://evil.example/", &[HOST], 400),
        ("https://evil.example/", &[("host", "evil.example")], 421),
    ] {
        assert_eq!(status("GET", target, lines, false), expected, "{target} {lines:?}");
    }
}

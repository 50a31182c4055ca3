//! Pages without a browser: who sees what, what forms are answered, and what no other site can have done.
use countersign_tests::{Client, Host, PASSWORD, Reply, Site, User};
use std::fmt::Write as _;

#[path = "pages/alone.rs"]
mod alone;
#[path = "pages/bare.rs"]
mod bare;

const SAME_SITE: [(&str, &str); 2] = [("origin", "null"), ("sec-fetch-site", "same-origin")];
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml");

/// Looks at a page as a browser does.
fn look(client: &mut Client, path: &str) -> Reply {
    client.send("GET", path, &[HTML], None).expect("an answer")
}

fn encoded(fields: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (name, value) in fields {
        let _ = write!(body, "&{name}=");
        value.bytes().for_each(|byte| {
            let _ = write!(body, "%{byte:02X}");
        });
    }
    body
}

/// Sends a form of a page as a browser does.
fn send(client: &mut Client, path: &str, fields: &[(&str, &str)]) -> Reply {
    let headers = [FORM, HTML, SAME_SITE[0], SAME_SITE[1]];
    client.send("POST", path, &headers, Some(encoded(fields).as_bytes())).expect("an answer")
}

fn sign_in(client: &mut Client, user: &User, next: &str) -> Reply {
    let form = [("form", "login"), ("email", &user.email), ("password", &user.password), ("next", next)];
    send(client, "/login", &form)
}

#[track_caller]
fn leads_to(reply: &Reply, location: &str) {
    assert_eq!((reply.status, reply.header("location")), (303, Some(location)), "{}", reply.text());
}

/// The value of a hidden field.
fn hidden(page: &Reply, name: &str) -> String {
    let text = page.text();
    let (_, rest) = text.split_once(&format!("name=\"{name}\" value=\"")).expect("the field");
    let value = rest.split('"').next().expect("its value");
    value.replace("&#x2f;", "/").replace("&amp;", "&")
}

fn host_with_user() -> (Host, User, User) {
    let host = Host::start();
    let plain = host.user_fixture("plain@example.org");
    let mut enrolled = host.user_fixture("ann@example.org");
    host.setup_totp(&mut enrolled);
    (host, plain, enrolled)
}

#[test]
fn every_page_shows_itself_to_whom_it_is_for_and_leads_all_others_on() {
    let (host, plain, enrolled) = host_with_user();
    let mut nobody = host.browser();
    let mut pending = host.mfa_pending_session(&enrolled);
    let mut signed_in = host.signed_in(&plain);
    for (path, expected) in [
        ("/", ["/login?next=%2F", "/mfa/challenge?next=%2F", ""]),
        ("/login", ["", "/mfa/challenge", "/"]),
        ("/register", ["", "/mfa/challenge", "/"]),
        ("/password/forgot", ["", "", ""]),
        ("/password/reset?token=abc", ["", "", ""]),
        ("/email/verify?token=abc", ["", "", ""]),
        ("/mfa/challenge", ["/login", "", "/"]),
        ("/step-up", ["/login?next=%2Fstep-up", "/mfa/challenge?next=%2Fstep-up", ""]),
        ("/settings/mfa", ["/login?next=%2Fsettings%2Fmfa", "/mfa/challenge?next=%2Fsettings%2Fmfa", ""]),
        (
            "/settings/sessions",
            ["/login?next=%2Fsettings%2Fsessions", "/mfa/challenge?next=%2Fsettings%2Fsessions", ""],
        ),
        (
            "/settings/password",
            ["/login?next=%2Fsettings%2Fpassword", "/mfa/challenge?next=%2Fsettings%2Fpassword", ""],
        ),
    ] {
        for (client, location) in [&mut nobody, &mut pending, &mut signed_in].into_iter().zip(expected) {
            let page = look(client, path);
            if location.is_empty() {
                assert_eq!(page.status, 200, "{path}: {}", page.text());
                is_a_page(&page, path);
            } else {
                leads_to(&page, location);
            }
            let head = client.send("HEAD", path, &[HTML], None).expect("an answer");
            assert_eq!((head.status, head.body.len()), (page.status, 0), "HEAD {path}");
            assert_eq!(head.header("location"), page.header("location"), "HEAD {path}");
            let policy = "content-security-policy";
            assert_eq!(head.header(policy), page.header(policy), "HEAD {path}");
        }
    }
    host.stop();
}

/// It loads nothing but our own, leaks no address, and is kept nowhere.
#[track_caller]
fn is_a_page(page: &Reply, path: &str) {
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        (
            "content-security-policy",
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; form-action 'self'; \
             frame-ancestors 'none'; base-uri 'none'",
        ),
    ] {
        assert_eq!(page.header(name), Some(value), "{path}");
    }
    let text = page.text();
    for wrong in ["http:", "https:", "//", " style=", "<style", " onclick", "javascript:"] {
        let text = text.replace("http://www.w3.org/2000/svg", "").replace("&#x2f;", "/");
        assert!(!text.contains(wrong), "{path} has {wrong}");
    }
    for attribute in text.split("<script").skip(1) {
        assert!(attribute.starts_with(" src=\"&#x2f;assets"), "{path} has a script of its own");
    }
}

#[test]
fn the_files_that_pages_load_are_kept_for_good_and_others_are_not_there() {
    let host = Host::start();
    let page = look(&mut host.browser(), "/login").text().replace("&#x2f;", "/");
    for (start, media) in
        [("/assets/pages.", "text/css; charset=utf-8"), ("<script src=\"", "text/javascript; charset=utf-8")]
    {
        let (_, rest) = page.split_once(start).expect("a file");
        let path = format!(
            "{}{}",
            start.trim_start_matches("<script src=\""),
            rest.split('"').next().expect("a path")
        );
        let file = host.browser().get(&path).expect("an answer");
        assert_eq!((file.status, file.header("content-type")), (200, Some(media)), "{path}");
        assert_eq!(file.header("cache-control"), Some("public, max-age=31536000, immutable"));
    }
    let missing = look(&mut host.browser(), "/assets/pages.0000.css");
    assert_eq!((missing.status, missing.header("content-type")), (404, Some("text/html; charset=utf-8")));
    assert_eq!(host.browser().get("/nothing").expect("an answer").problem().as_deref(), Some("not-found"));
    let put =
        host.browser().send("PUT", "/login", &[("sec-fetch-site", "same-origin")], None).expect("an answer");
    assert_eq!((put.status, put.header("allow")), (405, Some("GET, HEAD, POST")));
    host.stop();
}

/// Whom, where, which fields, the status, and the field with the words beside it.
type Wrong<'a> = (&'a mut Client, &'a str, &'a [(&'a str, &'a str)], u16, &'a str, &'a str);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_form_says_what_is_wrong_where_it_is_wrong() {
    let (host, plain, enrolled) = host_with_user();
    let wrong = host.generate_wrong_code(&enrolled);
    let mut pending = host.mfa_pending_session(&enrolled);
    let mut enrolling = host.signed_in(&plain);
    let begun = send(&mut enrolling, "/settings/mfa", &[("form", "enroll"), ("label", "phone")]);
    assert_eq!(begun.status, 200, "{}", begun.text());
    let enrollment = hidden(&begun, "enrollment");
    let long = "x".repeat(65);
    let cases: [Wrong<'_>; 12] = [
        (
            &mut host.browser(),
            "/login",
            &[("form", "login"), ("email", "x"), ("password", "y")],
            400,
            "login-email",
            "cannot be read",
        ),
        (
            &mut host.browser(),
            "/login",
            &[("form", "login"), ("email", "x@example.org"), ("password", "y")],
            401,
            "login-password",
            "Wrong e-mail address or password",
        ),
        (
            &mut host.browser(),
            "/login",
            &[("form", "link"), ("email", "x")],
            400,
            "link-email",
            "cannot be read",
        ),
        (
            &mut host.browser(),
            "/register",
            &[("form", "register"), ("email", &plain.email), ("password", PASSWORD)],
            409,
            "register-email",
            "already",
        ),
        (
            &mut host.browser(),
            "/register",
            &[("form", "register"), ("email", "new@example.org"), ("password", "short")],
            422,
            "register-password",
            "too short",
        ),
        (
            &mut host.browser(),
            "/password/forgot",
            &[("form", "forgot"), ("email", "")],
            400,
            "forgot-email",
            "cannot be read",
        ),
        (
            &mut host.browser(),
            "/password/reset",
            &[("form", "reset"), ("token", "v1.a.b.c"), ("new_password", "y")],
            401,
            "",
            "This link was used",
        ),
        (
            &mut host.browser(),
            "/email/verify",
            &[("form", "verify"), ("token", "v1.a.b.c")],
            401,
            "",
            "This link was used",
        ),
        (
            &mut pending,
            "/mfa/challenge",
            &[("form", "totp"), ("code", &wrong)],
            401,
            "totp-code",
            "not valid",
        ),
        (
            &mut host.signed_in(&plain),
            "/settings/password",
            &[("form", "change"), ("current_password", "x"), ("new_password", "y")],
            401,
            "change-current_password",
            "not your current",
        ),
        (
            &mut host.signed_in(&plain),
            "/settings/mfa",
            &[("form", "enroll"), ("label", &long)],
            400,
            "enroll-label",
            "1 to 64 characters",
        ),
        (
            &mut enrolling,
            "/settings/mfa",
            &[
                ("form", "activate"),
                ("code", "12"),
                ("enrollment", &enrollment),
                ("uri", "otpauth://totp/x"),
                ("secret", "ABCD"),
            ],
            400,
            "activate-code",
            "six digits",
        ),
    ];
    for (client, path, fields, status, field, words) in cases {
        let page = send(client, path, fields);
        let text = page.text();
        assert_eq!(page.status, status, "{path} {fields:?}: {text}");
        assert!(text.contains(words), "{path} {fields:?}: {text}");
        assert!(text.contains("<title>Problem: "), "{path}: {text}");
        if field.is_empty() {
            assert!(text.contains("role=\"alert\""), "{path}: {text}");
        } else {
            let (_, input) = text.split_once(&format!("<input id=\"{field}\"")).expect(field);
            let input = input.split('>').next().expect("a tag");
            for attribute in
                ["aria-invalid=\"true\"", "autofocus", &format!("aria-describedby=\"{field}-error")]
            {
                assert!(input.contains(attribute), "{path} {field}: {input}");
            }
        }
        for (name, value) in fields.iter().filter(|(name, _)| name.contains("password")) {
            let shown = format!("value=\"{value}\"");
            assert!(!text.contains(&shown), "{path} shows the {name} again");
        }
    }
    host.stop();
}

#[test]
fn no_other_site_posts_a_form() {
    let (host, plain, _) = host_with_user();
    let own = format!("http://{}", host.address());
    let body = encoded(&[("form", "login"), ("email", &plain.email), ("password", &plain.password)]);
    for (headers, status) in [
        (&[][..], 403),
        (&[("origin", "null")][..], 403),
        (&[("origin", "https://evil.example")][..], 403),
        (&[("sec-fetch-site", "cross-site")][..], 403),
        (&[("sec-fetch-site", "same-site")][..], 403),
        (&[("sec-fetch-site", "cross-site"), ("origin", own.as_str())][..], 403),
        (&[("sec-fetch-site", "same-origin"), ("origin", "null")][..], 303),
        (&[("origin", own.as_str())][..], 303),
    ] {
        let headers: Vec<_> = headers.iter().copied().chain([FORM]).collect();
        let reply =
            host.browser().send("POST", "/login", &headers, Some(body.as_bytes())).expect("an answer");
        assert_eq!(reply.status, status, "{headers:?}");
        assert_eq!(status == 303, reply.header("set-cookie").is_some(), "{headers:?}");
    }
    let json = [("content-type", "application/json"), SAME_SITE[1]];
    let reply = host.browser().send("POST", "/login", &json, Some(b"{}")).expect("an answer");
    assert_eq!(reply.status, 415, "a page takes forms");
    let api = [FORM, SAME_SITE[1]];
    let reply =
        host.browser().send("POST", "/api/auth/login", &api, Some(body.as_bytes())).expect("an answer");
    assert_eq!(reply.status, 415, "and the API takes none");
    for body in ["form=nothing", "form=login&email=a&email=b", "form=login&role=admin", "%"] {
        let headers = [FORM, SAME_SITE[1]];
        let reply =
            host.browser().send("POST", "/login", &headers, Some(body.as_bytes())).expect("an answer");
        assert_eq!(reply.status, 400, "{body}");
    }
    host.stop();
}

#[test]
fn a_visitor_is_sent_on_to_this_site_and_to_hosts_that_are_named_only() {
    let hosts = toml_edit::Array::from_iter(["wiki.example.org"]);
    let host = Site::with_store("memory").with("allowed_hosts", hosts).start();
    let user = host.user_fixture("ann@example.org");
    for (next, location) in [
        ("", "/"),
        ("/settings/mfa?x=1", "/settings/mfa?x=1"),
        ("https://wiki.example.org/a?b=c", "https://wiki.example.org/a?b=c"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("https://wiki.example.org@evil.example/", "/"),
        ("http://wiki.example.org/", "/"),
    ] {
        leads_to(&sign_in(&mut host.browser(), &user, next), location);
        let page = look(&mut host.browser(), &format!("/login?{}", &encoded(&[("next", next)])[1..]));
        let carried = page.text().contains("name=\"next\"");
        assert_eq!(carried, location != "/", "{next}");
        // Browsers hold the redirect after a form to the page's own policy.
        let policy = page.header("content-security-policy").expect("a policy");
        let elsewhere = policy.contains("form-action 'self' https://wiki.example.org;");
        assert_eq!(elsewhere, location.starts_with("https:"), "{policy}");
    }
    let token = look(&mut host.browser(), "/password/reset?token=v1.a.b.c");
    assert_eq!(hidden(&token, "token"), "v1.a.b.c");
    let said = look(&mut host.browser(), "/login?said=password-reset.said.set").text();
    assert!(said.contains("Your new password is set"));
    let page = look(&mut host.browser(), "/login?said=register.closed").text();
    assert!(!page.contains("Accounts are made"), "a location asks for no text but those that forms lead to");
    host.stop();
}

/// Sign-up to a remembered browser with nothing but forms, each page led to by the one before it.
#[test]
fn the_whole_way_is_gone_by_forms() {
    let host = Host::start();
    let mut ann = host.browser();
    let (email, clock) = ("ann@example.org", host.site().clock());
    let register =
        [("form", "register"), ("email", email), ("password", PASSWORD), ("next", "/settings/mfa")];
    leads_to(&send(&mut ann, "/register", &register), "/settings/mfa");
    let begun = send(&mut ann, "/settings/mfa", &[("form", "enroll"), ("label", "phone")]);
    let (enrollment, secret, uri) =
        (hidden(&begun, "enrollment"), hidden(&begun, "secret"), hidden(&begun, "uri"));
    assert!(uri.contains(&secret) && begun.text().contains("<svg"), "{}", begun.text());
    let code = || {
        clock.advance(std::time::Duration::from_secs(30));
        countersign_tests::oathtool(&secret, clock.now())
    };
    let shown = |code: &str| {
        let (first, second) = code.split_at(3);
        format!("{first} {second}")
    };
    let activate = [
        ("form", "activate"),
        ("code", &shown(&code())),
        ("enrollment", &enrollment),
        ("uri", &uri),
        ("secret", &secret),
    ];
    let codes = send(&mut ann, "/settings/mfa", &activate);
    assert_eq!(codes.status, 200, "{}", codes.text());
    assert_eq!(codes.header("cache-control"), Some("no-store"));
    let list = codes.text();
    let (_, list) = list.split_once("id=\"recovery-codes\"").expect("codes");
    let recovery =
        list.split("<li>").nth(1).and_then(|rest| rest.split('<').next()).expect("a code").to_owned();
    assert_eq!(list.split("</ul>").next().expect("a list").matches("<li>").count(), 8);
    assert!(!look(&mut ann, "/settings/mfa").text().contains(&recovery), "they are shown once");

    leads_to(&send(&mut ann, "/login", &[("form", "sign-out")]), "/login?said=login.said.signed-out");
    let user = User { email: email.into(), password: PASSWORD.into(), ..User::default() };
    leads_to(&sign_in(&mut ann, &user, "/settings/sessions"), "/mfa/challenge?next=%2Fsettings%2Fsessions");
    let page = look(&mut ann, "/mfa/challenge?next=%2Fsettings%2Fsessions");
    assert_eq!(hidden(&page, "next"), "/settings/sessions");
    let code_form =
        [("form", "totp"), ("code", &code()), ("trust_browser", "on"), ("next", "/settings/sessions")];
    leads_to(&send(&mut ann, "/mfa/challenge", &code_form), "/settings/sessions");

    // Remembered, until it is forgotten.
    send(&mut ann, "/login", &[("form", "sign-out")]);
    leads_to(&sign_in(&mut ann, &user, ""), "/");
    let settings = look(&mut ann, "/settings/mfa");
    let (_, browsers) = settings
        .text()
        .split_once("id=\"browsers\"")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("browsers");
    let id =
        browsers.split("name=\"id\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("one");
    let forget = send(&mut ann, "/settings/mfa", &[("form", "forget"), ("id", id)]);
    leads_to(&forget, "/settings/mfa?said=mfa.settings.said.forgotten");
    send(&mut ann, "/login", &[("form", "sign-out")]);
    leads_to(&sign_in(&mut ann, &user, ""), "/mfa/challenge");

    // A recovery code does as well; what changes the account takes an app's code, on the way and back.
    leads_to(&send(&mut ann, "/mfa/challenge", &[("form", "recovery"), ("code", &recovery)]), "/");
    let generate = [("form", "generate")];
    leads_to(&send(&mut ann, "/settings/mfa", &generate), "/step-up?next=%2Fsettings%2Fmfa");
    let step_up = [("form", "totp"), ("code", &code()), ("next", "/settings/mfa")];
    leads_to(&send(&mut ann, "/step-up", &step_up), "/settings/mfa");
    assert_eq!(send(&mut ann, "/settings/mfa", &generate).status, 200);
    let log = host.log();
    assert!(!log.contains(&secret) && !log.contains(&recovery), "neither is in the log");
    host.stop();
}

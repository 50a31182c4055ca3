//! The configurations of `examples/proxies`, in the proxies that they are for: TLS before them, an application behind
//! them, and the whole way from a stranger to a visitor whom the application knows.
use countersign_tests::{
    Authority, Host, Reply, Site, User,
    proxy::{Application, Browser, Places, Proxy, free_port},
};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use toml_edit::Array;

/// What a client may call itself, in every spelling that an application takes for one of the proxy's names.
const SPOOFED: [&str; 10] = [
    "Remote-User: canary",
    "remote-user: canary",
    "Remote_User: canary",
    "REMOTE_USER: canary",
    "Remote-Role: canary",
    "Remote_Role: canary",
    "Remote-Email: canary",
    "remote_email: canary",
    "Remote-Groups: canary",
    "Remote_Groups: canary",
];
const SAME_ORIGIN: &str = "Sec-Fetch-Site: same-origin";

#[test]
fn nginx_protects_an_application() {
    let log = protects(Proxy::nginx);
    assert!(log.contains("\"proxy_id\":\""), "nginx numbers requests: {log}");
}

#[test]
fn caddy_protects_an_application() {
    let log = protects(Proxy::caddy);
    assert!(log.contains("\"proxy_id\":\""), "Caddy numbers requests: {log}");
}

#[test]
fn traefik_protects_an_application() {
    protects(Proxy::traefik);
}

/// A host that browsers reach as auth.example.org, and somebody with a second factor.
fn host(port: u16) -> (Host, User) {
    let site = Site::with_store("memory").with_clock().with_mail();
    // The test itself asks at the address.
    let own = site.address().to_string();
    let site = site
        .with("public_url", format!("https://auth.example.org:{port}"))
        .with("allowed_hosts", Array::from_iter([format!("app.example.org:{port}"), own]))
        .with("trusted_proxies", Array::from_iter(["127.0.0.0/8"]))
        .with("session.cookie_domain", "example.org");
    let host = site.start();
    let mut ann = host.user_fixture("ann@example.org");
    host.setup_totp(&mut ann);
    (host, ann)
}

/// An address is needed by the configuration before the host is there.
fn listen() -> SocketAddr {
    let [a, b, c] =
        [std::process::id() >> 16, std::process::id() >> 8, std::process::id()].map(|id| id.to_le_bytes()[0]);
    free_port(IpAddr::from([127, a.wrapping_add(1), b, c]))
}

#[track_caller]
fn leads_to(reply: &Reply, status: u16, location: &str) {
    assert_eq!((reply.status, reply.header("location")), (status, Some(location)), "{}", reply.text());
}

/// The application has the name's own paths, `/` among them, and Countersign those of its pages.
#[test]
fn an_application_on_countersigns_own_name_is_protected() {
    let (listen, authority) = (listen(), Authority::new());
    let port = listen.port();
    let origin = format!("https://example.org:{port}");
    let site = Site::with_store("memory").with_clock();
    let own = site.address().to_string();
    let site = site.with("public_url", &*origin).with("allowed_hosts", Array::from_iter([own]));
    let host = site.with("trusted_proxies", Array::from_iter(["127.0.0.0/8"])).start();
    let mut ann = host.user_fixture("ann@example.org");
    host.setup_totp(&mut ann);
    let application = Application::start(listen.ip());
    let places = Places { listen, host: host.address(), application: &application, authority: &authority };
    let proxy = Proxy::nginx_on_one_name(places);
    let browser = Browser::new(places, &["example.org"]);
    let at = |path: &str| format!("{origin}{path}");
    let wiki = at("/wiki?a=b&c=%20d");
    let next = "next=%2Fwiki%3Fa%3Db%26c%3D%2520d";

    leads_to(&browser.look(&wiki, &SPOOFED), 302, &at(&format!("/login?{next}")));
    let page = browser.look(&at(&format!("/login?{next}")), &[]);
    assert_eq!(page.status, 200, "{}", page.text());
    let form = |name| [("form", name), ("next", "/wiki?a=b&c=%20d")];
    let login = [&form("login")[..], &[("email", &ann.email), ("password", &ann.password)]].concat();
    leads_to(&browser.post(&at("/login"), &[SAME_ORIGIN], &login), 303, &format!("/mfa/challenge?{next}"));
    assert!(browser.cookies().contains(&"__Host-countersign".to_owned()), "{:?}", browser.cookies());
    leads_to(&browser.look(&wiki, &[]), 302, &at(&format!("/mfa/challenge?{next}")));
    assert_eq!((browser.look(&at("/mfa/challenge"), &[]).status, application.asked()), (200, 0));
    let code = host.generate_totp_code(&ann);
    let proof = [&form("totp")[..], &[("code", &code)]].concat();
    leads_to(&browser.post(&at("/mfa/challenge"), &[SAME_ORIGIN], &proof), 303, "/wiki?a=b&c=%20d");
    for path in ["/wiki?a=b&c=%20d", "/"] {
        assert_eq!(who(&browser.look(&at(path), &SPOOFED)), ["remote-role: user".into(), known(&ann)]);
    }
    for page in ["/settings/mfa", "/settings/sessions", "/settings/password"] {
        assert_eq!(browser.look(&at(page), &[]).status, 200, "{page}\n{}", proxy.log());
    }
    // What signs out is none of the application's paths.
    let out = browser.post(&at("/login"), &[SAME_ORIGIN], &[("form", "sign-out")]);
    leads_to(&out, 303, "/login?said=login.said.signed-out");
    leads_to(&browser.look(&at("/"), &SPOOFED), 302, &at("/login?next=%2F"));
    assert_eq!(application.asked(), 2);
    drop(proxy);
    host.stop();
}

/// What an application was told of who asks.
#[track_caller]
fn who(reply: &Reply) -> Vec<String> {
    let head = reply.text().to_ascii_lowercase();
    assert!(reply.status == 200 && !head.contains("canary"), "{}: {head}", reply.status);
    let said = |line: &&str| line.starts_with("remote") && !line.ends_with(':');
    let mut who: Vec<String> = head.lines().map(str::trim_end).filter(said).map(Into::into).collect();
    who.sort_unstable();
    who
}

fn known(user: &User) -> String {
    format!("remote-user: {}", user.id.to_ascii_lowercase())
}

/// The whole way; answers what the host logged of it.
fn protects(start: impl Fn(Places<'_>) -> Proxy) -> String {
    let (listen, authority) = (listen(), Authority::new());
    let (host, ann) = host(listen.port());
    let application = Application::start(listen.ip());
    let places = Places { listen, host: host.address(), application: &application, authority: &authority };
    let proxy = start(places);
    let browser = Browser::new(places, &["auth.example.org", "app.example.org"]);
    let port = listen.port();
    let (auth, app) = (format!("https://auth.example.org:{port}"), format!("https://app.example.org:{port}"));
    let wiki = format!("{app}/wiki?a=b&c=%20d");
    let next = format!("next=https%3A%2F%2Fapp.example.org%3A{port}%2Fwiki%3Fa%3Db%26c%3D%2520d");

    // A stranger is sent to sign in, whatever a stranger says.
    let (login, challenge) = (format!("{auth}/login?{next}"), format!("{auth}/mfa/challenge?{next}"));
    let elsewhere = [
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Uri: //evil.example/",
        "X-Forwarded-Proto: javascript",
        "X-Original-URL: https://evil.example/",
    ];
    for headers in [&[][..], &SPOOFED, &elsewhere] {
        leads_to(&browser.look(&wiki, headers), 302, &login);
        leads_to(&browser.post(&wiki, headers, &[("a", "b")]), 302, &login);
    }
    assert_eq!(browser.ask(&wiki, &["Accept: application/json"], &[]).status, 401);
    for path in ["//evil.example/", "/\\evil.example"] {
        let sent = browser.ask(&format!("{app}{path}"), &["Accept: text/html"], &["--path-as-is"]);
        let location = sent.header("location").unwrap_or_default();
        let to = location.strip_prefix(&format!("{auth}/login")).expect("our own page");
        let back = format!("?next=https%3A%2F%2Fapp.example.org%3A{port}%2F");
        assert!(to.is_empty() || to.starts_with(&back), "{path}: {location}");
    }
    assert!(
        !browser
            .look(&format!("{auth}/login?next=https%3A%2F%2Fevil.example%2F"), &[])
            .text()
            .contains("evil")
    );

    // The password alone opens nothing.
    let page = browser.look(&login, &[]);
    assert!(page.status == 200 && page.text().contains("name=\"next\""), "{}", page.text());
    let form = [("form", "login"), ("email", &ann.email), ("password", &ann.password), ("next", &wiki)];
    let foreign = browser.post(&format!("{auth}/login"), &["Origin: https://evil.example"], &form);
    assert_eq!((foreign.status, browser.cookies().len()), (403, 0), "no other site signs anybody in");
    let relative = challenge.strip_prefix(&auth).expect("a path");
    let from_elsewhere = ["X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9", SAME_ORIGIN];
    leads_to(&browser.post(&format!("{auth}/login"), &from_elsewhere, &form), 303, relative);
    assert!(browser.cookies().contains(&"__Secure-countersign".to_owned()), "{:?}", browser.cookies());
    leads_to(&browser.look(&wiki, &SPOOFED), 302, &challenge);
    let refused = browser.ask(&wiki, &["Accept: application/json"], &[]).status;
    assert!(matches!(refused, 401 | 403), "{refused}");
    assert_eq!(application.asked(), 0, "nobody has got to the application\n{}", proxy.log());

    // The second factor does, and leads back to where it began.
    let page = browser.look(&challenge, &[]);
    assert_eq!(page.status, 200, "{}", page.text());
    let code = host.generate_totp_code(&ann);
    let form = [("form", "totp"), ("code", &code), ("next", &wiki)];
    leads_to(&browser.post(&format!("{auth}/mfa/challenge"), &[SAME_ORIGIN], &form), 303, &wiki);

    // The application learns who it is from nobody but the host.
    for reply in [
        browser.look(&wiki, &[]),
        browser.look(&wiki, &SPOOFED),
        browser.post(&wiki, &SPOOFED, &[("a", "b")]),
        browser.ask(&wiki, &SPOOFED, &["--request", "PUT", "--data", "{}"]),
    ] {
        // Nobody has proven the address.
        assert_eq!(who(&reply), ["remote-role: user".into(), known(&ann)], "{}", proxy.log());
    }
    assert_eq!(application.asked(), 4);
    let audit = host.site().run(&["audit", "tail", "--json"]);
    let audit = String::from_utf8_lossy(&audit.stdout);
    assert!(audit.contains("\"login") && !audit.contains("203.0.113"), "{audit}");

    // An address that is proven is told.
    let mut elsewhere = host.browser();
    elsewhere.ask("POST /mfa/magic-link/send", json!({ "email": ann.email })).expect(202);
    let token =
        host.site().mailbox().take_where(&ann.email, |mail| mail.text.contains("token=")).token().to_owned();
    elsewhere.ask("POST /mfa/magic-link/verify", json!({ "token": token })).expect(202);
    let told = ["remote-email: ann@example.org".into(), "remote-role: user".into(), known(&ann)];
    assert_eq!(who(&browser.look(&wiki, &SPOOFED)), told, "{}", proxy.log());

    // Signing out closes it.
    let signed_out = browser.post(&format!("{auth}/login"), &[SAME_ORIGIN], &[("form", "sign-out")]);
    assert_eq!(signed_out.status, 303, "{}", signed_out.text());
    leads_to(&browser.look(&wiki, &SPOOFED), 302, &login);
    assert_eq!(application.asked(), 5);
    drop(proxy);
    let log = host.log();
    host.stop();
    log
}

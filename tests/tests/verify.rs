//! What a reverse proxy is told: who it is, or where to send the browser.
use countersign_tests::{Client, Reply, Site, api};
use toml_edit::Array;

fn ask(client: &mut Client, accept: &str, query: &str) -> Reply {
    client.send("GET", &api(&format!("/verify{query}")), &[("accept", accept)], None).expect("an answer")
}

#[test]
fn a_proxy_learns_who_it_is_or_where_to_send_the_browser() {
    let host = Site::with_store("memory").with_clock().start();
    let origin = format!("http://{}", host.address());
    let mut browser = host.browser();
    let html = "text/html,application/xhtml+xml;q=0.9";
    let refused = ask(&mut browser, "application/json", "?next=%2Fwiki");
    assert_eq!((refused.status, refused.problem().as_deref()), (401, Some("session-required")));
    assert_eq!(refused.header("location"), Some(format!("{origin}/login?next=%2Fwiki").as_str()));
    for (query, location) in [
        ("", format!("{origin}/login")),
        ("?next=%2Fwiki%3Fa%3Db", format!("{origin}/login?next=%2Fwiki%3Fa%3Db")),
        ("?next=https%3A%2F%2Fevil.example%2F", format!("{origin}/login")),
        ("?next=%2F%2Fevil.example", format!("{origin}/login")),
    ] {
        let sent = ask(&mut browser, html, query);
        assert_eq!((sent.status, sent.header("location")), (302, Some(location.as_str())), "{query}");
        assert!(sent.body.is_empty());
    }

    let (mut browser, mut ann) = host.registered("ann@example.org");
    let known = ask(&mut browser, html, "");
    assert_eq!(known.status, 200);
    assert_eq!(known.header("remote-user"), Some(ann.id.as_str()));
    assert_eq!(known.header("remote-role"), Some("user"));
    assert_eq!(known.header("remote-email"), None, "nobody has proven the address");

    host.setup_totp_in(&mut browser, &mut ann);
    browser.ask("POST /login", ann.credentials()).expect(202);
    let pending = ask(&mut browser, "application/json", "");
    assert_eq!((pending.status, pending.problem().as_deref()), (403, Some("mfa-required")));
    assert_eq!(pending.header("location"), Some(format!("{origin}/mfa/challenge").as_str()));
    let sent = ask(&mut browser, html, "?next=%2F");
    assert_eq!(sent.header("location"), Some(format!("{origin}/mfa/challenge?next=%2F").as_str()));
    host.stop();
}

/// What nginx says in one header, and Traefik and Caddy in three.
#[test]
fn a_trusted_proxy_says_where_the_browser_was_going_and_nobody_else_does() {
    const ASKED: [(&[(&str, &str)], &str); 14] = [
        (
            &[("x-original-url", "https://app.example.org/a?b=c")],
            "?next=https%3A%2F%2Fapp.example.org%2Fa%3Fb%3Dc",
        ),
        (&[("x-original-url", "https://auth.example.org/a")], "?next=%2Fa"),
        (&[("x-original-url", "https://auth.example.org.evil.example/a")], ""),
        (&[("x-original-url", "https://auth.example.org//evil.example/")], ""),
        (&[("x-original-url", "http://app.example.org/a")], ""),
        (&[("x-original-url", "https://evil.example/")], ""),
        (&forwarded("https", "app.example.org", "/a?b=c"), "?next=https%3A%2F%2Fapp.example.org%2Fa%3Fb%3Dc"),
        (&forwarded("https", "auth.example.org", "/a"), "?next=%2Fa"),
        (&forwarded("https", "auth.example.org", "//evil.example/"), ""),
        (&forwarded("https", "auth.example.org", "@evil.example/"), ""),
        (&forwarded("https", "evil.example", "/"), ""),
        (&forwarded("https", "evil.example, app.example.org", "/"), ""),
        (&forwarded("http", "app.example.org", "/"), ""),
        (&[("x-forwarded-host", "app.example.org"), ("x-forwarded-uri", "/")], ""),
    ];
    for trusted in [true, false] {
        let site = Site::with_store("memory");
        let hosts = Array::from_iter(["app.example.org".to_owned(), site.address().to_string()]);
        let proxies = if trusted { "127.0.0.0/8" } else { "192.0.2.1" };
        let site = site.with("public_url", "https://auth.example.org").with("allowed_hosts", hosts);
        let host = site.with("trusted_proxies", Array::from_iter([proxies])).start();
        let mut browser = host.browser();
        for (headers, next) in ASKED {
            let headers = [headers, &[("accept", "text/html")]].concat();
            let sent = browser.send("GET", &api("/verify"), &headers, None).expect("an answer");
            let location = format!("https://auth.example.org/login{}", if trusted { next } else { "" });
            assert_eq!((sent.status, sent.header("location")), (302, Some(&*location)), "{headers:?}");
        }
        let far = format!("https://app.example.org/{}", "a".repeat(2048));
        let headers = [("accept", "text/html"), ("x-original-url", &far)];
        let sent = browser.send("GET", &api("/verify"), &headers, None).expect("an answer");
        assert_eq!(
            sent.header("location"),
            Some("https://auth.example.org/login"),
            "too long to come back to"
        );
        host.stop();
    }
}

const fn forwarded<'a>(scheme: &'a str, host: &'a str, uri: &'a str) -> [(&'static str, &'a str); 3] {
    [("x-forwarded-proto", scheme), ("x-forwarded-host", host), ("x-forwarded-uri", uri)]
}

//! What a reverse proxy is told: who it is, or where to send the browser.
use countersign_tests::{Client, Reply, Site, api};

fn ask(client: &mut Client, accept: &str, query: &str) -> Reply {
    client.send("GET", &api(&format!("/verify{query}")), &[("accept", accept)], None).expect("an answer")
}

#[test]
fn a_proxy_learns_who_it_is_or_where_to_send_the_browser() {
    let host = Site::with_store("memory").with_clock().start();
    let origin = format!("http://{}", host.address());
    let mut browser = host.browser();
    let html = "text/html,application/xhtml+xml;q=0.9";
    let refused = ask(&mut browser, "application/json", "");
    assert_eq!((refused.status, refused.problem().as_deref()), (401, Some("session-required")));
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
    let sent = ask(&mut browser, html, "?next=%2F");
    assert_eq!(sent.header("location"), Some(format!("{origin}/mfa/challenge?next=%2F").as_str()));
    host.stop();
}

//! Every `Set-Cookie`, wherever the host stands: names, attributes, and how long.
use crate::Stage;
use countersign_tests::{Reply, Site};
use serde_json::json;

/// The cookies of an answer: name, value, attributes.
fn set(reply: &Reply) -> Vec<(String, String, Vec<String>)> {
    let lines = reply.headers.iter().filter(|(name, _)| name == "set-cookie");
    lines
        .map(|(_, line)| {
            let mut parts = line.split(';').map(|part| part.trim().to_owned());
            let pair = parts.next().expect("a pair");
            let (name, value) = pair.split_once('=').expect("a value");
            (name.to_owned(), value.to_owned(), parts.collect())
        })
        .collect()
}

/// Goes through everything that sets a cookie; every one of them is seen by `look`.
fn all(stage: &Stage, look: impl Fn(&str, &[String])) {
    let mut browser = stage.browser();
    let see = |reply: &Reply, names: &[&str]| {
        let cookies = set(reply);
        for name in names {
            assert!(cookies.iter().any(|(set, ..)| set.ends_with(name)), "{name} among {cookies:?}");
        }
        cookies.iter().for_each(|(name, _, attributes)| look(name, attributes));
    };
    let mut user = stage.user_fixture("ann@example.org");
    see(&browser.ask("POST /login", user.credentials()), &["countersign"]);
    stage.setup_totp_in(&mut browser, &mut user);
    see(&browser.ask("POST /logout", json!({})), &["countersign"]);
    see(&browser.ask("POST /mfa/magic-link/send", json!({ "email": user.email })), &["countersign-mfa-link"]);
    let link = json!({ "token": stage.link(&user.email) });
    see(&browser.ask("POST /mfa/magic-link/verify", link), &["countersign", "countersign-mfa-link"]);
    let proof = json!({ "code": stage.generate_totp_code(&user), "trust_browser": true });
    browser = stage.browser();
    see(&browser.ask("POST /login", user.credentials()), &["countersign"]);
    see(&browser.ask("POST /mfa/totp/verify", proof), &["countersign", "countersign-mfa-trust"]);
    see(&browser.ask("POST /login", user.credentials()), &["countersign", "countersign-mfa-trust"]);
}

fn assert_has(name: &str, attributes: &[String], wanted: &[&str], unwanted: &[&str]) {
    for attribute in wanted {
        assert!(
            attributes.iter().any(|there| there == attribute),
            "{name} has no {attribute}: {attributes:?}"
        );
    }
    for attribute in unwanted {
        assert!(!attributes.iter().any(|there| there.starts_with(attribute)), "{name}: {attributes:?}");
    }
    assert!(attributes.iter().any(|there| there.starts_with("Max-Age=")), "{name}: {attributes:?}");
}

const ALWAYS: [&str; 3] = ["HttpOnly", "SameSite=Lax", "Path=/"];

#[test]
fn on_plain_http_on_loopback() {
    all(&Stage::new(), |name, attributes| {
        assert!(name.starts_with("countersign"), "{name}");
        assert_has(name, attributes, &ALWAYS, &["Secure", "Domain"]);
    });
}

/// A site behind a proxy that speaks TLS. The tests reach it by an address that is answered as well.
fn behind_tls() -> Site {
    let site = Site::with_store("memory").with_clock().with_mail();
    let own = site.address().to_string();
    site.with("public_url", "https://auth.example.org")
        .with("allowed_hosts", toml_edit::Value::from_iter([own]))
}

#[test]
fn on_https() {
    all(&Stage::on(behind_tls()), |name, attributes| {
        assert!(name.starts_with("__Host-countersign"), "{name}");
        assert_has(name, attributes, &ALWAYS, &["Domain"]);
        assert_has(name, attributes, &["Secure"], &[]);
    });
}

#[test]
fn for_all_subdomains() {
    all(&Stage::on(behind_tls().with("session.cookie_domain", "example.org")), |name, attributes| {
        assert!(name.starts_with("__Secure-countersign"), "{name}");
        assert_has(name, attributes, &ALWAYS, &[]);
        assert_has(name, attributes, &["Secure", "Domain=example.org"], &[]);
    });
}

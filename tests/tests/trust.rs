//! Trusted browsers: they shorten a login, and do nothing else.
use countersign_tests::{Client, Credentials, Host, Reply, Site, api, oathtool};
use serde_json::{Value, json};
use std::time::Duration;

const PASSWORD: &str = "correct horse battery staple";
const COOKIE: &str = "countersign-mfa-trust";

fn post(client: &mut Client, path: &str, body: &Value) -> Reply {
    client.post(&api(path), body).expect("an answer")
}

fn login(client: &mut Client) -> u16 {
    post(client, "/login", &json!({ "email": "ann@example.org", "password": PASSWORD })).status
}

fn code(host: &Host, secret: &str) -> String {
    host.site().clock().advance(Duration::from_secs(30));
    oathtool(secret, host.site().clock().now())
}

fn trust_cookie(client: &Client) -> Option<String> {
    match &client.credentials {
        Credentials::Cookies(jar) => jar.get(COOKIE).cloned(),
        Credentials::Bearer(_) => None,
    }
}

fn with_cookie(host: &Host, value: &str) -> Client {
    let mut client = host.browser();
    client.credentials = Credentials::Cookies([(COOKIE.to_owned(), value.to_owned())].into());
    client
}

/// A browser that is trusted and signed in, and the key of the account's factor.
fn trusted(host: &Host) -> (Client, String) {
    let mut client = host.browser();
    let user = json!({ "email": "ann@example.org", "password": PASSWORD });
    assert_eq!(post(&mut client, "/register", &user).status, 201);
    let enrolment = post(&mut client, "/mfa/totp/enroll", &json!({})).json();
    let secret = enrolment["secret"].as_str().expect("a secret").to_owned();
    let body = json!({ "code": code(host, &secret), "enrollment": enrolment["enrollment"] });
    assert_eq!(post(&mut client, "/mfa/totp/verify", &body).status, 200);
    assert_eq!(login(&mut client), 202);
    let body = json!({ "code": code(host, &secret), "trust_browser": true });
    assert_eq!(post(&mut client, "/mfa/totp/verify", &body).status, 200);
    assert!(trust_cookie(&client).is_some());
    (client, secret)
}

#[test]
fn a_trusted_browser_needs_the_password_alone_and_its_cookie_changes_each_time() {
    let host = Site::with_store("sqlite").with_clock().start();
    let (mut client, _) = trusted(&host);
    let mut seen = vec![trust_cookie(&client).expect("trusted")];
    for _ in 0..3 {
        assert_eq!(post(&mut client, "/logout", &json!({})).status, 204);
        assert_eq!(login(&mut client), 200);
        seen.push(trust_cookie(&client).expect("re-issued"));
    }
    for old in &seen[..3] {
        assert_eq!(login(&mut with_cookie(&host, old)), 202, "an old value is dead at once");
    }
    assert_eq!(login(&mut with_cookie(&host, "bWFkZS11cA")), 202);
    // It is no second factor: nothing that needs one can be done with it.
    let enrol = post(&mut client, "/mfa/totp/enroll", &json!({}));
    assert_eq!((enrol.status, enrol.problem().as_deref()), (403, Some("step-up-required")));
    // Thirty days, however often it was used.
    host.site().clock().advance(Duration::from_hours(30 * 24));
    assert_eq!(login(&mut client), 202);
    host.stop();
}

#[test]
fn a_trusted_browser_is_listed_and_given_up_and_ends_with_the_password() {
    let host = Site::with_store("memory").with_clock().start();
    let (mut client, secret) = trusted(&host);
    let listed = client.get(&api("/mfa/trusted-browsers")).expect("an answer").json();
    let browsers = listed["trusted_browsers"].as_array().expect("a list");
    assert_eq!((browsers.len(), &browsers[0]["current"]), (1, &json!(true)));
    let id = browsers[0]["id"].as_str().expect("an id");
    assert_eq!(client.delete(&api(&format!("/mfa/trusted-browsers/{id}"))).expect("an answer").status, 204);
    assert_eq!(login(&mut client), 202);

    let body = json!({ "code": code(&host, &secret), "trust_browser": true });
    assert_eq!(post(&mut client, "/mfa/totp/verify", &body).status, 200);
    let new = "staple battery horse correct";
    let change = json!({ "current_password": PASSWORD, "new_password": new });
    assert_eq!(post(&mut client, "/password/change", &change).status, 204);
    let again = post(&mut client, "/login", &json!({ "email": "ann@example.org", "password": new }));
    assert_eq!(again.status, 202, "a credential event ends trust");
    host.stop();
}

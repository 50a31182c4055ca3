//! Trusted browsers: they shorten a login, and do nothing else.
use countersign_tests::{Client, Credentials, Host, NONE, PASSWORD, Site, User};
use serde_json::json;
use std::time::Duration;

const COOKIE: &str = "countersign-mfa-trust";

fn login(client: &mut Client, user: &User) -> u16 {
    client.ask("POST /login", user.credentials()).status
}

fn with_cookie(host: &Host, value: &str) -> Client {
    let mut client = host.browser();
    client.credentials = Credentials::Cookies([(COOKIE.to_owned(), value.to_owned())].into());
    client
}

/// A user with an authenticator, and a browser that is trusted and signed in.
fn trusted(host: &Host) -> (Client, User) {
    let mut user = host.user_fixture("ann@example.org");
    host.setup_totp(&mut user);
    let client = host.trust_browser(&user);
    assert!(client.cookie(COOKIE).is_some());
    (client, user)
}

#[test]
fn a_trusted_browser_needs_the_password_alone_and_its_cookie_changes_each_time() {
    let host = Site::with_store("sqlite").with_clock().start();
    let (mut client, user) = trusted(&host);
    let mut seen = vec![client.cookie(COOKIE).expect("trusted").to_owned()];
    for _ in 0..3 {
        assert_eq!(client.ask("POST /logout", json!({})).status, 204);
        assert_eq!(login(&mut client, &user), 200);
        seen.push(client.cookie(COOKIE).expect("re-issued").to_owned());
    }
    for old in &seen[..3] {
        assert_eq!(login(&mut with_cookie(&host, old), &user), 202, "an old value is dead at once");
    }
    assert_eq!(login(&mut with_cookie(&host, "bWFkZS11cA"), &user), 202);
    // It is no second factor: nothing that needs one can be done with it.
    client.ask("POST /mfa/totp/enroll", json!({})).refused(403, "step-up-required");
    // Thirty days, however often it was used.
    host.site().clock().advance(Duration::from_hours(30 * 24));
    assert_eq!(login(&mut client, &user), 202);
    host.stop();
}

#[test]
fn a_trusted_browser_is_listed_and_given_up_and_ends_with_the_password() {
    let host = Site::with_store("memory").with_clock().start();
    let (mut client, mut user) = trusted(&host);
    let listed = client.ask("GET /mfa/trusted-browsers", NONE).expect(200);
    let browsers = listed["trusted_browsers"].as_array().expect("a list");
    assert_eq!((browsers.len(), &browsers[0]["current"]), (1, &json!(true)));
    let id = browsers[0]["id"].as_str().expect("an id");
    client.ask(&format!("DELETE /mfa/trusted-browsers/{id}"), NONE).expect(204);
    assert_eq!(login(&mut client, &user), 202);

    let mut client = host.trust_browser(&user);
    let new = "staple battery horse correct";
    let change = json!({ "current_password": PASSWORD, "new_password": new });
    assert_eq!(client.ask("POST /password/change", &change).status, 204);
    user.password = new.into();
    assert_eq!(login(&mut client, &user), 202, "a credential event ends trust");
    host.stop();
}

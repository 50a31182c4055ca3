//! Forgotten passwords, with the mails that a real delivery library was handed.
use countersign_tests::{Client, Host, NONE, PASSWORD, Reply, Site, api};
use serde_json::json;
use std::time::Duration;

const NEW_PASSWORD: &str = "staple battery horse correct";

fn host() -> Host {
    Site::with_store("sqlite").with_clock().with_mail().start()
}

/// The tokens of all mails so far, once there are as many.
fn mailed_tokens(host: &Host, count: usize) -> Vec<String> {
    let mails = host.site().mailbox().wait_for(count, |mail| mail.text.contains("token="));
    mails.iter().map(|mail| mail.token().to_owned()).collect()
}

fn login(client: &mut Client, password: &str) -> Reply {
    client.ask("POST /login", json!({ "email": "ann@example.org", "password": password }))
}

fn enrolled(host: &Host) -> Client {
    let (mut client, mut user) = host.registered("ann@example.org");
    host.setup_totp_in(&mut client, &mut user);
    client
}

fn ask(host: &Host, email: &str) -> Reply {
    host.browser().ask("POST /password/reset", json!({ "email": email }))
}

fn confirm(host: &Host, token: &str, password: &str) -> Reply {
    let body = json!({ "token": token, "new_password": password });
    host.browser().ask("POST /password/reset/confirm", &body)
}

#[test]
fn a_mailed_link_sets_a_password_and_passes_no_second_factor() {
    let host = host();
    let mut session = enrolled(&host);
    let (known, unknown) = (ask(&host, " ANN@example.org "), ask(&host, "nobody@example.org"));
    assert_eq!((known.status, known.text()), (202, "{}".into()));
    assert_eq!((unknown.status, unknown.text()), (202, "{}".into()));
    let token = mailed_tokens(&host, 1).remove(0);

    confirm(&host, &token, "short").refused(422, "password-policy");
    assert_eq!(confirm(&host, &token, NEW_PASSWORD).status, 204);
    confirm(&host, &token, PASSWORD).refused(401, "link-invalid");

    // Everything that was open is over, the old password too, and the second factor still stands.
    session.ask("GET /me", NONE).refused(401, "session-required");
    login(&mut host.browser(), PASSWORD).refused(401, "invalid-credentials");
    let answer = login(&mut host.browser(), NEW_PASSWORD);
    assert_eq!(answer.status, 202, "{}", answer.text());
    host.stop();
}

#[test]
fn links_are_newest_only_in_time_and_not_to_be_made_up() {
    let host = host();
    enrolled(&host);
    ask(&host, "ann@example.org");
    let first = mailed_tokens(&host, 1).remove(0);
    ask(&host, "ann@example.org");
    let second = mailed_tokens(&host, 2).remove(1);
    confirm(&host, &first, NEW_PASSWORD).refused(401, "link-invalid");
    for made_up in ["", "v1.x.y.z", &second[..second.len() - 1], &second.replace("v1.", "v2.")] {
        confirm(&host, made_up, NEW_PASSWORD).refused(401, "link-invalid");
    }
    // A challenge is signed as well, for another purpose.
    let challenge =
        login(&mut host.browser(), PASSWORD).json()["challenge"].as_str().expect("a challenge").to_owned();
    confirm(&host, &challenge, NEW_PASSWORD).refused(401, "link-invalid");
    host.site().clock().advance(Duration::from_secs(30 * 60 + 1));
    confirm(&host, &second, NEW_PASSWORD).refused(401, "link-invalid");
    host.stop();
}

#[test]
fn a_stranger_can_cause_three_mails_and_not_more() {
    let host = host();
    enrolled(&host);
    for _ in 0..6 {
        assert_eq!(ask(&host, "ann@example.org").status, 202);
    }
    let tokens = mailed_tokens(&host, 3);
    // Mails may overtake each other: one of the three carries the newest link.
    let good = tokens.iter().filter(|token| confirm(&host, token, NEW_PASSWORD).status == 204).count();
    assert_eq!(good, 1, "the last one that was sent is good");
    host.site().clock().advance(Duration::from_secs(601));
    ask(&host, "ann@example.org");
    mailed_tokens(&host, 4);
    host.stop();
}

#[test]
fn one_hundred_uses_of_a_link_set_one_password() {
    let host = host();
    enrolled(&host);
    ask(&host, "ann@example.org");
    let token = mailed_tokens(&host, 1).remove(0);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|n| {
                scope.spawn({
                    let (host, token) = (&host, &token);
                    move || confirm(host, token, &format!("{NEW_PASSWORD} {n}")).status
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [204, 401, 503].contains(status)), "{statuses:?}");
    host.stop();
}

/// Somebody signs up with an address that is not theirs, sets up a second factor, and waits for the owner to come.
#[test]
fn what_was_prepared_in_somebodys_name_ends_when_the_owner_comes() {
    let host = host();
    let mut stranger = enrolled(&host);
    let mut owner = host.browser();
    let asked = owner.ask("POST /mfa/magic-link/send", json!({ "email": "ann@example.org" }));
    assert_eq!(asked.status, 202, "{}", asked.text());
    let token = mailed_tokens(&host, 1).remove(0);
    let entered = owner.ask("POST /mfa/magic-link/verify", json!({ "token": token }));
    assert_eq!(entered.status, 200, "no factor of the stranger's is asked for: {}", entered.text());
    assert_eq!(entered.json()["user"]["email_verified"], true);

    stranger.ask("GET /me", NONE).refused(401, "session-required");
    login(&mut host.browser(), PASSWORD).refused(401, "invalid-credentials");
    let status = owner.ask("GET /mfa/status", NONE).json();
    assert_eq!((&status["enabled"], &status["recovery_codes_remaining"]), (&json!(false), &json!(0)));
    // A link works once.
    let again = host.browser().ask("POST /mfa/magic-link/verify", json!({ "token": token }));
    again.refused(401, "link-invalid");
    host.stop();
}

/// A link is a first factor: whoever has a second one meets it, and the mailbox does not count twice.
#[test]
fn a_link_does_not_pass_the_second_factor() {
    let host = host();
    let mut eve = host.user_fixture("eve@example.org");
    host.setup_totp(&mut eve);

    let mut browser = host.browser();
    browser.ask("POST /mfa/magic-link/send", json!({ "email": "eve@example.org" }));
    let token = mailed_tokens(&host, 1).remove(0);
    let entered = browser.ask("POST /mfa/magic-link/verify", json!({ "token": token }));
    assert_eq!(entered.status, 202, "{}", entered.text());
    assert_eq!(entered.json()["methods"], json!(["totp", "recovery"]), "and no code by mail");
    browser.ask("POST /mfa/otp/send", json!({})).refused(403, "forbidden");
    browser.ask("GET /me", NONE).refused(403, "mfa-required");
    host.stop();
}

/// What the browser of a page posts, which sends no referrer and so no origin either.
fn post_form(client: &mut Client, row: &str, fields: &str, headers: &[(&str, &str)]) -> Reply {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let headers = [&form[..], headers].concat();
    client.send("POST", &api(row), &headers, Some(fields.as_bytes())).expect("an answer")
}

const CONFIRM: &str = "/mfa/magic-link/verify";
const OWN_PAGE: &[(&str, &str)] = &[("sec-fetch-site", "same-origin"), ("origin", "null")];

fn link_for(host: &Host, browser: &mut Client, count: usize) -> String {
    browser.ask("POST /mfa/magic-link/send", json!({ "email": "eve@example.org" })).expect(202);
    let mut tokens = mailed_tokens(host, count);
    tokens.remove(count - 1)
}

#[test]
fn the_form_of_the_page_signs_in_and_sends_the_browser_on() {
    let host = host();
    host.user_fixture("eve@example.org");
    let mut browser = host.browser();
    let token = link_for(&host, &mut browser, 1);
    let page = browser.get(&api(&format!("{CONFIRM}?token={token}"))).expect("an answer");
    assert!(page.status == 200 && page.text().contains("eve@example.org"), "{}", page.text());
    for header in ["no-referrer", "no-store"] {
        assert!(page.headers.iter().any(|(_, value)| value == header), "{header} in {:?}", page.headers);
    }

    let fields = format!("token={token}");
    for headers in [
        &[][..],
        &[("origin", "https://evil.example")],
        &[("sec-fetch-site", "cross-site")],
        &[("origin", "null")],
    ] {
        post_form(&mut browser, CONFIRM, &fields, headers).refused(403, "cross-site");
    }
    let elsewhere = post_form(&mut browser, "/login", "email=eve", OWN_PAGE);
    elsewhere.refused(415, "unsupported-media-type");

    // Another browser is asked once more, and nothing is used up by that.
    let mut other = host.browser();
    let asked = post_form(&mut other, CONFIRM, &fields, OWN_PAGE);
    assert!(asked.status == 200 && asked.text().contains("confirm"), "{}", asked.text());
    other.ask("GET /session", NONE).refused(401, "session-required");

    let entered = post_form(&mut browser, CONFIRM, &fields, OWN_PAGE);
    assert_eq!((entered.status, entered.header("location"), entered.text()), (303, Some("/"), String::new()));
    browser.ask("GET /me", NONE).expect(200);
    let again = post_form(&mut browser, CONFIRM, &fields, OWN_PAGE);
    assert!(again.status == 401 && again.text().contains("was used"), "{}", again.text());

    // Asked, and said yes, in another browser.
    let fields = format!("token={}&confirm=yes", link_for(&host, &mut browser, 2));
    assert_eq!(post_form(&mut other, CONFIRM, &fields, OWN_PAGE).status, 303);
    host.stop();
}

#[test]
fn after_the_form_the_second_factor_is_asked_for_on_its_page() {
    let host = host();
    let mut eve = host.user_fixture("eve@example.org");
    host.setup_totp(&mut eve);
    let mut browser = host.browser();
    let token = link_for(&host, &mut browser, 1);
    let entered = post_form(&mut browser, CONFIRM, &format!("token={token}"), OWN_PAGE);
    assert_eq!((entered.status, entered.header("location")), (303, Some("/mfa/challenge")));
    browser.ask("GET /me", NONE).refused(403, "mfa-required");
    host.stop();
}

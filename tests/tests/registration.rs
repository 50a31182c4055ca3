//! Signing up with an address that a mailed link proves, and proving that of an account there is.
use countersign_tests::{Client, Host, NONE, PASSWORD, Reply, Site};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

const OTHER: &str = "staple battery horse correct";

fn host(registration: &str, store: &str) -> Host {
    Site::with_store(store).with_clock().with_mail().with("registration", registration).start()
}

fn register(host: &Host, email: &str, password: &str) -> Reply {
    host.browser().ask("POST /register", json!({ "email": email, "password": password }))
}

fn login(host: &Host, email: &str, password: &str) -> Reply {
    host.browser().ask("POST /login", json!({ "email": email, "password": password }))
}

fn verify(host: &Host, token: &str) -> Reply {
    host.browser().ask("POST /email/verify", json!({ "token": token }))
}

/// What a page, or an application, of a browser asks; a program says nothing of where it is.
const BROWSER: [(&str, &str); 1] = [("sec-fetch-site", "same-origin")];

/// Signs up in that browser; answers the token of the link that is mailed.
fn sign_up(host: &Host, browser: &mut Client, email: &str, password: &str) -> String {
    browser.ask("POST /register", json!({ "email": email, "password": password })).expect(202);
    host.site().mailbox().take_where(email, |mail| mail.text.contains("token=")).token().to_owned()
}

fn confirm(browser: &mut Client, body: &Value) -> Reply {
    browser.ask_with("POST /email/verify", &BROWSER, body)
}

/// The tokens of all mails so far, once there are as many. Mails may overtake each other.
fn tokens(host: &Host, count: usize) -> Vec<String> {
    let mails = host.site().mailbox().wait_for(count, |mail| mail.text.contains("token="));
    mails.iter().map(|mail| mail.token().to_owned()).collect()
}

/// Waits until so many have been told that they have an account already.
fn told(host: &Host, count: usize) {
    host.site().mailbox().wait_for(count, |mail| mail.subject.contains("already"));
}

#[test]
fn an_account_is_made_when_the_link_is_confirmed_and_not_before() {
    for store in ["sqlite", "memory"] {
        let host = host("verified", store);
        let mut browser = host.browser();
        let user = json!({ "email": " Ann@Example.org ", "password": PASSWORD });
        let asked = browser.ask("POST /register", user);
        assert_eq!((asked.status, asked.text()), (202, r#"{"status":"verification_required"}"#.into()));
        // The browser is known again by a cookie, which signs nobody in.
        let set: Vec<_> = asked.headers.iter().filter(|(name, _)| name == "set-cookie").collect();
        assert!(set.len() == 1 && set[0].1.starts_with("countersign-registration="), "{set:?}");
        assert!(set[0].1.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=1800"), "{set:?}");
        browser.ask("GET /session", NONE).refused(401, "session-required");
        login(&host, "ann@example.org", PASSWORD).refused(401, "invalid-credentials");

        let token = tokens(&host, 1).remove(0);
        for wrong in ["", "x", &token[..token.len() - 1], &token.replace("v1.", "v2.")] {
            verify(&host, wrong).refused(401, "link-invalid");
        }
        host.browser().ask("POST /email/verify", json!({})).refused(400, "malformed");
        assert_eq!(verify(&host, &token).status, 204);
        verify(&host, &token).refused(401, "link-invalid");
        let entered = login(&host, "ann@example.org", PASSWORD);
        assert_eq!(entered.status, 200, "{}", entered.text());
        assert_eq!(entered.json()["user"]["email_verified"], true);
        assert_eq!(entered.json()["user"]["role"], "user");
        host.stop();
    }
}

#[test]
fn known_unknown_and_waiting_addresses_are_answered_alike() {
    let host = host("verified", "sqlite");
    register(&host, "ann@example.org", PASSWORD);
    assert_eq!(verify(&host, &tokens(&host, 1)[0]).status, 204);
    register(&host, "waiting@example.org", PASSWORD);
    tokens(&host, 2);

    let seen = |reply: &Reply| {
        let own = |name: &str| ["x-request-id", "date"].contains(&name);
        // The cookie is a random value, as long for everybody.
        let masked = |value: &str| match value.split_once("registration=") {
            Some((name, rest)) => {
                (name.to_owned(), rest.find(';'), rest.split_once(';').expect("more").1.to_owned())
            }
            None => (value.to_owned(), None, String::new()),
        };
        let headers = reply.headers.iter().filter(|(name, _)| !own(name));
        let headers: Vec<_> = headers.map(|(name, value)| (name.clone(), masked(value))).collect();
        (reply.status, headers, reply.text())
    };
    let names = ["ann@example.org", "nobody@example.org", "waiting@example.org"];
    let distinct = |password: &str| -> BTreeSet<_> {
        names.iter().map(|name| seen(&register(&host, name, password))).collect()
    };
    let accepted = distinct(OTHER);
    assert_eq!(accepted.len(), 1, "{accepted:?}");
    assert_eq!(accepted.first().map(|seen| seen.0), Some(202));
    let refused = distinct("short");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused.first().map(|seen| seen.0), Some(422));

    // Whoever has an account is told, with nothing in the mail that opens anything.
    told(&host, 1);
    tokens(&host, 4);
    assert_eq!(login(&host, "ann@example.org", PASSWORD).status, 200, "nothing has changed");
    login(&host, "ann@example.org", OTHER).refused(401, "invalid-credentials");
    host.stop();
}

/// Whoever comes later changes nothing about the sign-up of whoever came before, nor about its link.
#[test]
fn a_link_is_for_the_password_that_it_was_asked_for_with_and_is_over_after_half_an_hour() {
    let host = host("verified", "sqlite");
    let owner = sign_up(&host, &mut host.browser(), "ann@example.org", PASSWORD);
    let stranger = sign_up(&host, &mut host.browser(), "Ann@example.org", OTHER);
    host.site().clock().advance(Duration::from_secs(30 * 60 - 5));
    assert_eq!(verify(&host, &owner).status, 204);
    let entered = login(&host, "ann@example.org", PASSWORD);
    assert_eq!((entered.status, &entered.json()["user"]["email"]), (200, &json!("ann@example.org")));
    login(&host, "ann@example.org", OTHER).refused(401, "invalid-credentials");
    // All others that waited with the address ended with it.
    verify(&host, &stranger).refused(401, "link-invalid");

    let late = sign_up(&host, &mut host.browser(), "bob@example.org", PASSWORD);
    host.site().clock().advance(Duration::from_mins(29));
    let newer = sign_up(&host, &mut host.browser(), "bob@example.org", OTHER);
    host.site().clock().advance(Duration::from_secs(61));
    verify(&host, &late).refused(401, "link-invalid");
    login(&host, "bob@example.org", PASSWORD).refused(401, "invalid-credentials");
    assert_eq!(verify(&host, &newer).status, 204, "that of the other is as good as it was");
    host.stop();
}

#[test]
fn an_address_gets_three_mails_in_ten_minutes_whether_or_not_it_has_an_account() {
    let host = host("verified", "sqlite");
    let password = |n: usize| format!("{PASSWORD} {n}");
    let sent: Vec<String> =
        (0..3).map(|n| sign_up(&host, &mut host.browser(), "ann@example.org", &password(n))).collect();
    for n in 3..6 {
        assert_eq!(register(&host, "ann@example.org", &password(n)).status, 202);
    }
    host.site().clock().advance(Duration::from_mins(11));
    let later = sign_up(&host, &mut host.browser(), "ann@example.org", &password(6));
    assert_eq!(verify(&host, &sent[1]).status, 204, "what came afterwards has changed nothing");
    for token in [&sent[0], &sent[1], &sent[2], &later] {
        verify(&host, token).refused(401, "link-invalid");
    }
    assert_eq!(login(&host, "ann@example.org", &password(1)).status, 200, "and the password is its own");
    for _ in 0..6 {
        assert_eq!(register(&host, "ann@example.org", PASSWORD).status, 202);
    }
    told(&host, 3);
    host.stop();
}

/// Somebody signs up with the address of somebody else, who opens whatever link is mailed: before the owner signs
/// up, after it, and without it.
#[test]
fn no_click_of_the_owner_confirms_the_password_of_a_stranger() {
    let host = host("verified", "memory");
    let mut stranger = host.browser();
    let before = sign_up(&host, &mut stranger, "ann@example.org", OTHER);
    let mut owner = host.browser();
    let own = sign_up(&host, &mut owner, "ann@example.org", PASSWORD);
    let after = sign_up(&host, &mut stranger, "ann@example.org", OTHER);
    for (token, required) in [(&before, true), (&own, false), (&after, true)] {
        let told = owner.ask(&format!("GET /email/verify?token={token}"), NONE).expect(200);
        let expected =
            json!({ "email": "ann@example.org", "purpose": "registration", "password_required": required });
        assert_eq!(told, expected);
    }
    for token in [&before, &after] {
        for header in [("origin", "null"), BROWSER[0]] {
            let origin = format!("http://{}", host.address());
            let header = if header.0 == "origin" { ("origin", origin.as_str()) } else { header };
            let reply = owner.ask_with("POST /email/verify", &[header], json!({ "token": token }));
            reply.refused(401, "invalid-credentials");
        }
        confirm(&mut owner, &json!({ "token": token, "password": PASSWORD }))
            .refused(401, "invalid-credentials");
        // Without cookies of its own the browser is as strange.
        confirm(&mut host.browser(), &json!({ "token": token })).refused(401, "invalid-credentials");
    }
    login(&host, "ann@example.org", OTHER).refused(401, "invalid-credentials");
    assert_eq!(confirm(&mut owner, &json!({ "token": own })).status, 204);
    assert_eq!(login(&host, "ann@example.org", PASSWORD).status, 200);
    login(&host, "ann@example.org", OTHER).refused(401, "invalid-credentials");

    // The owner never signed up: the link of a stranger makes an account with a password of the owner's.
    let token = sign_up(&host, &mut stranger, "bob@example.org", OTHER);
    let body = |password: &str| json!({ "token": token, "new_password": password });
    confirm(&mut owner, &body("short")).refused(422, "password-policy");
    assert_eq!(confirm(&mut owner, &body(PASSWORD)).status, 204);
    login(&host, "bob@example.org", OTHER).refused(401, "invalid-credentials");
    assert_eq!(login(&host, "bob@example.org", PASSWORD).json()["user"]["email_verified"], true);
    host.stop();
}

#[test]
fn strangers_who_use_up_mails_and_tries_do_not_keep_the_owner_from_signing_up() {
    let host = host("verified", "sqlite");
    let email = "ann@example.org";
    let sent: Vec<String> = (0..3).map(|_| sign_up(&host, &mut host.browser(), email, OTHER)).collect();
    // The owner's own sign-up is answered like any, and there is no mail of it; one of the others does.
    assert_eq!(register(&host, email, PASSWORD).status, 202);
    for _ in 0..6 {
        login(&host, email, "wrong");
    }
    login(&host, email, "wrong").refused(429, "locked");
    let right = |token: &str| json!({ "token": token, "password": OTHER });
    let wrong = |token: &str| json!({ "token": token, "password": PASSWORD });
    let mut owner = host.browser();
    for _ in 0..5 {
        confirm(&mut owner, &wrong(&sent[0])).refused(401, "invalid-credentials");
    }
    // No more of that link's passwords are looked at, right or wrong, by whatever client.
    confirm(&mut owner, &right(&sent[0])).refused(429, "locked");
    host.browser().ask("POST /email/verify", right(&sent[0])).refused(429, "locked");
    confirm(&mut owner, &wrong(&sent[1])).refused(401, "invalid-credentials");
    let body = json!({ "token": sent[0], "password": OTHER, "new_password": PASSWORD });
    confirm(&mut owner, &body).refused(400, "malformed");
    assert_eq!(confirm(&mut owner, &json!({ "token": sent[0], "new_password": PASSWORD })).status, 204);
    host.site().clock().advance(Duration::from_mins(16));
    assert_eq!(login(&host, email, PASSWORD).status, 200);
    host.stop();
}

#[test]
fn a_link_makes_no_account_once_registration_is_closed() {
    let host = host("verified", "sqlite");
    let mut browser = host.browser();
    let token = sign_up(&host, &mut browser, "ann@example.org", PASSWORD);
    let site = host.site();
    for (registration, status) in [("closed", 403), ("open", 204)] {
        site.set("registration", registration);
        let reloaded = site.run(&["reload"]);
        assert!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
        assert_eq!(confirm(&mut browser, &json!({ "token": token })).status, status, "{registration}");
    }
    host.stop();
}

#[test]
fn one_hundred_uses_of_a_link_make_one_account() {
    let host = host("verified", "sqlite");
    register(&host, "ann@example.org", PASSWORD);
    let token = tokens(&host, 1).remove(0);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100).map(|_| scope.spawn(|| verify(&host, &token).status)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [204, 401, 503].contains(status)), "{statuses:?}");
    assert_eq!(login(&host, "ann@example.org", PASSWORD).status, 200);
    host.stop();
}

/// The owner of the mailbox was given an account by an administrator while a stranger's link was on its way.
#[test]
fn a_link_makes_no_account_where_there_is_one_by_then() {
    let host = host("verified", "sqlite");
    register(&host, "ann@example.org", OTHER);
    let token = tokens(&host, 1).remove(0);
    host.user_fixture("ann@example.org");
    verify(&host, &token).refused(401, "link-invalid");
    login(&host, "ann@example.org", OTHER).refused(401, "invalid-credentials");
    assert_eq!(login(&host, "ann@example.org", PASSWORD).status, 200);
    host.stop();
}

#[test]
fn a_nearly_full_store_takes_no_new_sign_ups_and_lets_everybody_in() {
    for (registration, max_records) in [("verified", 60), ("open", 160)] {
        // Nobody takes the mails: a delivered one would make room again.
        let site = Site::with_store("memory").with_mail().with("delivery.smtp.url", "smtp://127.0.0.1:1");
        let site = site.with("registration", registration);
        let host = site.with("store.memory.max_records", max_records).start();
        let mut taken = Vec::new();
        let refused = (0..60).find_map(|n| {
            let email = format!("user{n}@example.org");
            let reply = register(&host, &email, PASSWORD);
            if [201, 202].contains(&reply.status) {
                taken.push(email);
                return None;
            }
            Some(reply)
        });
        refused.expect("it fills up").refused(503, "store-unavailable");
        // Whoever has one, or waits for one, is refused alike.
        register(&host, &taken[0], PASSWORD).refused(503, "store-unavailable");
        if registration == "open" {
            assert_eq!(login(&host, &taken[0], PASSWORD).status, 200);
        }
        host.stop();
    }
}

#[test]
fn verified_registration_needs_something_that_sends_mail() {
    let site = Site::with_store("sqlite").with("registration", "verified");
    let said = site.refuses();
    assert!(said.contains("registration") && said.contains("[delivery]"), "{said}");
    let check = site.run(&["config", "check"]);
    assert_eq!(check.status.code(), Some(2), "{}", String::from_utf8_lossy(&check.stderr));
}

/// An account that anybody could have made is its owner's alone once the address is proven.
#[test]
fn the_address_of_an_open_account_is_proven_on_demand_and_what_was_there_before_goes() {
    let host = host("open", "sqlite");
    let mut browser = host.browser();
    let user = json!({ "email": "ann@example.org", "password": PASSWORD });
    assert_eq!(browser.ask("POST /register", user).status, 201);
    host.browser().ask("POST /email/verify/send", json!({})).refused(401, "session-required");
    for _ in 0..3 {
        assert_eq!(browser.ask("POST /email/verify/send", json!({})).status, 202);
    }
    browser.ask("POST /email/verify/send", json!({})).refused(429, "rate-limited");
    let sent = tokens(&host, 3);
    let good = sent.iter().filter(|token| verify(&host, token).status == 204).count();
    assert_eq!(good, 1, "the newest");

    browser.ask("GET /me", NONE).refused(401, "session-required");
    login(&host, "ann@example.org", PASSWORD).refused(401, "invalid-credentials");
    host.browser().ask("POST /password/reset", json!({ "email": "ann@example.org" }));
    let reset = tokens(&host, 4).into_iter().find(|token| !sent.contains(token)).expect("another");
    verify(&host, &reset).refused(401, "link-invalid");
    let body = json!({ "token": reset, "new_password": OTHER });
    assert_eq!(host.browser().ask("POST /password/reset/confirm", body).status, 204);
    let mut browser = host.browser();
    let user = json!({ "email": "ann@example.org", "password": OTHER });
    let entered = browser.ask("POST /login", user);
    assert_eq!((entered.status, &entered.json()["user"]["email_verified"]), (200, &json!(true)));
    browser.ask("POST /email/verify/send", json!({})).refused(409, "conflict");
    host.stop();
}

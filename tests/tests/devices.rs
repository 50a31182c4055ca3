//! Browsers that an account knows: wrong passwords and mails of their own, and no other power. And what must look the
//! same whoever an address belongs to.
use countersign_tests::{Client, Credentials, Host, PASSWORD, Site, User};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const COOKIE: &str = "countersign-device";
const WRONG: &str = "not the battery staple";

fn host(store: &str) -> Host {
    Site::with_store(store).with_clock().with_mail().start()
}

fn with_password(user: &User, password: &str) -> Value {
    json!({ "email": user.email, "password": password })
}

fn device(client: &Client) -> Option<String> {
    match &client.credentials {
        Credentials::Cookies(jar) => jar.get(COOKIE).cloned(),
        Credentials::Bearer(_) => None,
    }
}

/// A browser that holds this device cookie and nothing else.
fn known_by(host: &Host, cookie: &str) -> Client {
    let mut client = host.browser();
    client.credentials = Credentials::Cookies(BTreeMap::from([(COOKIE.to_owned(), cookie.to_owned())]));
    client
}

/// Wrong passwords until they are not looked at any more; how many were.
fn wrong_tries(client: &mut Client, user: &User) -> usize {
    let tried = (0..20).map(|_| client.ask("POST /login", with_password(user, WRONG)).status);
    tried.take_while(|status| *status == 401).count()
}

#[test]
fn a_flood_of_wrong_passwords_keeps_strangers_out_and_not_the_owner() {
    for store in ["sqlite", "memory"] {
        let host = host(store);
        let ann = host.user_fixture("ann@example.org");
        let mut home = host.signed_in(&ann);
        let cookie = device(&home).expect("a device cookie");
        assert_eq!(wrong_tries(&mut host.browser(), &ann), 5);
        host.browser().ask("POST /login", ann.credentials()).refused(429, "locked");

        home.ask("POST /logout", json!({})).expect(204);
        assert_eq!(device(&home).as_deref(), Some(cookie.as_str()), "signing out does not make it strange");
        home.ask("POST /login", ann.credentials()).expect(200);
        // It has five tries of its own, and uses them up for itself alone.
        let mut home = known_by(&host, &device(&home).expect("renewed"));
        assert_eq!(wrong_tries(&mut home, &ann), 5);
        home.ask("POST /login", ann.credentials()).refused(429, "locked");
        host.site().clock().advance(Duration::from_mins(15));
        host.browser().ask("POST /login", ann.credentials()).expect(200);
        host.stop();
    }
}

#[test]
fn it_opens_nothing_and_is_good_for_its_account_alone() {
    let host = host("sqlite");
    let (ann, bob) = (host.user_fixture("ann@example.org"), host.user_fixture("bob@example.org"));
    let home = host.signed_in(&ann);
    let cookie = device(&home).expect("a device cookie");
    known_by(&host, &cookie).ask("GET /session", Value::Null).refused(401, "session-required");
    assert_eq!(wrong_tries(&mut host.browser(), &bob), 5);
    assert_eq!(wrong_tries(&mut host.browser(), &ann), 5);
    known_by(&host, &cookie).ask("POST /login", bob.credentials()).refused(429, "locked");
    // Every other spelling of it is a stranger's.
    let flipped: String = cookie.chars().rev().collect();
    for wrong in ["", "x", &flipped, &cookie[1..], &format!("{cookie}A"), &cookie.to_lowercase()] {
        known_by(&host, wrong).ask("POST /login", ann.credentials()).refused(429, "locked");
    }
    known_by(&host, &cookie).ask("POST /login", ann.credentials()).expect(200);
    // A name that nobody has is like one that somebody has.
    let nobody = json!({ "email": "nobody@example.org", "password": WRONG });
    let mut stranger = known_by(&host, &cookie);
    for _ in 0..5 {
        stranger.ask("POST /login", nobody.clone()).refused(401, "invalid-credentials");
    }
    stranger.ask("POST /login", nobody).refused(429, "locked");
    host.stop();
}

#[test]
fn a_login_that_waits_for_its_second_factor_is_not_complete() {
    let host = host("memory");
    let mut ann = host.user_fixture("ann@example.org");
    host.setup_totp(&mut ann);
    let mut browser = host.mfa_pending_session(&ann);
    assert_eq!(device(&browser), None);
    host.complete_mfa(&mut browser, &ann);
    assert!(device(&browser).is_some());
    // A program keeps no cookies.
    let mut program = host.program();
    let challenge = host.mfa_pending_challenge(&ann);
    let proof = json!({ "code": host.generate_totp_code(&ann), "challenge": challenge });
    let answer = program.ask("POST /mfa/totp/verify", proof);
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
    host.stop();
}

#[test]
fn a_credential_event_ends_it_everywhere_but_where_it_came_from() {
    let host = host("sqlite");
    let ann = host.user_fixture("ann@example.org");
    let mut home = host.signed_in(&ann);
    let elsewhere = device(&host.signed_in(&ann)).expect("a device cookie");
    let before = device(&home).expect("a device cookie");
    let new = "staple battery horse correct";
    let change = json!({ "current_password": PASSWORD, "new_password": new });
    home.ask("POST /password/change", change).expect(204);
    let after = device(&home).expect("still known");
    assert_ne!(before, after);
    assert_eq!(wrong_tries(&mut host.browser(), &ann), 5);
    for dead in [&elsewhere, &before] {
        known_by(&host, dead).ask("POST /login", with_password(&ann, new)).refused(429, "locked");
    }
    known_by(&host, &after).ask("POST /login", with_password(&ann, new)).expect(200);
    host.stop();
}

#[test]
fn administrators_see_and_lift_the_locks_of_strangers_and_of_known_browsers() {
    let host = host("memory");
    let ann = host.user_fixture("ann@example.org");
    let cookie = device(&host.signed_in(&ann)).expect("a device cookie");
    let shown = || {
        let output = host.site().run(&["user", "show", "ann@example.org", "--json"]);
        let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        ["password_locked_until", "known_browsers_locked_until"].map(|key| shown[key].is_string())
    };
    assert_eq!(shown(), [false, false]);
    assert_eq!(wrong_tries(&mut known_by(&host, &cookie), &ann), 5);
    assert_eq!(shown(), [false, true]);
    assert_eq!(wrong_tries(&mut host.browser(), &ann), 5);
    assert_eq!(shown(), [true, true]);
    assert!(host.site().run(&["mfa", "unlock", "ann@example.org"]).status.success());
    assert_eq!(shown(), [false, false]);
    known_by(&host, &cookie).ask("POST /login", ann.credentials()).expect(200);
    host.browser().ask("POST /login", ann.credentials()).expect(200);
    host.stop();
}

#[test]
fn links_that_strangers_ask_for_do_not_use_up_what_the_owner_needs() {
    let host = host("memory");
    let ann = host.user_fixture("ann@example.org");
    let mut home = host.signed_in(&ann);
    let send = json!({ "email": ann.email });
    let link = |mail: &countersign_tests::Mail| mail.subject.contains("link");
    for _ in 0..5 {
        host.browser().ask("POST /mfa/magic-link/send", send.clone()).expect(202);
    }
    for _ in 0..3 {
        host.site().mailbox().take_where(&ann.email, link);
    }
    home.ask("POST /logout", json!({})).expect(204);
    home.ask("POST /mfa/magic-link/send", send).expect(202);
    host.site().mailbox().take_where(&ann.email, link);
    host.stop();
}

#[test]
fn the_owner_hears_of_each_new_browser_and_of_one_that_keeps_no_cookie_once_an_hour() {
    let host = host("memory");
    let ann = host.user_fixture("ann@example.org");
    let mut home = host.signed_in(&ann);
    home.ask("POST /login", ann.credentials()).expect(200);
    let login = json!({ "email": ann.email, "password": PASSWORD, "session": "bearer" });
    let sign_in =
        |agent| host.program().ask_with("POST /login", &[("user-agent", agent)], login.clone()).expect(200);
    // A sign-in that its owner hears of comes after all that were none of it.
    for agent in ["Snoop/1", "Snoop/1", "Snoop/2", "Snoop/1"] {
        sign_in(agent);
    }
    host.site().clock().advance(Duration::from_hours(1));
    sign_in("Snoop/1");
    for agent in ["Snoop/1", "Snoop/1", "Snoop/2"] {
        let mail = host.site().mailbox().take_where(&ann.email, |mail| mail.text.contains(agent));
        assert!(
            mail.subject.contains("new browser") && mail.text.contains("127."),
            "from where: {}",
            mail.text
        );
    }
    // What else would have been sent would be here by now.
    host.browser().ask("POST /password/reset", json!({ "email": ann.email })).expect(202);
    let next = host.site().mailbox().take(&ann.email);
    assert!(next.subject.contains("password"), "{}", next.subject);
    host.stop();
}

/// What a client can see of an answer, but for what tells one request from another.
fn seen(reply: &countersign_tests::Reply) -> (u16, Vec<(String, usize)>, usize) {
    let headers = reply.headers.iter().filter(|(name, _)| !["date", "retry-after"].contains(&name.as_str()));
    let headers = headers.map(|(name, value)| (name.clone(), value.len())).collect();
    (reply.status, headers, reply.body.len())
}

/// R44: status, headers and length of the body are those of a name that nobody has.
#[test]
fn known_unknown_locked_and_unproven_addresses_are_answered_alike() {
    let host = host("sqlite");
    let known = host.user_fixture("known@example.org");
    let mut locked = host.user_fixture("locks@example.org");
    host.setup_totp(&mut locked);
    host.simulate_lockout(&locked);
    let unproven = json!({ "email": "wilds@example.org", "password": PASSWORD });
    host.browser().ask("POST /register", unproven).expect(201);
    // All of one length: what a client says itself may come back.
    let names = [known.email.as_str(), locked.email.as_str(), "wilds@example.org", "ghost@example.org"];
    for (what, status) in [
        ("POST /login", 401),
        ("POST /password/reset", 202),
        ("POST /mfa/magic-link/send", 202),
        ("POST /login", 401),
    ] {
        let answers: BTreeSet<_> = names
            .iter()
            .map(|email| {
                let login = what.ends_with("login");
                let body =
                    if login { json!({"email": email, "password": WRONG}) } else { json!({"email": email}) };
                seen(&host.browser().ask(what, body))
            })
            .collect();
        assert_eq!(answers.len(), 1, "{what}: {answers:?}");
        assert_eq!(answers.first().map(|seen| seen.0), Some(status), "{what}");
    }
    // The fifth wrong try, and the lock.
    for status in [401, 401, 401, 429, 429] {
        let answers: BTreeSet<_> = names
            .iter()
            .map(|email| {
                seen(&host.browser().ask("POST /login", json!({ "email": email, "password": WRONG })))
            })
            .collect();
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers.first().map(|seen| seen.0), Some(status));
    }
    host.stop();
}

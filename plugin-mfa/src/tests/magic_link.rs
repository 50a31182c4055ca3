//! Links by mail: a first factor and no more, good once, and the same to look at whoever is asked for.
use super::{
    kernel::{ANN, Ask, Kernel, Reply, form, get, post},
    phone::verify,
};
use crate::config::{EmailOtp, MagicLink, Mfa};
use countersign_plugin_api::SessionMode;
use serde_json::{Value, json};
use std::time::Duration;

const LAPTOP: &str = "Laptop";

fn kernel() -> Kernel {
    Kernel::new(Mfa::default())
}

fn ask_for(email: &str) -> Ask {
    post("/magic-link/send", json!({ "email": email })).in_browser(LAPTOP)
}

/// A link for Ann: its token.
fn link(kernel: &mut Kernel) -> String {
    let reply = kernel.send(&ask_for("ann@example.org"));
    assert_eq!(reply.status, 202, "{reply:?}");
    newest(kernel)
}

fn newest(kernel: &Kernel) -> String {
    let message = kernel.messages.last().expect("a message");
    assert_eq!(message.template, "magic-link");
    message.fields["token"].clone()
}

fn follow(token: &str) -> Ask {
    post("/magic-link/verify", json!({ "token": token })).in_browser(LAPTOP)
}

fn refused(reply: &Reply) -> bool {
    (reply.status, reply.problem) == (401, "link-invalid")
}

#[test]
fn a_link_signs_in_once() {
    let mut kernel = kernel();
    let token = link(&mut kernel);
    let message = kernel.messages.last().unwrap();
    let expires_at = kernel.now + Duration::from_mins(10);
    assert_eq!((message.to.as_str(), message.notice, message.expires_at), (ANN, false, expires_at));
    assert_eq!(message.fields["minutes"], "10");
    assert_eq!(kernel.audit.last().unwrap().name, "link.sent");

    let reply = kernel.send(&follow(&token));
    assert_eq!((reply.status, reply.text("status").as_str()), (200, "authenticated"));
    let session = kernel.caller(&reply.text("session")).unwrap().session;
    assert_eq!((session.amr, session.mode), (vec!["email".to_owned()], SessionMode::Cookie));
    assert_eq!(kernel.audit.last().unwrap().name, "link.used");
    assert!(refused(&kernel.send(&follow(&token))));

    let token = link(&mut kernel);
    let body = json!({"token": token, "session": "bearer"});
    let reply = kernel.send(&post("/magic-link/verify", body));
    assert_eq!(kernel.caller(&reply.text("session")).unwrap().session.mode, SessionMode::Bearer);
}

#[test]
fn who_has_a_factor_meets_the_challenge_and_the_mailbox_does_not_count_twice() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    let token = link(&mut kernel);
    let reply = kernel.send(&follow(&token));
    assert_eq!((reply.status, &reply.body["methods"]), (202, &json!(["totp", "recovery"])));
    let session = reply.text("session");
    assert_eq!(kernel.send(&post("/otp/send", json!({})).by(&session)).problem, "forbidden");
    let code = verify(&phone.code(kernel.wall));
    assert_eq!(kernel.send(&post("/totp/verify", code).by(&session)).status, 200);
}

#[test]
fn who_has_no_factor_needs_the_password_to_set_one_up() {
    let mut kernel = kernel();
    let token = link(&mut kernel);
    let session = kernel.send(&follow(&token)).text("session");
    let enroll = post("/totp/enroll", json!({})).by(&session);
    assert_eq!(kernel.send(&enroll).problem, "step-up-required");
    kernel.sessions.get_mut(&session).unwrap().session.amr.push("pwd".into());
    assert_eq!(kernel.send(&enroll).status, 201);
}

#[test]
fn of_a_hundred_at_once_one_signs_in() {
    let mut kernel = kernel();
    let token = link(&mut kernel);
    let tried: Vec<_> = (0..100).map(|_| kernel.consider(&follow(&token))).collect();
    let mut granted = 0;
    for tried in &tried {
        let reply = kernel.carry_out(tried);
        let reply = reply.unwrap_or_else(|| kernel.send(&follow(&token)));
        assert!(reply.status == 200 || refused(&reply));
        granted += u32::from(reply.status == 200);
    }
    assert_eq!(granted, 1);
}

#[test]
fn the_newest_only_for_ten_minutes_and_until_a_credential_event() {
    let mut kernel = kernel();
    let old = link(&mut kernel);
    let new = link(&mut kernel);
    assert!(refused(&kernel.send(&follow(&old))));
    kernel.pass(599);
    assert_eq!(kernel.send(&follow(&new)).status, 200);

    let late = link(&mut kernel);
    kernel.pass(600);
    assert!(refused(&kernel.send(&follow(&late))));

    let before = link(&mut kernel);
    kernel.subjects.get_mut(ANN).unwrap().epoch += 1;
    assert!(refused(&kernel.send(&follow(&before))));
    let gone = link(&mut kernel);
    kernel.subjects.remove(ANN);
    assert!(refused(&kernel.send(&follow(&gone))));
}

#[test]
fn what_was_never_sent_or_is_for_something_else() {
    let mut kernel = kernel();
    kernel.enrolled();
    let (challenge, _) = kernel.challenged(SessionMode::Bearer);
    let token = link(&mut kernel);
    kernel.add_subject("user-bob", "bob@example.org", "user");
    for token in ["", "x", &challenge, &token.replace(ANN, "user-bob"), &token[..token.len() - 1]] {
        assert!(refused(&kernel.send(&follow(token))), "{token}");
        let page = kernel.send(&get("/magic-link/verify").with("token", token));
        assert_eq!(page.status, 401);
        assert_eq!(page.body, over());
    }
    assert_eq!(kernel.send(&post("/magic-link/verify", json!({}))).problem, "malformed");
    let body = json!({"token": token, "session": "both"});
    assert_eq!(kernel.send(&post("/magic-link/verify", body)).problem, "malformed");
    assert_eq!(kernel.send(&follow(&token)).status, 202);
}

#[test]
fn looking_at_the_page_uses_nothing_up() {
    let mut kernel = kernel();
    let token = link(&mut kernel);
    let before = kernel.records.clone();
    for _ in 0..3 {
        let page = kernel.send(&get("/magic-link/verify").with("token", &token));
        assert_eq!(page.status, 200);
        let shown = json!({"email": "ann@example.org", "token": token, "elsewhere": false});
        assert_eq!(page.body, shown);
    }
    assert_eq!(kernel.records, before);
    assert_eq!(kernel.send(&follow(&token)).status, 200);
}

/// What the page of a link that is not good is given: nothing about any.
fn over() -> Value {
    json!({"email": "", "token": "", "elsewhere": false})
}

/// The form that a page holds, as a browser posts it.
fn submitted(page: &Reply, browser: &'static str) -> Ask {
    let token = page.text("token").replace('|', "%7C").replace(' ', "+");
    let confirm = if page.body["elsewhere"] == true { "&confirm=yes" } else { "" };
    form("/magic-link/verify", format!("token={token}{confirm}")).in_browser(browser)
}

#[test]
fn the_page_signs_in_where_the_link_was_asked_for_and_asks_once_more_elsewhere() {
    let mut kernel = kernel();
    let token = link(&mut kernel);
    let page = kernel.send(&get("/magic-link/verify").with("token", &token).in_browser(LAPTOP));
    assert_eq!(kernel.send(&submitted(&page, LAPTOP)).text("status"), "authenticated");

    let token = link(&mut kernel);
    let page = kernel.send(&get("/magic-link/verify").with("token", &token).in_browser("Phone"));
    let again = kernel.send(&submitted(&page, "Phone"));
    assert_eq!((again.status, &again.body["elsewhere"]), (200, &json!(true)));
    assert_eq!(kernel.audit.last().unwrap().name, "link.sent", "nobody was signed in");
    assert_eq!(kernel.send(&submitted(&again, "Phone")).text("status"), "authenticated");

    let page = kernel.send(&submitted(&again, "Phone"));
    assert_eq!((page.status, page.body), (401, over()));
    for broken in ["", "confirm=yes", "token=a&token=b", "token=a&session=bearer"] {
        let reply = kernel.send(&form("/magic-link/verify", broken.into()));
        assert_eq!(reply.problem, "malformed", "{broken}");
    }
}

#[test]
fn a_cookie_that_was_not_set_here_is_no_proof() {
    let mut kernel = kernel();
    kernel
        .cookies
        .insert((LAPTOP.into(), "link".into()), ("chosen".into(), kernel.now + Duration::from_hours(1)));
    link(&mut kernel);
    let kept = kernel.cookies[&(LAPTOP.to_owned(), "link".to_owned())].0.clone();
    assert_eq!(kept.len(), 52, "it was replaced");
    link(&mut kernel);
    assert_eq!(kernel.cookies[&(LAPTOP.to_owned(), "link".to_owned())].0, kept, "and then kept");
    let newest = newest(&kernel);
    kernel.send(&follow(&newest));
    assert_eq!(kernel.cookies[&(LAPTOP.to_owned(), "link".to_owned())].0, "");
}

#[test]
fn every_address_is_answered_and_written_for_alike() {
    let mut kernel = kernel();
    kernel.add_subject("user-bob", "bob@example.org", "user");
    for email in ["ann@example.org", " ANN@Example.ORG ", "bob@example.org", "nobody@example.org", "x@y"] {
        for n in 0..5 {
            let tried = kernel.consider(&ask_for(email));
            assert_eq!(tried.acts(), ["audit", "cookie", "message", "put"], "{email} {n}");
            assert_eq!(tried.read.len(), 1, "{email} {n}");
            let reply = kernel.carry_out(&tried).unwrap();
            assert_eq!((reply.status, reply.body), (202, json!({"status": "accepted"})), "{email} {n}");
        }
    }
    assert_eq!(kernel.messages.len(), 6, "three each, and one address is one account");
    assert_eq!(kernel.audit.iter().filter(|event| event.name == "link.sent").count(), 6);
    // What an account is locked with does not show either.
    let before = kernel.send(&ask_for("nobody@example.org"));
    assert_eq!(kernel.send(&ask_for("ann@example.org")), before);
}

#[test]
fn names_of_nobody_fill_no_store() {
    let mut kernel = kernel();
    for n in 0..6_000 {
        kernel.send(&ask_for(&format!("nobody-{n}@example.org")));
    }
    assert!(kernel.records.len() <= 4_096 && kernel.records.len() > 2_000, "{}", kernel.records.len());
    assert!(kernel.messages.is_empty() && kernel.audit.iter().all(|event| event.subject.is_empty()));
    assert!(kernel.records.keys().all(|(owner, name)| owner.starts_with(":links:") && name == b"links"));
    link(&mut kernel);
}

#[test]
fn three_in_ten_minutes_and_the_last_one_stays_good() {
    let mut kernel = kernel();
    for _ in 0..3 {
        link(&mut kernel);
        kernel.pass(10);
    }
    let last = newest(&kernel);
    assert_eq!(kernel.send(&ask_for("ann@example.org")).status, 202);
    assert_eq!(kernel.messages.len(), 3);
    let page = kernel.send(&get("/magic-link/verify").with("token", &last).in_browser(LAPTOP));
    assert_eq!(
        kernel.send(&submitted(&page, LAPTOP)).text("status"),
        "authenticated",
        "and its browser known"
    );
    kernel.pass(570);
    link(&mut kernel);
    assert_eq!(kernel.messages.len(), 4);
}

#[test]
fn the_link_is_in_the_message_and_nowhere_else() {
    let mut kernel = kernel();
    let token = link(&mut kernel);
    let id = token.split('|').nth(3).unwrap();
    assert_eq!(id.len(), 52, "256 bits");
    let cookie = kernel.cookies[&(LAPTOP.to_owned(), "link".to_owned())].0.clone();
    for (_, value, _) in kernel.records.values() {
        for secret in [id, &cookie] {
            assert!(!value.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()));
        }
    }
    assert!(!format!("{:?}", kernel.audit).contains(id));
}

#[test]
fn what_strangers_write_does_not_touch_a_verification() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    let tried = kernel.consider(&post("/totp/verify", verify(&phone.code(kernel.wall))).by(&session));
    link(&mut kernel);
    assert_eq!(kernel.carry_out(&tried).expect("no conflict").status, 200);
}

#[test]
fn it_can_be_turned_off_and_its_times_are_configured() {
    let magic_link = MagicLink { enabled: false, ..MagicLink::default() };
    let mut kernel = Kernel::new(Mfa { magic_link, ..Mfa::default() });
    for ask in [ask_for("ann@example.org"), follow("x"), get("/magic-link/verify")] {
        assert_eq!(kernel.send(&ask).problem, "not-found");
    }
    let magic_link = MagicLink { ttl: Duration::from_secs(90), ..MagicLink::default() };
    let email_otp = EmailOtp { per: Duration::from_secs(5), ..EmailOtp::default() };
    let mut kernel = Kernel::new(Mfa { email_otp, magic_link, ..Mfa::default() });
    let token = link(&mut kernel);
    assert_eq!(kernel.messages.last().unwrap().fields["minutes"], "2");
    kernel.pass(89);
    assert_eq!(kernel.send(&follow(&token)).status, 200);
    assert!(kernel.records.is_empty(), "nothing is left to know");
    let token = link(&mut kernel);
    kernel.pass(90);
    assert!(refused(&kernel.send(&follow(&token))));
}

#[test]
fn a_browser_that_the_account_knows_has_links_of_its_own() {
    let mut kernel = kernel();
    kernel.known_browsers.insert((LAPTOP, ANN.to_owned()));
    let strange = |kernel: &mut Kernel| kernel.send(&ask_for("ann@example.org").in_browser("Stranger"));
    for sent in [1, 2, 3, 3, 3] {
        assert_eq!(strange(&mut kernel).status, 202);
        assert_eq!(kernel.messages.len(), sent, "what anyone may ask for");
    }
    for sent in [4, 5, 6, 6] {
        kernel.send(&ask_for("ann@example.org"));
        assert_eq!(kernel.messages.len(), sent, "what she may ask for at home");
    }
    kernel.pass(599);
    assert_eq!((strange(&mut kernel).status, kernel.messages.len()), (202, 6));
    kernel.pass(1);
    strange(&mut kernel);
    kernel.send(&ask_for("ann@example.org"));
    assert_eq!(kernel.messages.len(), 8);
    // Of nobody, and of another account, it is no browser that is known.
    kernel.add_subject("user-bob", "bob@example.org", "user");
    for _ in 0..5 {
        kernel.send(&ask_for("bob@example.org"));
    }
    assert_eq!(kernel.messages.len(), 11);
}

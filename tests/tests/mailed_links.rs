//! Forgotten passwords, with the mails that a real delivery library was handed.
use countersign_tests::{Client, Host, Reply, Site, api, fixture, oathtool};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use toml_edit::{Item, Table, value};

const PASSWORD: &str = "correct horse battery staple";
const NEW_PASSWORD: &str = "staple battery horse correct";

/// A host whose mails go to its log, each line of them.
fn host() -> Host {
    let site = Site::with_store("sqlite").with_clock();
    site.add_plugin(&fixture("hello-delivery"));
    site.edit(|config| {
        let mut delivery = Table::new();
        delivery["use"] = value("stderr");
        let mut stderr = Table::new();
        stderr["prefix"] = value("MAIL");
        delivery["stderr"] = Item::Table(stderr);
        config["delivery"] = Item::Table(delivery);
    });
    site.start()
}

fn post(client: &mut Client, path: &str, body: &Value) -> Reply {
    client.post(&api(path), body).expect("an answer")
}

#[track_caller]
fn assert_problem(reply: &Reply, status: u16, slug: &str) {
    assert_eq!((reply.status, reply.problem().as_deref()), (status, Some(slug)), "{}", reply.text());
}

/// The tokens of all mails so far, once there are as many.
fn mailed_tokens(host: &Host, count: usize) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let log = host.log();
        let tokens: Vec<String> = log
            .split("token=")
            .skip(1)
            .map(|rest| {
                rest.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
                    .next()
                    .unwrap_or("")
                    .into()
            })
            .collect();
        if tokens.len() >= count {
            assert_eq!(tokens.len(), count, "no more mails than asked for");
            return tokens;
        }
        assert!(Instant::now() < until, "a mail did not come:\n{log}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn login(client: &mut Client, password: &str) -> Reply {
    post(client, "/login", &json!({ "email": "ann@example.org", "password": password }))
}

fn enrolled(host: &Host) -> Client {
    let mut client = host.browser();
    let user = json!({ "email": "ann@example.org", "password": PASSWORD });
    assert_eq!(post(&mut client, "/register", &user).status, 201);
    let enrolment = post(&mut client, "/mfa/totp/enroll", &json!({})).json();
    let code = oathtool(enrolment["secret"].as_str().expect("a secret"), host.site().clock().now());
    let body = json!({ "code": code, "enrollment": enrolment["enrollment"] });
    assert_eq!(post(&mut client, "/mfa/totp/verify", &body).status, 200);
    client
}

fn ask(host: &Host, email: &str) -> Reply {
    post(&mut host.browser(), "/password/reset", &json!({ "email": email }))
}

fn confirm(host: &Host, token: &str, password: &str) -> Reply {
    let body = json!({ "token": token, "new_password": password });
    post(&mut host.browser(), "/password/reset/confirm", &body)
}

#[test]
fn a_mailed_link_sets_a_password_and_passes_no_second_factor() {
    let host = host();
    let mut session = enrolled(&host);
    let (known, unknown) = (ask(&host, " ANN@example.org "), ask(&host, "nobody@example.org"));
    assert_eq!((known.status, known.text()), (202, "{}".into()));
    assert_eq!((unknown.status, unknown.text()), (202, "{}".into()));
    let token = mailed_tokens(&host, 1).remove(0);

    assert_problem(&confirm(&host, &token, "short"), 422, "password-policy");
    assert_eq!(confirm(&host, &token, NEW_PASSWORD).status, 204);
    assert_problem(&confirm(&host, &token, PASSWORD), 401, "link-invalid");

    // Everything that was open is over, the old password too, and the second factor still stands.
    assert_problem(&session.get(&api("/me")).expect("an answer"), 401, "session-required");
    assert_problem(&login(&mut host.browser(), PASSWORD), 401, "invalid-credentials");
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
    assert_problem(&confirm(&host, &first, NEW_PASSWORD), 401, "link-invalid");
    for made_up in ["", "v1.x.y.z", &second[..second.len() - 1], &second.replace("v1.", "v2.")] {
        assert_problem(&confirm(&host, made_up, NEW_PASSWORD), 401, "link-invalid");
    }
    // A challenge is signed as well, for another purpose.
    let challenge =
        login(&mut host.browser(), PASSWORD).json()["challenge"].as_str().expect("a challenge").to_owned();
    assert_problem(&confirm(&host, &challenge, NEW_PASSWORD), 401, "link-invalid");
    host.site().clock().advance(Duration::from_secs(30 * 60 + 1));
    assert_problem(&confirm(&host, &second, NEW_PASSWORD), 401, "link-invalid");
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
    let asked = post(&mut owner, "/mfa/magic-link/send", &json!({ "email": "ann@example.org" }));
    assert_eq!(asked.status, 202, "{}", asked.text());
    let token = mailed_tokens(&host, 1).remove(0);
    let entered = post(&mut owner, "/mfa/magic-link/verify", &json!({ "token": token }));
    assert_eq!(entered.status, 200, "no factor of the stranger's is asked for: {}", entered.text());
    assert_eq!(entered.json()["user"]["email_verified"], true);

    assert_problem(&stranger.get(&api("/me")).expect("an answer"), 401, "session-required");
    assert_problem(&login(&mut host.browser(), PASSWORD), 401, "invalid-credentials");
    let status = owner.get(&api("/mfa/status")).expect("an answer").json();
    assert_eq!((&status["enabled"], &status["recovery_codes_remaining"]), (&json!(false), &json!(0)));
    // A link works once.
    let again = post(&mut host.browser(), "/mfa/magic-link/verify", &json!({ "token": token }));
    assert_problem(&again, 401, "link-invalid");
    host.stop();
}

/// A link is a first factor: whoever has a second one meets it, and the mailbox does not count twice.
#[test]
fn a_link_does_not_pass_the_second_factor() {
    let host = host();
    let added = host.site().command(&["user", "add", "eve@example.org", "--password-stdin"]);
    assert!(feed(added, PASSWORD), "the account is made");
    let mut session = host.browser();
    let user = json!({ "email": "eve@example.org", "password": PASSWORD });
    assert_eq!(post(&mut session, "/login", &user).status, 200);
    let enrolment = post(&mut session, "/mfa/totp/enroll", &json!({})).json();
    let code = oathtool(enrolment["secret"].as_str().expect("a secret"), host.site().clock().now());
    let body = json!({ "code": code, "enrollment": enrolment["enrollment"] });
    assert_eq!(post(&mut session, "/mfa/totp/verify", &body).status, 200);

    let mut browser = host.browser();
    post(&mut browser, "/mfa/magic-link/send", &json!({ "email": "eve@example.org" }));
    let token = mailed_tokens(&host, 1).remove(0);
    let entered = post(&mut browser, "/mfa/magic-link/verify", &json!({ "token": token }));
    assert_eq!(entered.status, 202, "{}", entered.text());
    assert_eq!(entered.json()["methods"], json!(["totp", "recovery"]), "and no code by mail");
    assert_problem(&post(&mut browser, "/mfa/otp/send", &json!({})), 403, "forbidden");
    assert_problem(&browser.get(&api("/me")).expect("an answer"), 403, "mfa-required");
    host.stop();
}

fn feed(mut command: std::process::Command, input: &str) -> bool {
    use std::io::Write;
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    child.wait().expect("it ends").success()
}

/// What the browser of a page posts, which sends no referrer and so no origin either.
fn post_form(client: &mut Client, fields: &str, headers: &[(&str, &str)]) -> Reply {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let headers = [&form[..], headers].concat();
    client.send("POST", &api("/mfa/magic-link/verify"), &headers, Some(fields.as_bytes())).expect("an answer")
}

const OWN_PAGE: &[(&str, &str)] = &[("sec-fetch-site", "same-origin"), ("origin", "null")];

fn link_for(host: &Host, browser: &mut Client, count: usize) -> String {
    let email = json!({ "email": "eve@example.org" });
    assert_eq!(post(browser, "/mfa/magic-link/send", &email).status, 202);
    mailed_tokens(host, count).remove(count - 1)
}

#[test]
fn the_form_of_the_page_signs_in_and_sends_the_browser_on() {
    let host = host();
    let added = host.site().command(&["user", "add", "eve@example.org", "--password-stdin"]);
    assert!(feed(added, PASSWORD), "the account is made");
    let mut browser = host.browser();
    let token = link_for(&host, &mut browser, 1);
    let page = browser.get(&api(&format!("/mfa/magic-link/verify?token={token}"))).expect("an answer");
    assert!(page.status == 200 && page.text().contains("eve@example.org"), "{}", page.text());
    for header in ["no-referrer", "no-store"] {
        assert!(page.headers.iter().any(|(_, value)| value == header), "{header} in {:?}", page.headers);
    }

    let fields = format!("token={token}");
    for (headers, status, problem) in [
        (&[][..], 403, "cross-site"),
        (&[("origin", "https://evil.example")], 403, "cross-site"),
        (&[("sec-fetch-site", "cross-site")], 403, "cross-site"),
        (&[("origin", "null")], 403, "cross-site"),
    ] {
        assert_problem(&post_form(&mut browser, &fields, headers), status, problem);
    }
    let elsewhere = [("content-type", "application/x-www-form-urlencoded"), OWN_PAGE[0]];
    let login = browser.send("POST", &api("/login"), &elsewhere, Some(b"email=eve")).expect("an answer");
    assert_problem(&login, 415, "unsupported-media-type");

    // Another browser is asked once more, and nothing is used up by that.
    let mut other = host.browser();
    let asked = post_form(&mut other, &fields, OWN_PAGE);
    assert!(asked.status == 200 && asked.text().contains("confirm"), "{}", asked.text());
    assert_eq!(other.get(&api("/session")).expect("an answer").status, 401);

    let entered = post_form(&mut browser, &fields, OWN_PAGE);
    assert_eq!((entered.status, entered.header("location"), entered.text()), (303, Some("/"), String::new()));
    assert_eq!(browser.get(&api("/me")).expect("an answer").status, 200);
    let again = post_form(&mut browser, &fields, OWN_PAGE);
    assert!(again.status == 401 && again.text().contains("not valid"), "{}", again.text());

    // Asked, and said yes, in another browser.
    let fields = format!("token={}&confirm=yes", link_for(&host, &mut browser, 2));
    assert_eq!(post_form(&mut other, &fields, OWN_PAGE).status, 303);
    host.stop();
}

#[test]
fn after_the_form_the_second_factor_is_asked_for_on_its_page() {
    let host = host();
    let added = host.site().command(&["user", "add", "eve@example.org", "--password-stdin"]);
    assert!(feed(added, PASSWORD), "the account is made");
    let mut session = host.browser();
    let user = json!({ "email": "eve@example.org", "password": PASSWORD });
    assert_eq!(post(&mut session, "/login", &user).status, 200);
    let enrolment = post(&mut session, "/mfa/totp/enroll", &json!({})).json();
    let code = oathtool(enrolment["secret"].as_str().expect("a secret"), host.site().clock().now());
    let body = json!({ "code": code, "enrollment": enrolment["enrollment"] });
    assert_eq!(post(&mut session, "/mfa/totp/verify", &body).status, 200);

    let mut browser = host.browser();
    let token = link_for(&host, &mut browser, 1);
    let entered = post_form(&mut browser, &format!("token={token}"), OWN_PAGE);
    assert_eq!((entered.status, entered.header("location")), (303, Some("/mfa/challenge")));
    assert_problem(&browser.get(&api("/me")).expect("an answer"), 403, "mfa-required");
    host.stop();
}

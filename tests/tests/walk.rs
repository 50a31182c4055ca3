//! The whole way of a user, on each store and in each mode of carrying a session, with tools from outside:
//! `oathtool` is the authenticator, `zbarimg` the camera.
use countersign_tests::{Client, Credentials, Host, NONE, PASSWORD, Reply, Site, oathtool, scan_qr, sqlite3};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::HashSet,
    sync::{Arc, Barrier},
    thread,
};

const STORES: [&str; 2] = ["sqlite", "memory"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Cookie,
    Bearer,
}

/// A user with an authenticator.
struct User {
    email: String,
    secret: String,
    recovery_codes: Vec<String>,
}

fn client(host: &Host, mode: Mode) -> Client {
    match mode {
        Mode::Cookie => host.browser(),
        Mode::Bearer => host.program(),
    }
}

fn with_mode(mode: Mode, mut body: Value) -> Value {
    if mode == Mode::Bearer {
        body["session"] = "bearer".into();
    }
    body
}

/// Signs up, scans the QR code, and activates the factor.
fn enrol(host: &Host, client: &mut Client, mode: Mode, email: &str) -> User {
    let reply =
        client.ask("POST /register", with_mode(mode, json!({ "email": email, "password": PASSWORD })));
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(reply.json()["user"]["email"], email);
    assert_eq!(client.ask("GET /me", NONE).status, 200);

    let enrolment = client.ask("POST /mfa/totp/enroll", json!({ "label": "phone" }));
    assert_eq!(enrolment.status, 201, "{}", enrolment.text());
    let enrolment = enrolment.json();
    let secret = enrolment["secret"].as_str().expect("a secret").to_owned();
    let uri = scan_qr(enrolment["qr_svg"].as_str().expect("a picture"));
    assert_eq!(uri, enrolment["otpauth_uri"].as_str().expect("a URI"), "the camera reads what is typed");
    assert!(uri.contains(&format!("secret={secret}")), "{uri}");

    // Nothing is armed before the app has proven that it holds the key.
    assert_eq!(client.ask("GET /mfa/status", NONE).json()["enabled"], false);
    let code = oathtool(&secret, host.site().clock().now());
    let body = json!({ "code": code, "enrollment": enrolment["enrollment"] });
    let activated = client.ask("POST /mfa/totp/verify", &body);
    assert_eq!(activated.status, 200, "{}", activated.text());
    let activated = activated.json();
    assert_eq!(activated["status"], "activated");
    let codes: Vec<String> = serde_json::from_value(activated["recovery_codes"].clone()).expect("codes");
    assert_eq!(codes.iter().collect::<HashSet<_>>().len(), 8);
    let status = client.ask("GET /mfa/status", NONE).json();
    assert_eq!((&status["enabled"], &status["recovery_codes_remaining"]), (&json!(true), &json!(8)));
    User { email: email.into(), secret, recovery_codes: codes }
}

/// Proves the password, and answers what a second factor must be shown with.
fn challenged(client: &mut Client, mode: Mode, user: &User) -> Value {
    let body = with_mode(mode, json!({ "email": user.email, "password": PASSWORD }));
    let reply = client.ask("POST /login", &body);
    assert_eq!(reply.status, 202, "{}", reply.text());
    let answer = reply.json();
    assert_eq!(answer["status"], "mfa_required");
    assert_eq!(answer["methods"], json!(["totp", "recovery"]));
    assert_eq!(answer["token"], Value::Null, "no token before the second factor");
    answer["challenge"].clone()
}

/// The body of a proof: the challenge alone speaks for a login in bearer mode, the cookie in the other.
fn proof(mode: Mode, challenge: &Value, code: &str) -> Value {
    match mode {
        Mode::Cookie => json!({ "code": code }),
        Mode::Bearer => json!({ "code": code, "challenge": challenge }),
    }
}

/// A moment whose code was not used yet.
fn next_code(host: &Host, user: &User) -> String {
    host.site().clock().advance(std::time::Duration::from_secs(30));
    oathtool(&user.secret, host.site().clock().now())
}

fn wrong(code: &str) -> String {
    let number: u32 = code.parse().expect("digits");
    format!("{:06}", (number + 500_000) % 1_000_000)
}

fn walk(store: &str, mode: Mode) {
    let host = Site::with_store(store).with_clock().start();
    let mut client = client(&host, mode);
    let user = enrol(&host, &mut client, mode, "ann@example.org");
    assert_eq!(client.ask("POST /logout", json!({})).status, 204);
    client.ask("GET /me", NONE).refused(401, "session-required");

    // The password opens nothing but the challenge.
    if mode == Mode::Bearer {
        client.credentials = Credentials::Bearer(None);
    }
    let challenge = challenged(&mut client, mode, &user);
    let refused = client.ask("GET /me", NONE);
    match mode {
        Mode::Cookie => refused.refused(403, "mfa-required"),
        Mode::Bearer => refused.refused(401, "session-required"),
    }
    let mut pending = client.clone();

    let code = next_code(&host, &user);
    client.ask("POST /mfa/totp/verify", proof(mode, &challenge, &wrong(&code))).refused(401, "invalid-code");
    let path = match mode {
        Mode::Cookie => "/mfa/challenge/status".to_owned(),
        Mode::Bearer => format!("/mfa/challenge/status?challenge={}", challenge.as_str().expect("text")),
    };
    let status = client.ask(&format!("GET {path}"), NONE).json();
    assert_eq!((&status["status"], &status["attempts_left"]), (&json!("pending"), &json!(4)));

    let verified = client.ask("POST /mfa/totp/verify", proof(mode, &challenge, &code));
    assert_eq!(verified.status, 200, "{}", verified.text());
    let session = &verified.json()["session"];
    assert_eq!((&session["type"], &session["amr"]), (&json!("standard"), &json!(["pwd", "otp"])));
    assert_ne!(session["mfa_verified_at"], Value::Null);
    assert_eq!(client.ask("GET /me", NONE).status, 200);

    // The token is new, the old one dead, and the challenge spent.
    if mode == Mode::Cookie {
        assert_ne!(pending.credentials, client.credentials);
        pending.ask("GET /me", NONE).refused(401, "session-required");
    }
    let mut again = self::client(&host, mode);
    let other = challenged(&mut again, mode, &user);
    again.ask("POST /mfa/totp/verify", proof(mode, &other, &code)).refused(401, "invalid-code");

    // A recovery code, once.
    let recovered = again.ask("POST /mfa/recovery/verify", proof(mode, &other, &user.recovery_codes[0]));
    assert_eq!(recovered.status, 200, "{}", recovered.text());
    assert_eq!(recovered.json()["recovery_codes_remaining"], 7);
    let mut third = self::client(&host, mode);
    let challenge = challenged(&mut third, mode, &user);
    let spent = proof(mode, &challenge, &user.recovery_codes[0]);
    third.ask("POST /mfa/recovery/verify", &spent).refused(401, "invalid-code");

    if store == "memory" {
        host.stop();
        return;
    }
    // Power goes: still signed in, code still spent, factor still there.
    let host = host.kill().start();
    assert_eq!(client.ask("GET /me", NONE).status, 200);
    let mut fourth = self::client(&host, mode);
    let challenge = challenged(&mut fourth, mode, &user);
    fourth.ask("POST /mfa/totp/verify", proof(mode, &challenge, &code)).refused(401, "invalid-code");
    let code = next_code(&host, &user);
    assert_eq!(fourth.ask("POST /mfa/totp/verify", proof(mode, &challenge, &code)).status, 200);
    let tokens = tokens_of(&[&client, &pending, &again, &fourth]);
    // Killed, so that nothing is tidied away.
    assert_nothing_leaked(&host.kill(), &user, &tokens, &challenge);
}

/// What the clients hold.
fn tokens_of(clients: &[&Client]) -> Vec<String> {
    let held = |client: &&Client| match &client.credentials {
        Credentials::Cookies(jar) => jar.values().cloned().collect::<Vec<_>>(),
        Credentials::Bearer(token) => token.iter().cloned().collect(),
    };
    clients.iter().flat_map(held).collect()
}

/// No secret of the walk stands in the log, the database or its journal, in any form it ever had.
fn assert_nothing_leaked(site: &Site, user: &User, tokens: &[String], challenge: &Value) {
    let database = site.path("data/countersign.db");
    assert_eq!(sqlite3(&database, "PRAGMA integrity_check").trim(), "ok");
    let mut places = vec![("log".to_owned(), site.log().into_bytes())];
    for entry in std::fs::read_dir(site.path("data")).expect("the data").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            places.push((
                entry.file_name().to_string_lossy().into_owned(),
                std::fs::read(entry.path()).expect("a file"),
            ));
        }
    }
    assert!(places.iter().any(|(name, bytes)| name == "countersign.db" && bytes.len() > 4096));
    let raw = data_of_base32(&user.secret);
    let mut secrets: Vec<Vec<u8>> = vec![PASSWORD.into(), user.secret.clone().into(), raw];
    secrets.extend(user.recovery_codes.iter().map(|code| code.clone().into_bytes()));
    secrets.extend(user.recovery_codes.iter().map(|code| code.replace('-', "").into_bytes()));
    secrets.extend(tokens.iter().map(|token| token.clone().into_bytes()));
    secrets.extend(challenge.as_str().map(|token| token.as_bytes().to_vec()));
    // Nor a plain hash of one, which would be tried out in no time.
    let hashed: Vec<Vec<u8>> = secrets.iter().map(|secret| Sha256::digest(secret).to_vec()).collect();
    secrets.extend(hashed);
    for (name, bytes) in &places {
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_slice());
            assert!(!found, "{name} holds {}", String::from_utf8_lossy(secret));
        }
        let address = user.email.as_bytes();
        let personal = name != "log" && bytes.windows(address.len()).any(|window| window == address);
        assert!(!personal, "{name} holds the address");
    }
}

/// The bytes that a base32 text (RFC 4648) stands for.
fn data_of_base32(text: &str) -> Vec<u8> {
    let digit = |c: char| "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(c).expect("base32");
    let bits: Vec<usize> =
        text.chars().flat_map(|c| (0..5).rev().map(move |bit| digit(c) >> bit & 1)).collect();
    let byte = |bits: &[usize]| bits.iter().fold(0, |byte, bit| byte << 1 | bit);
    bits.chunks_exact(8).map(|bits| u8::try_from(byte(bits)).expect("eight bits")).collect()
}

#[test]
fn the_walk_on_sqlite_with_cookies() {
    walk("sqlite", Mode::Cookie);
}

#[test]
fn the_walk_on_sqlite_with_bearer_tokens() {
    walk("sqlite", Mode::Bearer);
}

#[test]
fn the_walk_in_memory_with_cookies() {
    walk("memory", Mode::Cookie);
}

#[test]
fn the_walk_in_memory_with_bearer_tokens() {
    walk("memory", Mode::Bearer);
}

/// Answers of so many clients that post the same thing at the same instant.
fn at_once(clients: Vec<Client>, path: &'static str, bodies: Vec<Value>) -> Vec<Reply> {
    let barrier = Arc::new(Barrier::new(clients.len()));
    let threads: Vec<_> = clients
        .into_iter()
        .zip(bodies)
        .map(|(mut client, body)| {
            let barrier = barrier.clone();
            thread::spawn(move || {
                barrier.wait();
                client.ask(&format!("POST {path}"), &body)
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
}

/// One code, a hundred times at once over two challenges: RFC 6238 section 5.2.
#[test]
fn one_hundred_uses_of_one_code_give_one_session() {
    for store in STORES {
        let host = Site::with_store(store).with_clock().start();
        let mut client = host.browser();
        let user = enrol(&host, &mut client, Mode::Cookie, "ann@example.org");
        for (path, code) in [
            ("/mfa/totp/verify", next_code(&host, &user)),
            ("/mfa/recovery/verify", user.recovery_codes[3].clone()),
        ] {
            let challenges: Vec<Value> =
                (0..2).map(|_| challenged(&mut host.program(), Mode::Bearer, &user)).collect();
            let clients = (0..100).map(|_| host.program()).collect();
            let bodies = (0..100).map(|n| proof(Mode::Bearer, &challenges[n % 2], &code)).collect();
            let replies = at_once(clients, path, bodies);
            let granted = replies.iter().filter(|reply| reply.status == 200).count();
            assert_eq!(granted, 1, "{store} {path}");
            let others: HashSet<(u16, Option<String>)> =
                replies.iter().filter(|r| r.status != 200).map(|r| (r.status, r.problem())).collect();
            for (status, slug) in &others {
                assert!(
                    matches!(
                        (status, slug.as_deref()),
                        (401, Some("invalid-code" | "challenge-invalid"))
                            | (429, Some("locked"))
                            | (503, Some("busy"))
                    ),
                    "{store} {path}: {others:?}"
                );
            }
            // The guesses that lost have locked the account; time passes.
            host.site().clock().advance(std::time::Duration::from_hours(24));
        }
        host.stop();
    }
}

/// Parallel guesses cannot pass the budget: at most five are evaluated, so the right code after them is not.
#[test]
fn parallel_guesses_share_one_budget() {
    for store in STORES {
        let host = Site::with_store(store).with_clock().start();
        let mut client = host.browser();
        let user = enrol(&host, &mut client, Mode::Cookie, "ann@example.org");
        let code = next_code(&host, &user);
        let challenge = challenged(&mut host.program(), Mode::Bearer, &user);
        let clients = (0..40).map(|_| host.program()).collect();
        let bodies = (0..40).map(|_| proof(Mode::Bearer, &challenge, &wrong(&code))).collect();
        let replies = at_once(clients, "/mfa/totp/verify", bodies);
        let evaluated =
            replies.iter().filter(|reply| reply.problem().as_deref() == Some("invalid-code")).count();
        assert_eq!(evaluated, 5, "{store}");
        // A fresh challenge does not help, and the answer to the right code is that to a wrong one.
        let fresh = challenged(&mut host.program(), Mode::Bearer, &user);
        let right = host.program().ask("POST /mfa/totp/verify", proof(Mode::Bearer, &fresh, &code));
        right.refused(429, "locked");
        let wait: u64 = right.header("retry-after").and_then(|secs| secs.parse().ok()).expect("seconds");
        assert!((890..=900).contains(&wait), "{wait}");
        host.site().clock().advance(std::time::Duration::from_secs(901));
        let fresh = challenged(&mut host.program(), Mode::Bearer, &user);
        let code = next_code(&host, &user);
        assert_eq!(
            host.program().ask("POST /mfa/totp/verify", proof(Mode::Bearer, &fresh, &code)).status,
            200
        );
        host.stop();
    }
}

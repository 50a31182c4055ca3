//! The way from sign-up to a login with two factors, gone over HTTP with every request and answer shown.
use crate::{
    http::{Client, Reply},
    qr, totp,
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Goes it; an answer that is not as the contract says ends the walk.
pub(super) fn go(address: SocketAddr) -> Result<()> {
    // A demo directory is used again, and an address signs up once.
    let email = format!("you-{}@example.org", unix()?);
    let user = json!({ "email": email, "password": "correct horse battery staple" });
    let mut walker = Walker { client: Client::browser(address) };

    say("A new account is signed in at once.");
    walker.post("/register", &user, 201)?;

    say("It enrols an authenticator app, which scans this code.");
    let enrolment = walker.post("/mfa/totp/enroll", &json!({ "label": "phone" }), 201)?.json();
    print!("\n{}", qr::enrolment(&enrolment)?);
    let secret = enrolment["secret"].as_str().context("the enrolment has no secret")?;

    say("The code that the app shows confirms it. Recovery codes are shown this once.");
    let first = totp::code(secret, unix()?)?;
    walker.post("/mfa/totp/verify", &json!({ "enrollment": enrolment["enrollment"], "code": first }), 200)?;
    walker.post("/logout", &json!({}), 204)?;

    say("From now on the password alone opens nothing.");
    walker.post("/login", &user, 202)?;
    walker.get("/me", 403)?;

    say("The code that confirmed the app is spent.");
    walker.post("/mfa/totp/verify", &json!({ "code": first }), 401)?;

    let wait = totp::STEP - unix()? % totp::STEP;
    say(&format!("The app shows its next code in {wait} seconds."));
    sleep(Duration::from_secs(wait));
    let second = totp::code(secret, unix()?)?;
    walker.post("/mfa/totp/verify", &json!({ "code": second }), 200)?;
    walker.get("/me", 200)?;
    Ok(())
}

struct Walker {
    client: Client,
}

impl Walker {
    fn get(&mut self, path: &str, expected: u16) -> Result<Reply> {
        println!("GET  /api/auth{path}");
        let reply = self.client.get(&format!("/api/auth{path}"))?;
        shown(reply, expected)
    }
    fn post(&mut self, path: &str, body: &Value, expected: u16) -> Result<Reply> {
        println!("POST /api/auth{path} {body}");
        let reply = self.client.post(&format!("/api/auth{path}"), body)?;
        shown(reply, expected)
    }
}

fn say(sentence: &str) {
    println!("\n# {sentence}");
}

fn shown(reply: Reply, expected: u16) -> Result<Reply> {
    let mut body = reply.json();
    if let Some(svg) = body.get_mut("qr_svg") {
        *svg = json!("<svg …>");
    }
    match body {
        Value::Null => println!("  ⇒ {}", reply.status),
        body => println!("  ⇒ {} {body}", reply.status),
    }
    ensure!(reply.status == expected, "the answer should have been {expected}");
    Ok(reply)
}

fn unix() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs())
}

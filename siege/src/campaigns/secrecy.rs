//! Where secrets could be left behind: logs, the audit record, the database and its log, after use and after a crash.
use super::Run;
use crate::{
    http::Client,
    people::{PASSWORD, Person},
    place::{files, host},
};
use anyhow::{Context, Result};
use countersign_test_kit::{Host, Site};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, time::Duration};

/// What is never to be found, by name.
type Canaries = BTreeSet<(String, Vec<u8>)>;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let people = run.scale.of(20, 2);
    let host = host("sqlite");
    let mut canaries = Canaries::new();
    for _ in 0..people {
        run.runtime.block_on(live(&host, &mut canaries))?;
    }
    keys(host.site(), &mut canaries)?;
    // Once while it runs, with the journal as it is, and once after a crash and a start.
    let before = places(host.site());
    let host = host.kill().start();
    let audit = host.site().run(&["audit", "tail", "--json", "--since", "2020-01-01"]).stdout;
    let site = host.kill();
    let mut places = places(&site);
    places.extend(before);
    places.push(("audit tail".into(), audit));
    let bytes: usize = places.iter().map(|(_, bytes)| bytes.len()).sum();
    let mut found = Vec::new();
    for (place, bytes) in &places {
        for (name, canary) in &canaries {
            if contains(bytes, canary) {
                found.push(format!("{name} in {place}"));
            }
        }
    }
    let first = found.first().map(|first| format!("; first: {first}")).unwrap_or_default();
    let at = ("secrecy", "R45");
    let measured = format!(
        "{} hits of {} secrets in {} files of {bytes} bytes{first}",
        found.len(),
        canaries.len(),
        places.len()
    );
    run.report.check(
        at,
        "no secret in log, audit, database or its journal",
        measured,
        found.is_empty() && canaries.len() > 20,
    );
    let log = site.log();
    let broken = log.lines().filter(|line| serde_json::from_str::<Value>(line).is_err()).count();
    let lines = log.lines().count();
    run.report.check(
        at,
        "whatever clients send, each line of the log is one JSON object",
        format!("{broken} of {lines} are not"),
        broken == 0 && lines > 20,
    );
    // The other way round: the search finds what is there.
    let known = places.iter().any(|(_, bytes)| contains(bytes, b"/api/auth/mfa/totp/verify"));
    run.report.check(at, "the search finds what is there", known.to_string(), known);
    Ok(())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Everything that a host writes, its key file excepted.
fn places(site: &Site) -> Vec<(String, Vec<u8>)> {
    let mut all = files(&site.path("data"));
    all.push(("host.log".into(), site.log().into_bytes()));
    all
}

/// Whatever somebody can do, each step with secrets that are noted, and some of it wrong.
async fn live(host: &Host, canaries: &mut Canaries) -> Result<()> {
    let to = host.address();
    let mut add = |name: &str, text: &str| {
        canaries.insert((name.to_owned(), text.as_bytes().to_vec()));
    };
    add("password", PASSWORD);
    let mut person = Person::enrolled(to, "secret").await?;
    add("session token", &person.token);
    add("TOTP secret", &person.secret);
    for code in &person.codes {
        add("recovery code", code);
        add("recovery code", &code.replace('-', ""));
        add("recovery code", &code.replace('-', "").to_lowercase());
    }
    let raw = base32(&person.secret);
    let hex: String = raw.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    add("TOTP secret, hex", &hex);

    let wrong = "a wrong canary 91c4 phrase\r\n{\"level\":\"info\"}\u{1b}[31m";
    let mut browser = Client::new(to);
    browser.post("/login", &json!({ "email": person.email, "password": wrong })).await?;
    add("wrong password", "a wrong canary 91c4 phrase");
    browser.post("/login", &json!({ "email": "x\r\ny\u{1b}[2J@example.org", "password": wrong })).await?;
    let odd = browser.request(
        "GET",
        "/me?token=canary-in-query-5d1e",
        &[("user-agent", "\u{fc}\u{9b}31m canary")],
        None,
    );
    browser.send(&odd).await?;
    add("query", "canary-in-query-5d1e");

    let login = json!({ "email": person.email, "password": PASSWORD });
    let reply = browser.post("/login", &login).await?.expect(202)?;
    let challenge = reply.member("challenge").context("a challenge")?;
    add("challenge", &challenge);
    browser.post("/mfa/otp/send", &json!({})).await?.expect(202)?;
    browser.post("/mfa/totp/verify", &json!({ "code": person.wrong_code()? })).await?;
    let code = person.code().await?;
    browser.post("/mfa/totp/verify", &json!({ "code": code, "trust_browser": true })).await?.expect(200)?;
    for (name, value) in &browser.cookies {
        add(&format!("cookie {name}"), value);
    }
    let body = json!({ "code": person.codes[0], "challenge": person.challenge(to).await? });
    let token = Client::new(to).post("/mfa/recovery/verify", &body).await?.expect(200)?.member("token");
    add("session token", &token.context("a token")?);
    for (path, body) in [
        ("/mfa/magic-link/send", json!({ "email": person.email })),
        ("/password/reset", json!({ "email": person.email })),
    ] {
        Client::new(to).post(path, &body).await?.expect(202)?;
    }
    for _ in 0..300 {
        let mails = host.site().mailbox().mails();
        let tokens: Vec<String> = mails
            .iter()
            .filter(|mail| mail.to == person.email && mail.text.contains("token="))
            .map(|mail| mail.token().to_owned())
            .collect();
        if tokens.len() >= 2 {
            tokens.iter().for_each(|token| add("mailed token", token));
            let new = "the next canary 2b77 phrase";
            add("new password", new);
            for token in &tokens {
                Client::new(to)
                    .post("/password/reset/confirm", &json!({ "token": token, "new_password": new }))
                    .await?;
            }
            canaries.insert(("TOTP secret, raw".into(), raw));
            canaries.insert(("an address".into(), person.email.clone().into_bytes()));
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("the mails did not come")
}

/// The bytes that a base32 text (RFC 4648) stands for.
fn base32(text: &str) -> Vec<u8> {
    let digits = text.chars().filter_map(|c| "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(c));
    let bits: Vec<usize> = digits.flat_map(|digit| (0..5).rev().map(move |bit| digit >> bit & 1)).collect();
    bits.chunks_exact(8)
        .map(|bits| bits.iter().fold(0u8, |byte, bit| byte << 1 | u8::from(*bit == 1)))
        .collect()
}

/// Every long text of the key file.
fn keys(site: &Site, canaries: &mut Canaries) -> Result<()> {
    let text = fs::read_to_string(site.path("keys.toml"))?;
    let quoted = text.split('"').skip(1).step_by(2).filter(|value| value.len() >= 40);
    canaries.extend(quoted.map(|value| ("key".to_owned(), value.as_bytes().to_vec())));
    Ok(())
}

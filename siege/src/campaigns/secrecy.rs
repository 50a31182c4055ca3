//! Where secrets could be left behind: logs, the audit record, metrics, the database and its journal, mail of others, and
//! whatever a crash leaves, after use and after each kind of end.
mod search;

use super::{Run, races::mail};
use crate::{
    http::Client,
    people::{PASSWORD, Person},
    place::files,
};
use anyhow::{Context, Result};
use countersign_test_kit::{Host, Mail, Site};
use rustix::process::Signal;
use search::{Canaries, has_code, hits};
use serde_json::{Value, json};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let people = run.scale.of(20, 2);
    let site = Site::with_store("sqlite").with_mail();
    let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    site.set("metrics.listen", metrics.to_string());
    let host = site.start();
    let mut canaries = Canaries::default();
    for _ in 0..people {
        run.runtime.block_on(live(&host, &mut canaries))?;
    }
    keys(host.site(), &mut canaries)?;
    let at = ("secrecy", "R45");
    let limits = fs::read_to_string(format!("/proc/{}/limits", host.server().id()))?;
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap_or_default();
    let core = core.split_whitespace().take(2).collect::<Vec<_>>();
    run.report.check(at, "a crash leaves no image of memory", format!("{core:?} bytes"), core == ["0", "0"]);

    // While it runs, with the journal as it is; after it was ended as a bug would; and after a power cut.
    let mut places = places(host.site());
    places.push(("metrics".into(), run.runtime.block_on(measured(metrics))?));
    host.server().signal(Signal::ABORT)?;
    let site = host.kill();
    places.extend(self::places(&site));
    let host = site.start();
    let audit = host.site().run(&["audit", "tail", "--json", "--since", "2020-01-01"]).stdout;
    places.push(("audit tail".into(), audit));
    let site = host.kill();
    places.extend(self::places(&site));
    let mails = site.mailbox().mails();

    let mut found = Vec::new();
    for (place, bytes) in &places {
        found.extend(hits(bytes, &canaries, |_| true).into_iter().map(|name| format!("{name} in {place}")));
        let text = ["log", "audit", "metrics"].iter().any(|kind| place.contains(kind));
        let codes = canaries.codes.iter().filter(|(_, code)| has_code(bytes, code, text));
        found.extend(codes.map(|(of, _)| format!("a code for {of} in {place}")));
    }
    let bytes: usize = places.iter().map(|(_, bytes)| bytes.len()).sum();
    let told = |found: &[String]| found.first().map(|first| format!("; first: {first}")).unwrap_or_default();
    let measured = format!(
        "{} hits of {} secrets in {} files of {bytes} bytes{}",
        found.len(),
        canaries.len(),
        places.len(),
        told(&found)
    );
    run.report.check(
        at,
        "no secret in log, audit, metrics, database or its journal",
        measured,
        found.is_empty() && canaries.len() > 20,
    );
    let misplaced: Vec<_> = mails.iter().flat_map(|mail| misplaced(mail, &canaries)).collect();
    run.report.check(
        at,
        "no secret in a mail but its own code or link, and that to its owner alone",
        format!("{} in {} mails{}", misplaced.len(), mails.len(), told(&misplaced)),
        misplaced.is_empty() && mails.len() > 3,
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
    let mut known = Canaries::default();
    known.add("a path", b"/api/auth/mfa/totp/verify");
    let finds = places.iter().any(|(_, bytes)| !hits(bytes, &known, |_| true).is_empty());
    run.report.check(at, "the search finds what is there", finds.to_string(), finds);
    Ok(())
}

/// What a mail should not hold.
fn misplaced(mail: &Mail, canaries: &Canaries) -> Vec<String> {
    let own = format!("mailed token of {}", mail.to);
    let foreign = |name: &str| name != own && name != "an address";
    let mut found: Vec<String> = [mail.text.as_bytes(), mail.raw.as_bytes()]
        .iter()
        .flat_map(|bytes| hits(bytes, canaries, foreign))
        .map(|name| format!("{name} in a mail to {}", mail.to))
        .collect();
    let others = canaries.codes.iter().filter(|(of, _)| *of != mail.to);
    let others = others.filter(|(_, code)| mail.text.lines().any(|line| line.trim() == code));
    found.extend(others.map(|(of, _)| format!("a code for {of} in a mail to {}", mail.to)));
    found
}

async fn measured(at: SocketAddr) -> Result<Vec<u8>> {
    let text = Client::new(at).get("//metrics").await?.expect(200)?.body;
    anyhow::ensure!(text.starts_with(b"# "), "no metrics");
    Ok(text)
}

/// Everything that a host writes or has written for it, its keys and libraries excepted.
fn places(site: &Site) -> Vec<(String, Vec<u8>)> {
    let mut all = files(&site.path("data"));
    all.push(("countersign.toml".into(), fs::read(site.config()).unwrap_or_default()));
    all.push(("host.log".into(), site.log().into_bytes()));
    all
}

/// Whatever somebody can do, each step with secrets that are noted, and some of it wrong.
async fn live(host: &Host, canaries: &mut Canaries) -> Result<()> {
    let to = host.address();
    let mut add = |name: &str, text: &str| canaries.add(name, text.as_bytes());
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
    let mailed = mail(host, &person.email, super::races::has_code).await?.code().to_owned();
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
            let owner = format!("mailed token of {}", person.email);
            tokens.iter().for_each(|token| add(&owner, token));
            let new = "the next canary 2b77 phrase";
            add("new password", new);
            for token in &tokens {
                Client::new(to)
                    .post("/password/reset/confirm", &json!({ "token": token, "new_password": new }))
                    .await?;
            }
            canaries.add("TOTP secret, raw", &raw);
            canaries.add("an address", person.email.as_bytes());
            canaries.codes.push((person.email, mailed));
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
    quoted.for_each(|value| canaries.add("key", value.as_bytes()));
    Ok(())
}

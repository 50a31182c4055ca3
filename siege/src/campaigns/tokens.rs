//! Tokens with every bit flipped, cut at every place, spelled otherwise, and those of one purpose used for another.
use super::Run;
use crate::{http::Client, people::Person, place::host};
use anyhow::{Context, Result};
use serde_json::json;
use std::net::SocketAddr;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let host = host("memory");
    let every = if run.scale.judges_time() { 1 } else { run.scale.of(0, 1).max(16) };
    // What was seen is told, also of an attack that got so far that the true token was used up.
    let mut outcomes = Vec::new();
    let ended = run.runtime.block_on(attack(host.address(), &host, every, &mut outcomes));
    for (what, tried, accepted) in outcomes {
        let figure = format!("{what}: flipped, cut, respelled: 0 accepted");
        run.report.check(
            ("tokens", "R24"),
            figure,
            format!("{accepted} of {tried}"),
            accepted == 0 && tried > 100,
        );
    }
    host.stop();
    ended
}

async fn attack(
    to: SocketAddr,
    host: &countersign_test_kit::Host,
    every: usize,
    outcomes: &mut Vec<(&'static str, usize, usize)>,
) -> Result<()> {
    let mut person = Person::enrolled(to, "token").await?;
    let challenge = person.challenge(to).await?;
    let mut client = Client::new(to);
    let mut accepted = 0;
    let forms = forms(&challenge, every);
    for form in &forms {
        let path = format!("/mfa/challenge/status?challenge={}", escaped(form));
        accepted += usize::from(client.get(&path).await?.status != 401);
    }
    anyhow::ensure!(
        client.get(&format!("/mfa/challenge/status?challenge={challenge}")).await?.status == 200,
        "the true challenge"
    );
    outcomes.push(("challenge", forms.len(), accepted));

    let session = person.token.clone();
    let forms = self::forms(&session, every);
    let mut accepted = 0;
    for form in forms.iter().filter(|form| form.chars().all(|c| c.is_ascii_graphic())) {
        let reply = Client::new(to).with_bearer(form).get("/me").await?;
        accepted += usize::from(reply.status == 200);
    }
    anyhow::ensure!(person.client(to).get("/me").await?.status == 200, "the true session");
    outcomes.push(("session", forms.len(), accepted));

    let stranger = Person::register(to, "token-link").await?;
    client.post("/mfa/magic-link/send", &json!({ "email": stranger.email })).await?.expect(202)?;
    let mut link = None;
    for _ in 0..500 {
        let mails = host.site().mailbox().mails();
        link = mails
            .iter()
            .find(|mail| mail.to == stranger.email && mail.text.contains("token="))
            .map(|mail| mail.token().to_owned());
        if link.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let link = link.context("no link came")?;
    let forms = self::forms(&link, every);
    let mut accepted = 0;
    for form in &forms {
        let reply =
            client.post("/mfa/magic-link/verify", &json!({ "token": form, "session": "bearer" })).await?;
        accepted += usize::from(reply.status < 400);
    }
    outcomes.push(("magic link", forms.len(), accepted));

    // A key identifier is a name from outside; a token of one purpose is none of another.
    let parts: Vec<&str> = challenge.split('.').collect();
    let long = "k".repeat(10_000);
    let kids = ["", ".", "../../keys", "0", "'; DROP TABLE records; --", "%00", &long];
    let mut others: Vec<String> =
        kids.iter().map(|kid| format!("{}.{kid}.{}.{}", parts[0], parts[2], parts[3])).collect();
    others.extend([link.clone(), session, "v1...".into(), "null".into()]);
    let mut accepted = 0;
    let tried = others.len() + 100;
    for other in others.iter().cycle().take(tried) {
        let body = json!({ "code": person.codes[0], "challenge": other });
        accepted += usize::from(client.post("/mfa/recovery/verify", &body).await?.status == 200);
    }
    outcomes.push(("strange keys and purposes", tried, accepted));
    // The true ones still work: nothing above has spent or locked anything.
    let code = person.code().await?;
    client.post("/mfa/totp/verify", &json!({ "code": code, "challenge": challenge })).await?.expect(200)?;
    client
        .post("/mfa/magic-link/verify", &json!({ "token": link, "session": "bearer" }))
        .await?
        .expect(200)?;
    Ok(())
}

/// Other texts than this one that come close.
fn forms(token: &str, every: usize) -> Vec<String> {
    let bytes = token.as_bytes();
    let flipped = (0..bytes.len() * 8).step_by(every).filter_map(|bit| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        String::from_utf8(bytes).ok()
    });
    let cut = (0..bytes.len()).map(|at| token[..at].to_owned());
    let more = ["=", "==", ".", "A", "%00"].iter().map(|end| format!("{token}{end}"));
    let respelled = [
        token.replace('-', "+"),
        token.replace('_', "/"),
        token.to_uppercase(),
        token.to_lowercase(),
        format!(" {token}"),
    ];
    let all = flipped.chain(cut).chain(more).chain(respelled);
    all.filter(|form| form != token).collect()
}

/// For a query.
fn escaped(text: &str) -> String {
    let keep = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    text.bytes().map(|c| if keep(c) { char::from(c).to_string() } else { format!("%{c:02X}") }).collect()
}

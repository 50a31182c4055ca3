//! A store of which three calls in ten fail.
use super::Run;
use crate::{http::Client, people::Person};
use anyhow::Result;
use countersign_test_kit::Site;
use serde_json::json;
use std::fs;
use toml_edit::{Item, Table, value};
use xtask::fixtures::fixture;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let tries = run.scale.of(1000, 60);
    let site = Site::with_store("memory");
    site.add_plugin(&fixture("store-faulty"));
    let armed = site.path("armed");
    site.edit(|config| {
        let mut table = Table::new();
        table["fault"] = value("flaky");
        table["armed_by"] = value(armed.display().to_string());
        config["store"]["use"] = value("faulty");
        config["store"]["faulty"] = Item::Table(table);
    });
    let host = site.start();
    let to = host.address();
    let (skipped, failed, guesses) = run.runtime.block_on(async {
        let mut people = Vec::new();
        for _ in 0..4 {
            people.push(Person::enrolled(to, "flaky").await?);
        }
        // One that is open already: of a few logins through such a store none may get as far as that.
        let mut challenges = Vec::new();
        for person in &people {
            let reply = Client::new(to).post("/login", &person.credentials()).await?;
            challenges.push(reply.member("challenge"));
        }
        fs::write(&armed, "")?;
        let (mut skipped, mut failed) = (0, 0);
        for n in 0..tries {
            let at = n % people.len();
            let reply = Client::new(to).post("/login", &people[at].credentials()).await?;
            skipped += usize::from(![202, 503].contains(&reply.status));
            failed += usize::from(reply.status == 503);
            challenges[at] = reply.member("challenge").or(challenges[at].take());
        }
        // Guesses are counted, or they are not evaluated.
        let mut evaluated = 0;
        for (person, challenge) in people.iter().zip(&challenges) {
            let body = json!({ "code": person.wrong_code()?, "challenge": challenge });
            for _ in 0..40 {
                let reply = Client::new(to).post("/mfa/totp/verify", &body).await?;
                evaluated += usize::from(reply.problem() == "invalid-code");
            }
        }
        fs::remove_file(&armed)?;
        Ok::<_, anyhow::Error>((skipped, failed, evaluated))
    })?;
    let at = ("faults", "R53");
    run.report.check(
        at,
        "3 of 10 calls of the store fail: no login without its second factor",
        format!("{skipped} of {tries}, {failed} refused"),
        skipped == 0 && failed > 0,
    );
    run.report.check(
        at,
        "3 of 10 fail: at most 5 guesses are evaluated for each of 4 accounts",
        guesses.to_string(),
        guesses <= 20 && guesses > 0,
    );
    host.stop();
    Ok(())
}

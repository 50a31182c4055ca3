//! Codes, links, challenges and the budget of guesses.
use super::{Outcome, at_once, exactly, has_code, has_token, mail, program, proofs};
use crate::{
    http::Client,
    people::{Person, patiently},
};
use anyhow::Context;
use countersign_test_kit::Host;
use serde_json::json;

pub(super) async fn totp_step(host: &Host, crowd: usize) -> Outcome {
    const PATH: &str = "/mfa/totp/verify";
    let to = host.address();
    let mut person = Person::enrolled(to, "step").await?;
    let challenges = [person.challenge(to).await?, person.challenge(to).await?];
    let code = person.code().await?;
    let requests = (0..crowd).map(|n| match challenges.get(n % 3) {
        Some(challenge) => (program(to, n), PATH, json!({ "code": code, "challenge": challenge })),
        None => (person.client(to), PATH, json!({ "code": code })),
    });
    let wrong = exactly(&at_once(requests.collect()).await?, 200, 1);
    let again = Client::new(to)
        .post("/mfa/totp/verify", &json!({ "code": code, "challenge": challenges[0] }))
        .await?;
    Ok(wrong.or_else(|| (again.status == 200).then(|| "the code worked again afterwards".into())))
}

pub(super) async fn recovery_code(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::enrolled(to, "recovery").await?;
    let challenges = [person.challenge(to).await?, person.challenge(to).await?];
    let bodies = (0..crowd).map(|n| json!({ "code": person.codes[0], "challenge": challenges[n % 2] }));
    Ok(exactly(&at_once(proofs(to, "/mfa/recovery/verify", bodies)).await?, 200, 1))
}

/// In turn, each by a hundred; a success in between forgives the guesses of those that were late.
pub(super) async fn all_recovery_codes(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let mut sessions = 0;
    for n in 0..8 {
        // A lock that the losers have brought about holds for a quarter of an hour, so each code has its person.
        let person = Person::enrolled(to, "eight").await?;
        let challenge = person.challenge(to).await?;
        let bodies = (0..crowd).map(|_| json!({ "code": person.codes[n], "challenge": challenge }));
        let replies = at_once(proofs(to, "/mfa/recovery/verify", bodies)).await?;
        sessions += replies.iter().filter(|reply| reply.status == 200).count();
    }
    Ok((sessions != 8).then(|| format!("{sessions} instead of 8")))
}

pub(super) async fn challenge(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::enrolled(to, "challenge").await?;
    let challenge = person.challenge(to).await?;
    let bodies = (0..crowd).map(|n| json!({ "code": person.codes[n % 8], "challenge": challenge }));
    Ok(exactly(&at_once(proofs(to, "/mfa/recovery/verify", bodies)).await?, 200, 1))
}

pub(super) async fn mailed_code(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::enrolled(to, "mailed").await?;
    let challenge = person.challenge(to).await?;
    Client::new(to).post("/mfa/otp/send", &json!({ "challenge": challenge })).await?.expect(202)?;
    let code = mail(host, &person.email, has_code).await?.code().to_owned();
    let bodies = (0..crowd).map(|_| json!({ "code": code, "challenge": challenge }));
    Ok(exactly(&at_once(proofs(to, "/mfa/otp/verify", bodies)).await?, 200, 1))
}

pub(super) async fn magic_link(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::register(to, "link").await?;
    Client::new(to).post("/mfa/magic-link/send", &json!({ "email": person.email })).await?.expect(202)?;
    let token = mail(host, &person.email, has_token).await?.token().to_owned();
    let bodies = (0..crowd).map(|_| json!({ "token": token, "session": "bearer" }));
    Ok(exactly(&at_once(proofs(to, "/mfa/magic-link/verify", bodies)).await?, 200, 1))
}

pub(super) async fn reset_link(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::register(to, "reset").await?;
    Client::new(to).post("/password/reset", &json!({ "email": person.email })).await?.expect(202)?;
    let token = mail(host, &person.email, has_token).await?.token().to_owned();
    let password = |n: usize| format!("another canary phrase {n}");
    let bodies = (0..crowd).map(|n| json!({ "token": token, "new_password": password(n) }));
    let replies = at_once(proofs(to, "/password/reset/confirm", bodies)).await?;
    if let Some(wrong) = exactly(&replies, 204, 1) {
        return Ok(Some(wrong));
    }
    // The password is the winner's, and nobody else's.
    let winner = replies.iter().position(|reply| reply.status == 204).context("a winner")?;
    let works = |n: usize| {
        let body = json!({ "email": person.email, "password": password(n), "session": "bearer" });
        async move {
            patiently(|| async { Client::new(to).post("/login", &body).await })
                .await
                .map(|reply| reply.status)
        }
    };
    let (winners, losers) = (works(winner).await?, works((winner + 1) % crowd).await?);
    Ok(((winners, losers) != (200, 401)).then(|| format!("winner {winners}, loser {losers}")))
}

pub(super) async fn address_link(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::register(to, "address").await?;
    person.client(to).post("/email/verify/send", &json!({})).await?.expect(202)?;
    let token = mail(host, &person.email, has_token).await?.token().to_owned();
    let bodies = (0..crowd).map(|_| json!({ "token": token }));
    Ok(exactly(&at_once(proofs(to, "/email/verify", bodies)).await?, 204, 1))
}

pub(super) async fn enrolment(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let mut person = Person::register(to, "enrolment").await?;
    let mut client = person.client(to);
    let (enrollment, code) = person.begin(&mut client).await?;
    let body = json!({ "code": code, "enrollment": enrollment });
    let requests = (0..crowd).map(|_| (person.client(to), "/mfa/totp/verify", body.clone())).collect();
    let replies = at_once(requests).await?;
    let status = client.get("/mfa/status").await?.json();
    let (factors, codes) =
        (status["factors"].as_array().map_or(0, Vec::len), &status["recovery_codes_remaining"]);
    let wrong = (factors != 1 || *codes != 8).then(|| format!("{factors} factors, {codes} codes"));
    Ok(exactly(&replies, 200, 1).or(wrong))
}

pub(super) async fn budget(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::enrolled(to, "budget").await?;
    let mut challenges = Vec::new();
    for _ in 0..5 {
        challenges.push(person.challenge(to).await?);
    }
    let wrong = person.wrong_code()?;
    let bodies = (0..crowd).map(|n| json!({ "code": wrong, "challenge": challenges[n % 5] }));
    let replies = at_once(proofs(to, "/mfa/totp/verify", bodies)).await?;
    let evaluated = replies.iter().filter(|reply| reply.problem() == "invalid-code").count();
    Ok((evaluated != 5).then(|| format!("{evaluated} evaluated")))
}

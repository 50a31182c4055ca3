//! The decisions that each factor and the gate make, asked of the real library as a host asks: across the boundary, with an
//! account that has an app, recovery codes and a challenge.
use crate::{desk::Desk, pieces::collected};
use anyhow::{Context as _, Result, bail, ensure};
use countersign_plugin_api::{
    Answer, Decision, Gate, Handler, Login, Refusal, Request, Secret, SessionMode, Verdict, kernel::Collected,
};
use countersign_test_kit::totp;
use criterion::{Criterion, measurement::Measurement};
use serde_json::{Value, json};
use std::{collections::BTreeMap, hint::black_box, sync::Arc, time::Duration};

/// Through the library, and the same code without one.
pub(crate) const LIBRARY: &str = "code of an app, right";
pub(crate) const IN_PROCESS: &str = "code of an app, right, without a library between";

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

pub(crate) fn all<M: Measurement>(criterion: &mut Criterion<M>) -> Result<()> {
    let mut asked = Asked { desk: Desk::new(), plugin: collected("plugin-mfa", &json!({}))? };
    let mut group = criterion.benchmark_group("decisions");
    let (login, gate) = (asked.enrolled()?, asked.gate()?);
    let recovery = asked.recovery_code()?;
    let token = asked.challenge(&login)?;
    group.bench_function("gate: a login gets a challenge", |b| {
        b.iter(|| gate.after_primary(black_box(&login), &asked.desk).is_ok());
    });
    let caller = asked.desk.caller(&["pwd"]);
    group.bench_function("gate: how a session stands", |b| {
        b.iter(|| gate.standing(black_box(&caller), &asked.desk).is_ok());
    });
    let password = Secret::new("correct horse battery staple");
    group.bench_function("gate: a new password's rules", |b| {
        b.iter(|| gate.password_violations(black_box(&password), &["ann@example.org"]).is_ok());
    });

    let right = totp::code(SECRET, asked.desk.now.secs())?;
    let wrong = if right == "000000" { "000001" } else { "000000" };
    let mailed = asked.tell("/otp/send", &json!({ "challenge": token }))?;
    let linked = asked.tell("/magic-link/send", &json!({ "email": asked.desk.subject.email }))?;
    let of =
        |told: &BTreeMap<String, String>, key: &str| told.get(key).cloned().context("nothing was mailed");
    let code = |code: &str| json!({ "challenge": token, "code": code });
    for (name, path, body, is_right) in [
        (LIBRARY, "/totp/verify", code(&right), true),
        ("code of an app, wrong", "/totp/verify", code(wrong), false),
        ("code by mail", "/otp/verify", code(&of(&mailed, "code")?), true),
        ("recovery code, without its hash", "/recovery/verify", code(&recovery), true),
        (
            "mailed link",
            "/magic-link/verify",
            json!({ "token": of(&linked, "token")?, "session": "bearer" }),
            true,
        ),
    ] {
        let (handler, request) = asked.about(path, &body)?;
        let decide = || handler.handle(black_box(&request), &asked.desk);
        ensure!(grants(&decide()) == is_right, "{name}: another decision than is measured");
        group.bench_function(name, |b| b.iter(decide));
    }

    let (_, request) = asked.about("/totp/verify", &code(&right))?;
    let own = mfa::primitives::handler("/totp/verify").context("no such route")?;
    let decide = || own.handle(black_box(&request), &asked.desk);
    ensure!(grants(&decide()), "{IN_PROCESS}: another decision than is measured");
    group.bench_function(IN_PROCESS, |b| b.iter(decide));
    group.finish();
    Ok(())
}

fn grants(decided: &Result<Decision, Refusal>) -> bool {
    decided.as_ref().is_ok_and(|decision| !matches!(decision.answer(), Some(Answer::Refusal(_)) | None))
}

struct Asked {
    desk: Desk,
    plugin: Collected,
}

impl Asked {
    fn gate(&self) -> Result<Arc<dyn Gate>> {
        Ok(self.plugin.gates.first().context("no gate")?.1.clone())
    }
    fn about(&self, path: &str, body: &Value) -> Result<(Arc<dyn Handler>, Request<'static>)> {
        let mut routes = self.plugin.routes.iter();
        let (_, handler) = routes.find(|(route, _)| route.path == path).context("no such route")?;
        let request = Request::new("POST", path, body.to_string().as_bytes());
        Ok((handler.clone(), request.with_header("content-type", b"application/json")))
    }
    /// Asks, carries out, and answers what was mailed.
    fn tell(&mut self, path: &str, body: &Value) -> Result<BTreeMap<String, String>> {
        let (handler, request) = self.about(path, body)?;
        let decision =
            handler.handle(&request, &self.desk).map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
        Ok(self.desk.carry_out(&decision))
    }

    /// Takes over an app, and lets its spent codes pass.
    fn enrolled(&mut self) -> Result<Login> {
        let (_, import) =
            self.plugin.operations.iter().find(|(name, _)| name == "import").context("no import")?;
        let uri = format!("otpauth://totp/Bench:ann?secret={SECRET}&issuer=Bench");
        let body = json!({ "subject": self.desk.subject.id, "uri": uri, "quiet": true }).to_string();
        let request = Request::new("CALL", "import", body.as_bytes());
        let decision =
            import.handle(&request, &self.desk).map_err(|error| anyhow::anyhow!("import: {error}"))?;
        self.desk.carry_out(&decision);
        self.desk.now = self.desk.now + Duration::from_secs(4 * totp::STEP);
        let subject = self.desk.subject.clone();
        Ok(Login { subject, session: "4b1e".repeat(8), mode: SessionMode::Bearer, amr: vec!["pwd".into()] })
    }

    fn recovery_code(&mut self) -> Result<String> {
        self.desk.caller = Some(self.desk.caller(&["pwd", "otp"]));
        let (handler, request) = self.about("/recovery/generate", &json!({}))?;
        let decision =
            handler.handle(&request, &self.desk).map_err(|error| anyhow::anyhow!("codes: {error}"))?;
        self.desk.carry_out(&decision);
        self.desk.caller = None;
        let Some(Answer::Json { body, .. }) = decision.answer() else { bail!("no recovery codes") };
        let body: Value = serde_json::from_slice(body)?;
        Ok(body["recovery_codes"][0].as_str().context("no recovery code")?.into())
    }

    fn challenge(&mut self, login: &Login) -> Result<String> {
        let decision = self
            .gate()?
            .after_primary(login, &self.desk)
            .map_err(|error| anyhow::anyhow!("gate: {error}"))?;
        self.desk.carry_out(&decision);
        match decision.answer() {
            Some(Answer::Verdict(Verdict::Challenge { token, .. })) => Ok(token),
            _ => bail!("the gate asks for nothing"),
        }
    }
}

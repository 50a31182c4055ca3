//! Accounts, and what their owners show.
use crate::http::{Client, Reply};
use anyhow::{Context, Result};
use countersign_test_kit::totp;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub(crate) const PASSWORD: &str = "canary-7f3a battery staple";

/// Somebody with an account, and perhaps an authenticator.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) email: String,
    pub(crate) secret: String,
    pub(crate) codes: Vec<String>,
    /// The last time step that was shown.
    shown: u64,
    /// The session of the sign-up, in bearer mode.
    pub(crate) token: String,
}

fn step_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()) / totp::STEP
}

/// An address that nobody has had.
pub(crate) fn address(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{name}-{}@example.org", NEXT.fetch_add(1, Relaxed))
}

impl Person {
    /// Signs up.
    pub(crate) async fn register(to: SocketAddr, name: &str) -> Result<Self> {
        let email = address(name);
        let body = json!({ "email": email, "password": PASSWORD, "session": "bearer" });
        let reply =
            patiently(|| async { Client::new(to).post("/register", &body).await }).await?.expect(201)?;
        let token = reply.member("token").context("no token")?;
        Ok(Self { email, secret: String::new(), codes: Vec::new(), shown: 0, token })
    }
    /// Signs up and sets up an authenticator.
    pub(crate) async fn enrolled(to: SocketAddr, name: &str) -> Result<Self> {
        let mut person = Self::register(to, name).await?;
        let mut client = person.client(to);
        let (enrollment, code) = person.begin(&mut client).await?;
        let body = json!({ "code": code, "enrollment": enrollment });
        // Eight hashes: a crowd that enrols at once is told to come back.
        let reply = patiently(|| {
            let (mut client, body) = (client.clone(), body.clone());
            async move { client.post("/mfa/totp/verify", &body).await }
        });
        let reply = reply.await?.expect(200)?;
        person.codes = texts(&reply.json()["recovery_codes"]);
        Ok(person)
    }
    /// Begins an enrolment: its id, and the code that activates it.
    pub(crate) async fn begin(&mut self, client: &mut Client) -> Result<(String, String)> {
        let begun = client.post("/mfa/totp/enroll", &json!({})).await?.expect(201)?;
        self.secret = begun.member("secret").context("no secret")?;
        self.shown = 0;
        Ok((begun.member("enrollment").context("no enrolment")?, self.code().await?))
    }
    /// A code that was not shown before. One of the next time step is good already, so this waits for no more
    /// than every other one.
    pub(crate) async fn code(&mut self) -> Result<String> {
        let step = (self.shown + 1).max(step_now());
        while step > step_now() + 1 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.shown = step;
        totp::code(&self.secret, step * totp::STEP)
    }
    /// The same, if there is one now.
    pub(crate) fn code_at_once(&mut self) -> Result<Option<String>> {
        let step = (self.shown + 1).max(step_now());
        if step > step_now() + 1 {
            return Ok(None);
        }
        self.shown = step;
        totp::code(&self.secret, step * totp::STEP).map(Some)
    }
    /// One that is wrong at any time of these minutes.
    pub(crate) fn wrong_code(&self) -> Result<String> {
        let near: Vec<String> = (0..8)
            .map(|n| totp::code(&self.secret, (step_now() - 4 + n) * totp::STEP))
            .collect::<Result<_>>()?;
        let mut codes = (0..1_000_000).map(|n| format!("{n:06}"));
        codes.find(|code| !near.contains(code)).context("no wrong code")
    }
    /// A program that holds the session of the sign-up.
    pub(crate) fn client(&self, to: SocketAddr) -> Client {
        Client::new(to).with_bearer(&self.token)
    }
    pub(crate) fn credentials(&self) -> Value {
        json!({ "email": self.email, "password": PASSWORD, "session": "bearer" })
    }
    /// Proves the password; answers the challenge.
    pub(crate) async fn challenge(&self, to: SocketAddr) -> Result<String> {
        let body = self.credentials();
        let reply = patiently(|| async { Client::new(to).post("/login", &body).await }).await?.expect(202)?;
        reply.member("challenge").context("no challenge")
    }
}

/// Asks again while the host says that it is busy: setting up is no attack.
pub(crate) async fn patiently<F: Future<Output = std::io::Result<Reply>>>(
    ask: impl Fn() -> F,
) -> Result<Reply> {
    for _ in 0..60 {
        let reply = ask().await?;
        if reply.status != 503 {
            return Ok(reply);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    anyhow::bail!("the host stays busy")
}

pub(crate) fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

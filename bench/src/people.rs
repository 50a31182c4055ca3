//! Accounts with an authenticator, made in bulk: over the control socket, as `user add` and `mfa import` make them.
use anyhow::{Context, Result, ensure};
use countersign_test_kit::{Host, PASSWORD, totp};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::Mutex,
    thread,
};

/// What the control socket takes at once.
const AT_ONCE: usize = 8;

/// Somebody with an account and an authenticator.
pub(crate) struct Person {
    pub(crate) number: usize,
    pub(crate) email: String,
    secret: String,
}

impl Person {
    /// So many, each by a password hash of its own.
    pub(crate) fn crowd(host: &Host, count: usize) -> Result<Vec<Self>> {
        let socket = host.site().path("data/control.sock");
        let numbers = Mutex::new(0..count);
        let made = Mutex::new(Vec::with_capacity(count));
        thread::scope(|scope| {
            let all: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    scope.spawn(|| {
                        while let Some(number) = lock(&numbers).next() {
                            let person = Self::enrolled(&socket, number)?;
                            lock(&made).push(person);
                        }
                        Ok(())
                    })
                })
                .collect();
            all.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| Ok(())))
        })
        .and_then(|()| {
            let made = made.into_inner().unwrap_or_default();
            ensure!(made.len() == count, "{} of {count} accounts were made", made.len());
            Ok(made)
        })
    }

    fn enrolled(socket: &Path, number: usize) -> Result<Self> {
        let (email, secret) = (format!("person-{number}@example.org"), secret(number));
        let add = json!({ "operation": "user-add", "email": email, "role": "user", "password": PASSWORD });
        ask(socket, &add)?;
        let uri = format!("otpauth://totp/Bench:{email}?secret={secret}&issuer=Bench");
        let import = json!({ "operation": "mfa-import", "user": email, "uri": uri, "quiet": true });
        ask(socket, &import)?;
        Ok(Self { number, email, secret })
    }

    /// What the app shows in that time step.
    pub(crate) fn code(&self, step: u64) -> Result<String> {
        totp::code(&self.secret, step * totp::STEP)
    }
}

/// 160 bits in base32, another for each number.
pub(crate) fn secret(number: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut state = number as u64 + 1;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(ALPHABET[(state >> 59) as usize])
    };
    (0..32).map(letter).collect()
}

fn ask(socket: &Path, operation: &Value) -> Result<Value> {
    let mut stream = UnixStream::connect(socket).context("the control socket")?;
    stream.write_all(format!("{operation}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    let mut answer: Value = serde_json::from_str(&answer).context("the control socket")?;
    ensure!(answer.get("refused").is_none(), "{answer}");
    Ok(answer["done"].take())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

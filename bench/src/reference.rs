//! What one would write by hand for one operation: a code of an app becomes a session. No plugins, nothing sealed, no
//! limits, no locks; three rows, durable before the answer, and the commits of all who wait grouped in one.
use crate::people::secret;
use anyhow::{Context, Result};
use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use countersign_test_kit::totp;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::oneshot;

/// As many as the store groups.
const GROUP: usize = 64;

struct Server {
    file: PathBuf,
    readers: Mutex<Vec<Connection>>,
    queue: Sender<Job>,
}

/// A code that was right, and what its account must still look like.
struct Job {
    user: String,
    last_step: i64,
    step: i64,
    token: String,
    done: oneshot::Sender<bool>,
}

/// Serves so many accounts from a database in `dir`, until it is killed.
pub(crate) fn serve(address: SocketAddr, dir: &Path, accounts: usize) -> Result<()> {
    let file = dir.join("reference.db");
    let mut db = connect(&file)?;
    db.execute_batch(
        "CREATE TABLE account (name TEXT PRIMARY KEY, secret TEXT NOT NULL, last_step INTEGER NOT NULL) WITHOUT ROWID;
         CREATE TABLE session (token TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE audit (id INTEGER PRIMARY KEY, name TEXT NOT NULL, event TEXT NOT NULL);",
    )?;
    let all = db.transaction()?;
    for number in 0..accounts {
        all.execute("INSERT INTO account VALUES (?1, ?2, 0)", (number.to_string(), secret(number)))?;
    }
    all.commit()?;
    let (queue, jobs) = channel();
    thread::spawn(move || write(db, &jobs));
    let server = Arc::new(Server { file, readers: Mutex::default(), queue });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let app = Router::new().route("/verify", post(verify)).with_state(server);
        Ok(axum::serve(tokio::net::TcpListener::bind(address).await?, app).await?)
    })
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(file)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "full")?;
    Ok(db)
}

async fn verify(State(server): State<Arc<Server>>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    let refused = (StatusCode::UNAUTHORIZED, Json(json!({ "error": "invalid code" })));
    let (Some(user), Some(code)) = (body["user"].as_str(), body["code"].as_str()) else { return refused };
    let Ok(Some((secret, last_step))) = server.account(user) else { return refused };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()) / totp::STEP;
    let fits = |step: u64| totp::code(&secret, step * totp::STEP).is_ok_and(|right| right == code);
    // All of them, as the plugin does.
    let step = [now - 1, now, now + 1].map(|step| if fits(step) { step } else { 0 }).into_iter().max();
    let step = step.and_then(|step| i64::try_from(step).ok());
    let Some(step) = step.filter(|step| *step > last_step) else { return refused };
    let token = format!("{user}-{step}-{now:032x}");
    let (done, outcome) = oneshot::channel();
    let job = Job { user: user.into(), last_step, step, token: token.clone(), done };
    if server.queue.send(job).is_ok() && outcome.await == Ok(true) {
        (StatusCode::OK, Json(json!({ "status": "authenticated", "token": token })))
    } else {
        refused
    }
}

impl Server {
    fn account(&self, user: &str) -> rusqlite::Result<Option<(String, i64)>> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let db = kept.map_or_else(|| connect(&self.file), Ok)?;
        let found = db
            .prepare_cached("SELECT secret, last_step FROM account WHERE name = ?1")?
            .query_row([user], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(db);
        Ok(found)
    }
}

fn write(mut db: Connection, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let group: Vec<Job> = std::iter::once(first).chain(jobs.try_iter()).take(GROUP).collect();
        let written = commit(&mut db, &group).context("a group").unwrap_or_default();
        for (at, job) in group.into_iter().enumerate() {
            // Whoever asked may be gone.
            let _ = job.done.send(written.get(at) == Some(&true));
        }
    }
}

fn commit(db: &mut Connection, group: &[Job]) -> rusqlite::Result<Vec<bool>> {
    let all = db.transaction()?;
    let mut written = Vec::new();
    for job in group {
        let spent = all
            .prepare_cached("UPDATE account SET last_step = ?1 WHERE name = ?2 AND last_step = ?3")?
            .execute((job.step, &job.user, job.last_step))?;
        if spent == 1 {
            all.prepare_cached("INSERT INTO session VALUES (?1, ?2)")?.execute((&job.token, &job.user))?;
            all.prepare_cached("INSERT INTO audit (name, event) VALUES (?1, 'totp.verified')")?
                .execute([&job.user])?;
        }
        written.push(spent == 1);
    }
    all.commit()?;
    Ok(written)
}

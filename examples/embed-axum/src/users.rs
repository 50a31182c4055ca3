//! The application's own users: a table in SQLite, and passwords hashed with Argon2id.
use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use axum_login::{AuthUser, AuthnBackend, UserId};
use countersign_plugin_api::Secret;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Deserialize;
use std::{
    fmt,
    path::Path,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL UNIQUE COLLATE NOCASE, password TEXT,
    role TEXT NOT NULL DEFAULT 'user', verified INTEGER NOT NULL DEFAULT 0,
    -- Counted up, it ends the sessions that there are.
    sessions INTEGER NOT NULL DEFAULT 1, created_at INTEGER NOT NULL DEFAULT (unixepoch())) STRICT";
const COLUMNS: &str = "id, email, password, role, verified, sessions, created_at";

/// The table.
#[derive(Clone)]
pub(crate) struct Users(Arc<Mutex<Connection>>);

/// A row of it.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) email: String,
    pub(crate) role: String,
    pub(crate) verified: bool,
    pub(crate) created_at: u64,
    password: Option<String>,
    /// A session of which this is not true any more is over (axum-login compares it).
    stamp: Vec<u8>,
}

/// What somebody signs up, or in, with.
#[derive(Clone, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) email: String,
    pub(crate) password: Secret<String>,
}

impl Users {
    pub(crate) fn open(file: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(file)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Makes a user; `None` when the address is taken.
    pub(crate) fn add(&self, new: &Credentials) -> Result<Option<i64>, Failed> {
        let hash = hash(&new.password)?;
        let insert = "INSERT INTO users (email, password) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id";
        Ok(self
            .with(|db| db.query_row(insert, params![new.email.trim(), hash], |row| row.get(0)).optional())?)
    }
    pub(crate) fn by_id(&self, id: i64) -> rusqlite::Result<Option<User>> {
        let select = format!("SELECT {COLUMNS} FROM users WHERE id = ?");
        self.with(|db| db.query_row(&select, [id], User::read).optional())
    }
    pub(crate) fn by_email(&self, email: &str) -> rusqlite::Result<Option<User>> {
        let select = format!("SELECT {COLUMNS} FROM users WHERE email = ?");
        self.with(|db| db.query_row(&select, [email], User::read).optional())
    }
    pub(crate) fn set_password(&self, id: i64, password: &Secret<String>) -> Result<(), Failed> {
        let hash = hash(password)?;
        self.with(|db| db.execute("UPDATE users SET password = ? WHERE id = ?", params![hash, id]))?;
        Ok(())
    }
    /// The owner of the mailbox has come: whoever made the account may have been somebody else.
    pub(crate) fn verify(&self, id: i64) -> rusqlite::Result<()> {
        let update = "UPDATE users SET verified = 1, password = NULL WHERE id = ? AND verified = 0";
        self.with(|db| db.execute(update, [id])).map(|_| ())
    }
    pub(crate) fn end_sessions(&self, id: i64) -> rusqlite::Result<()> {
        let update = "UPDATE users SET sessions = sessions + 1 WHERE id = ?";
        self.with(|db| db.execute(update, [id])).map(|_| ())
    }
    /// Whether this is the user's password. That of nobody takes as long.
    pub(crate) fn password_is_right(user: Option<&User>, password: &Secret<String>) -> Result<bool, Failed> {
        static NOBODY: LazyLock<Option<String>> =
            LazyLock::new(|| hash(&Secret::new(String::from("nobody's"))).ok());
        let own = user.and_then(|user| user.password.as_deref());
        let known = own.or(NOBODY.as_deref()).ok_or_else(|| Failed("no hash to compare with".into()))?;
        let right =
            Argon2::default().verify_password(password.expose().as_bytes(), &PasswordHash::new(known)?);
        Ok(right.is_ok() && own.is_some())
    }

    fn with<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        work(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn hash(password: &Secret<String>) -> Result<String, Failed> {
    Ok(Argon2::default().hash_password(password.expose().as_bytes())?.to_string())
}

impl User {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (password, sessions): (Option<String>, i64) = (row.get("password")?, row.get("sessions")?);
        Ok(Self {
            id: row.get("id")?,
            email: row.get("email")?,
            role: row.get("role")?,
            verified: row.get("verified")?,
            created_at: u64::try_from(row.get::<_, i64>("created_at")?).unwrap_or_default(),
            stamp: format!("{sessions} {}", password.as_deref().unwrap_or_default()).into(),
            password,
        })
    }
}

/// Without the hash.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("email", &self.email).finish_non_exhaustive()
    }
}

impl AuthUser for User {
    type Id = i64;
    fn id(&self) -> i64 {
        self.id
    }
    fn session_auth_hash(&self) -> &[u8] {
        &self.stamp
    }
}

impl AuthnBackend for Users {
    type User = User;
    type Credentials = Credentials;
    type Error = Failed;

    async fn authenticate(&self, given: Credentials) -> Result<Option<User>, Failed> {
        let user = self.by_email(given.email.trim())?;
        Ok(Self::password_is_right(user.as_ref(), &given.password)?.then_some(user).flatten())
    }
    async fn get_user(&self, id: &UserId<Self>) -> Result<Option<User>, Failed> {
        Ok(self.by_id(*id)?)
    }
}

/// The table or the hash failed; the text is for the log.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Failed {}
impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}
impl From<argon2::password_hash::Error> for Failed {
    fn from(error: argon2::password_hash::Error) -> Self {
        Self(error.to_string())
    }
}
impl From<argon2::password_hash::phc::Error> for Failed {
    fn from(error: argon2::password_hash::phc::Error) -> Self {
        Self(error.to_string())
    }
}

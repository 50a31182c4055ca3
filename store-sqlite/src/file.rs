//! The database on the disk: whose it is, who may read it, and how it is opened.
use countersign_plugin_api::{Error, Result, StoreError};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

const SCHEMA: &str = include_str!("schema.sql");
const SCHEMA_VERSION: i64 = 1;
/// "Csgn", as in the schema.
const APPLICATION_ID: i64 = 0x4373_676E;
/// How long to wait for another process that is writing.
const BUSY: Duration = Duration::from_secs(2);
/// After a burst the log is cut back to this.
const LOG_BYTES: i64 = 64 << 20;

/// What a connection for reading keeps of the file, in KiB; the system's own cache has the rest. There may be as many
/// connections as threads that read, and SQLite's 2 MB for each save a read of three records among a million accounts 150
/// of 25,200 instructions.
const READER_CACHE: i64 = 500;

/// The bytes in use: pages that are free to be used again do not count.
pub(crate) const USED_BYTES: &str = "SELECT (page_count - freelist_count) * page_size \
     FROM pragma_page_count, pragma_freelist_count, pragma_page_size";

/// Where the database is. Absolute, so that SQLite takes it for neither a URI nor `:memory:`.
#[derive(Clone)]
pub(crate) struct Database {
    path: PathBuf,
}

impl Database {
    /// Finds or makes the file, and refuses one that is not ours to use.
    pub(crate) fn open(path: &Path) -> Result<(Self, Connection)> {
        let of = |what: &str, error: &dyn std::fmt::Display| {
            Error::new(format_args!("`{}` {what}: {error}", path.display()))
        };
        let absolute = std::path::absolute(path).map_err(|error| of("is no path", &error))?;
        place(&absolute).map_err(|error| of("cannot be used", &error))?;
        let database = Self { path: absolute };
        let mut db = database
            .connect(OpenFlags::SQLITE_OPEN_READ_WRITE)
            .map_err(|error| of("does not open", &error))?;
        database.claim(&mut db)?;
        settings(&db).map_err(|error| of("cannot be set up", &error))?;
        Ok((database, db))
    }

    /// Another connection for writing, to the file that `open` has accepted.
    pub(crate) fn writer(&self) -> rusqlite::Result<Connection> {
        let db = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        settings(&db)?;
        Ok(db)
    }

    pub(crate) fn reader(&self) -> rusqlite::Result<Connection> {
        let db = self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.pragma_update(None, "cache_size", -READER_CACHE)?;
        Ok(db)
    }

    fn connect(&self, mode: OpenFlags) -> rusqlite::Result<Connection> {
        // One thread at a time uses a connection, which Rust sees to.
        let db = Connection::open_with_flags(&self.path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(BUSY)?;
        // A page that is new is zeros, and not whatever the process had in that memory before. The first one is made
        // with the schema.
        db.query_row("PRAGMA secure_delete = FAST", [], |_| Ok(()))?;
        Ok(db)
    }

    /// Makes the schema in an empty file; refuses another application's, and one that is newer than this.
    fn claim(&self, db: &mut Connection) -> Result<()> {
        let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => self.refusal("is not an SQLite database"),
            _ => self.refusal(format_args!("cannot be read: {error}")),
        };
        // Looked at under the write lock, so that two processes do not make the schema at once.
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let number = |sql: &str| tx.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(failed);
        let application = number("PRAGMA application_id")?;
        let version = number("PRAGMA user_version")?;
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        match (application, version, tables) {
            (APPLICATION_ID, SCHEMA_VERSION, _) => Ok(()),
            (APPLICATION_ID, _, _) => Err(self.refusal(format_args!(
                "has schema {version}, and this plugin knows schema {SCHEMA_VERSION} only: it was written by \
                 another version of store-sqlite"
            ))),
            (0, 0, 0) => tx.execute_batch(SCHEMA).and_then(|()| tx.commit()).map_err(failed),
            _ => Err(self.refusal("is another application's database")),
        }
    }

    fn refusal(&self, what: impl std::fmt::Display) -> Error {
        Error::new(format_args!("`{}` {what}", self.path.display()))
    }
}

/// What SQLite does not remember in the file.
fn settings(db: &Connection) -> rusqlite::Result<()> {
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            Some(format!("no write-ahead log is possible here, only `{mode}`")),
        ));
    }
    // Acknowledged is synchronised. Nothing that was in a record goes to a temporary file.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.query_row(&format!("PRAGMA journal_size_limit = {LOG_BYTES}"), [], |_| Ok(()))
}

/// Makes the directory and the file if they are missing, for their owner alone.
fn place(path: &Path) -> std::io::Result<()> {
    let refuse = |why: &str| Err(std::io::Error::new(ErrorKind::PermissionDenied, why.to_owned()));
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Whoever may rename files there can put another database in its place, and whoever may make some a journal beside it, which
    // is played back into it: so a sticky one is none either.
    let around = fs::metadata(directory)?;
    if around.permissions().mode() & 0o022 != 0 {
        return refuse("others may write to its directory (chmod go-w)");
    }
    if !is_ours(around.uid()) {
        return refuse("its directory belongs to somebody else (chown)");
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        // SQLite gives its log and its index the mode of the database.
        Ok(_) => return File::open(directory)?.sync_all(),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let found = fs::symlink_metadata(path)?;
    if !found.is_file() {
        return refuse("it is not a regular file");
    }
    if found.permissions().mode() & 0o077 != 0 {
        return refuse("others may open it (chmod 600)");
    }
    if !is_ours(found.uid()) {
        return refuse("it belongs to somebody else (chown)");
    }
    Ok(())
}

/// Whether what that user owns nobody can change but us, and root.
fn is_ours(owner: u32) -> bool {
    owner == 0 || owner == rustix::process::geteuid().as_raw()
}

/// What an error means to a caller of whom nothing was written.
pub(crate) fn unwritten(error: &rusqlite::Error) -> StoreError {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    match error {
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) => {
            StoreError::Corrupt
        }
        _ => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt,
            // A full disk too: it fails batches that do not grow the store as well.
            _ => StoreError::Unavailable,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Scratch;
    use std::os::unix::fs::symlink;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
    }
    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }
    fn directory(scratch: &Scratch) -> PathBuf {
        scratch.path().parent().expect("a directory").into()
    }
    fn refused(path: &Path) -> String {
        Database::open(path).err().expect("it is refused").to_string()
    }

    #[test]
    fn what_it_makes_is_for_its_owner_alone() {
        let scratch = Scratch::new();
        let path = scratch.path();
        let (_database, db) = Database::open(&path).expect("it opens");
        db.execute_batch("UPDATE counter SET version = 7").expect("a write");
        assert_eq!(mode(&directory(&scratch)), 0o700);
        for suffix in ["", "-wal", "-shm"] {
            let path = PathBuf::from(format!("{}{suffix}", path.display()));
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn every_connection_for_writing_synchronises() {
        let scratch = Scratch::new();
        let (database, first) = Database::open(&scratch.path()).expect("it opens");
        for db in [first, database.writer().expect("another connection")] {
            let synchronous: i64 =
                db.query_row("PRAGMA synchronous", [], |row| row.get(0)).expect("a pragma");
            let journal: String =
                db.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("a pragma");
            assert_eq!((synchronous, journal.as_str()), (2, "wal"), "FULL is 2");
            let zeroed: i64 = db.query_row("PRAGMA secure_delete", [], |row| row.get(0)).expect("a pragma");
            assert_eq!(zeroed, 2, "FAST is 2");
        }
        let reader = database.reader().expect("a reader");
        assert!(reader.execute_batch("UPDATE counter SET version = 7").is_err(), "a reader cannot write");
        let cache: i64 = reader.query_row("PRAGMA cache_size", [], |row| row.get(0)).expect("a pragma");
        assert_eq!(cache, -500, "KiB: many readers are not much memory");
    }

    #[test]
    fn a_place_that_others_can_change_is_refused() {
        let scratch = Scratch::new();
        let path = scratch.path();
        drop(Database::open(&path).expect("it opens"));
        for wide in [0o640, 0o604, 0o620, 0o602] {
            set_mode(&path, wide);
            assert!(refused(&path).contains("chmod 600"), "{wide:o}");
        }
        set_mode(&path, 0o600);
        for wide in [0o770, 0o707, 0o1777] {
            set_mode(&directory(&scratch), wide);
            assert!(refused(&path).contains("chmod go-w"), "{wide:o}");
        }
        set_mode(&directory(&scratch), 0o755);
        assert!(Database::open(&path).is_ok());
        let own = fs::metadata(&path).expect("a file").uid();
        assert_eq!([0, own, own + 1].map(is_ours), [true, true, false]);
        let link = directory(&scratch).join("link.db");
        symlink(&path, &link).expect("a symbolic link");
        assert!(refused(&link).contains("regular file"));
        let inner = directory(&scratch).join("inner");
        fs::create_dir(&inner).expect("a directory");
        assert!(refused(&inner).contains("regular file"));
    }

    #[test]
    fn other_databases_and_newer_schemas_are_refused_untouched() {
        for (made_by, word) in [
            ("CREATE TABLE users (id INTEGER)", "another application"),
            ("PRAGMA application_id = 7", "another application"),
            ("PRAGMA user_version = 1", "another application"),
            ("PRAGMA application_id = 0x4373676E; PRAGMA user_version = 2", "schema 2"),
            ("PRAGMA application_id = 0x4373676E", "schema 0"),
        ] {
            let scratch = Scratch::new();
            let path = scratch.path();
            place(&path).expect("an empty file");
            let db = Connection::open(&path).expect("a database");
            db.execute_batch(made_by).expect(made_by);
            drop(db);
            let before = fs::read(&path).expect("the file");
            let error = refused(&path);
            assert!(error.contains(word) && error.contains("store.db"), "{error}");
            assert!(before == fs::read(&path).expect("the file"), "{made_by}: changed");
        }
        let scratch = Scratch::new();
        place(&scratch.path()).expect("an empty file");
        fs::write(scratch.path(), "listen = \"127.0.0.1:8080\"\n".repeat(100)).expect("a text file");
        assert!(refused(&scratch.path()).contains("not an SQLite database"));
    }

    #[test]
    fn an_empty_file_becomes_a_store_and_stays_one() {
        let scratch = Scratch::new();
        place(&scratch.path()).expect("an empty file");
        for version in [0, 7] {
            let (_database, db) = Database::open(&scratch.path()).expect("it opens");
            let found: i64 =
                db.query_row("SELECT version FROM counter", [], |row| row.get(0)).expect("a counter");
            assert_eq!(found, version);
            db.execute_batch("UPDATE counter SET version = 7").expect("a write");
        }
    }
}

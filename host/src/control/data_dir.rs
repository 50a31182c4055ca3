//! The data directory, which one process has at a time.
use rustix::process::geteuid;
use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

const LOCK: &str = "lock";

/// A data directory that is ours until this is dropped, or the process ends however it ends.
pub(crate) struct DataDir {
    folder: Folder,
    _lock: File,
}

/// An open directory.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    open: File,
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), open: File::open(path)? })
    }

    /// The path of a file in it for calls that take only short ones: a socket's has at most 107 bytes.
    pub(super) fn short(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.open.as_raw_fd()).into()
    }
}

impl DataDir {
    /// Takes the directory, and makes it first where there is none. The error names it.
    pub(crate) fn claim(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let failed = |error: io::Error| format!("the data directory {shown}: {error}");
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let folder = Folder::open(path).map_err(failed)?;
        let meta = folder.open.metadata().map_err(failed)?;
        let (uid, me) = (meta.uid(), geteuid().as_raw());
        if uid != me {
            // Files that another user makes in it would lock its owner out.
            return Err(format!(
                "the data directory {shown} belongs to user {uid}, and this is user {me}: run it as its owner"
            ));
        }
        if meta.mode() & 0o022 != 0 {
            let mode = meta.mode() & 0o7777;
            return Err(format!(
                "others may write to the data directory {shown} (mode {mode:o}): run chmod go-w {shown}"
            ));
        }
        let file = path.join(LOCK);
        let failed = |error: io::Error| format!("{}: {error}", file.display());
        let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow);
        let mut lock = options.open(&file).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = lock.take(20).read_to_string(&mut owner);
                let owner = owner
                    .trim()
                    .parse()
                    .map_or("another process".into(), |pid: u32| format!("process {pid}"));
                return Err(format!(
                    "the data directory {shown} is in use by {owner}, which does not take commands now; stop it, or try again"
                ));
            }
        }
        // For the sentence above alone; the lock is what counts.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self { folder, _lock: lock })
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_directory_is_private_and_has_one_owner_at_a_time() {
        let path = std::env::temp_dir().join(format!("countersign-data-{}", std::process::id()));
        let claimed = DataDir::claim(&path).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        let why = DataDir::claim(&path).err().unwrap();
        assert!(why.contains(&format!("in use by process {}", std::process::id())), "{why}");
        drop(claimed);
        DataDir::claim(&path).unwrap_or_else(|why| panic!("{why}"));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(DataDir::claim(&path).err().unwrap().contains("chmod go-w"));
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(DataDir::claim(&path).is_err(), "a file is no directory");
        fs::remove_file(&path).unwrap();
    }
}

//! Replaces a file in one step: after a crash there is the old one or the new one, whole.
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

/// A change of a file that nobody else of this software changes meanwhile.
pub(super) struct Replacement {
    file: PathBuf,
    /// Locked; the file itself cannot be, because it is about to be another one.
    folder: File,
}

impl Replacement {
    /// Waits until nobody else is replacing a file in the same folder.
    pub(super) fn begin(file: &Path) -> io::Result<Self> {
        let folder = File::open(file.parent().unwrap_or(Path::new("/")))?;
        folder.lock()?;
        Ok(Self { file: file.to_owned(), folder })
    }

    /// The new file has the old one's mode and owner.
    pub(super) fn finish(self, bytes: &[u8]) -> io::Result<()> {
        let old = fs::metadata(&self.file)?;
        let mut name = OsString::from(".");
        name.push(self.file.file_name().unwrap_or_default());
        name.push(".new");
        let path = self.file.with_file_name(name);
        // Left by a crash: nobody else is at it while the folder is locked.
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let written = || {
            let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            let own = new.metadata()?;
            if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
                fchown(&new, Some(old.uid()), Some(old.gid()))?;
            }
            new.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
            new.write_all(bytes)?;
            new.sync_all()?;
            fs::rename(&path, &self.file)
        };
        if let Err(error) = written() {
            // The old file is still there; what matters is why the new one is not.
            drop(fs::remove_file(&path));
            return Err(error);
        }
        self.folder.sync_all()
    }
}

//! Paths as configuration spells them.
use serde::{Deserialize, Deserializer};
use std::{
    cell::RefCell,
    ops::Deref,
    path::{Path, PathBuf},
};

thread_local! {
    /// The folder of the configuration that this thread is reading; a type's `Deserialize` gets no context.
    static FOLDER: RefCell<PathBuf> = const { RefCell::new(PathBuf::new()) };
}

/// A path in a plugin's table. A relative one is relative to the configuration file, wherever the host was
/// started; here it has been resolved already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location(PathBuf);

impl Deref for Location {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        Ok(Self(FOLDER.with_borrow(|folder| folder.join(path))))
    }
}

/// Reads a configuration that stands in `folder`.
pub(crate) fn read_in<T>(folder: &str, read: impl FnOnce() -> T) -> T {
    let before = FOLDER.replace(folder.into());
    let value = read();
    FOLDER.set(before);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let read =
            |text: &str| read_in("/etc/countersign", || serde_json::from_str::<Location>(text).unwrap());
        assert_eq!(&*read("\"data/a.db\""), Path::new("/etc/countersign/data/a.db"));
        assert_eq!(&*read("\"/var/a.db\""), Path::new("/var/a.db"));
        let outside: Location = serde_json::from_str("\"a.db\"").unwrap();
        assert_eq!(&*outside, Path::new("a.db"));
    }
}

//! Where a plugin's file lies, and who could have put it there.
use rustix::{
    fs::{CWD, Mode, OFlags, fstat, openat},
    process::geteuid,
};
use std::{
    fs::File,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

/// The largest library that is read.
const MAX_LIBRARY: u64 = 256 << 20;

/// Reads a library whose placement is safe: an absolute path without symbolic links to a regular file that,
/// like all folders above it, belongs to root or to us and can be written by nobody else.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let checked = directories(path)?;
    // Not followed: a link here would make the check of the folders above worthless.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat(CWD, &checked, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::NOENT => "there is no such file".to_owned(),
        rustix::io::Errno::LOOP => "it is a symbolic link; name the file itself".to_owned(),
        other => format!("it cannot be opened: {other}"),
    })?;
    // From here on it is this open file that is judged, hashed and copied, never the path again.
    let stat = fstat(&file).map_err(|error| format!("it cannot be examined: {error}"))?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err("it is not a regular file".into());
    }
    owned("it", stat.st_uid, stat.st_mode)?;
    // Of the size that it says it has: a buffer that grows is copied as often as it doubles.
    let size = u64::try_from(stat.st_size).unwrap_or(0).min(MAX_LIBRARY);
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    File::from(file)
        .take(MAX_LIBRARY + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_LIBRARY {
        return Err("it is larger than 256 MiB".into());
    }
    Ok(bytes)
}

fn directories(path: &Path) -> Result<PathBuf, String> {
    let plain = |c: Component<'_>| matches!(c, Component::RootDir | Component::Normal(_));
    if !path.is_absolute() || !path.components().all(plain) {
        return Err("its path is not absolute and plain".into());
    }
    for folder in path.ancestors().skip(1) {
        let shown = folder.display();
        let meta = std::fs::symlink_metadata(folder)
            .map_err(|error| format!("the folder {shown} cannot be examined: {error}"))?;
        if meta.is_symlink() {
            return Err(format!("the folder {shown} is a symbolic link; name the real one"));
        }
        // In a sticky folder such as /tmp nobody can replace what is another's.
        let mode = if meta.mode() & 0o1000 != 0 { meta.mode() & !0o022 } else { meta.mode() };
        owned(&format!("the folder {shown}"), meta.uid(), mode)?;
    }
    Ok(path.to_owned())
}

fn owned(what: &str, uid: u32, mode: u32) -> Result<(), String> {
    if uid != 0 && uid != geteuid().as_raw() {
        return Err(format!("{what} belongs to user {uid}, not to root or to the user that runs the host"));
    }
    if mode & 0o022 != 0 {
        return Err(format!("{what} can be written by others (mode {:o}); run chmod go-w", mode & 0o7777));
    }
    Ok(())
}

//! Where a demo can live: the host loads libraries only from folders that nobody else can write.
use anyhow::{Context, Result, ensure};
use rustix::process::geteuid;
use std::{
    env, fs,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

/// The place that is wanted, or, where its group may write to a folder above it (a umask of 002 makes such), a
/// folder of our own among the temporary ones.
pub(super) fn usual(wanted: &Path) -> Result<PathBuf> {
    let Some(folder) = wanted.ancestors().skip(1).find(|folder| folder.exists() && !is_safe(folder)) else {
        return Ok(wanted.into());
    };
    let own = env::temp_dir().join(format!("countersign-demo-{}", geteuid().as_raw()));
    if !own.exists() {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&own)
            .with_context(|| format!("cannot make {}", own.display()))?;
    }
    ensure!(is_safe(&own), "{} is not ours alone; name another place with --dir", own.display());
    println!("Others can write to {}, so the demo lives in {}.", folder.display(), own.display());
    Ok(own.join(wanted.file_name().unwrap_or_default()))
}

/// Whether a folder belongs to root or to us, and nobody else can replace what is in it.
fn is_safe(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|meta| {
        let ours = meta.uid() == 0 || meta.uid() == geteuid().as_raw();
        let sticky = meta.mode() & 0o1000 != 0;
        meta.is_dir() && ours && (sticky || meta.mode() & 0o022 == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_that_others_can_write_is_not_used() {
        let outer = env::temp_dir().join(format!("countersign-place-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&outer).expect("a folder");
        let wanted = outer.join("target/demo");
        fs::create_dir(outer.join("target")).expect("a folder");
        let with_mode = |mode| {
            fs::set_permissions(outer.join("target"), fs::Permissions::from_mode(mode)).expect("a mode");
            usual(&wanted).expect("a place")
        };
        assert_eq!(with_mode(0o755), wanted);
        for open in [0o775, 0o757] {
            assert!(!with_mode(open).starts_with(&outer), "{open:o}");
        }
        fs::remove_dir_all(&outer).expect("gone");
    }
}

//! Who may read what the host keeps, and whether there is room for more of it. Key file, plugins and store are not
//! here: a start refuses what others may read or write of them.
use super::{Finding, problem, warning};
use crate::config::Config;
use rustix::{fs::statvfs, process::geteuid};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Bytes of free space below which nothing can be written much longer.
const LEAST: u64 = 64 << 20;

/// Everybody but its owner.
const OTHERS: u32 = 0o077;
/// Everybody who is not in its group either.
const STRANGERS: u32 = 0o004;

/// A file or a folder, and who may do what with it.
#[derive(Debug, Clone)]
struct Entry {
    path: PathBuf,
    /// What it holds.
    holds: &'static str,
    /// Who has no business there.
    kept_from: u32,
    mode: u32,
}

/// What is there.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    entries: Vec<Entry>,
    /// Whose the data directory is, if it is there, and who asks.
    owner: Option<u32>,
    user: u32,
    data_dir: PathBuf,
    /// Bytes that are free where the data lies.
    free: Option<u64>,
}

impl Facts {
    pub(super) fn gather(config: &Config) -> Self {
        let data_dir = &config.data_dir;
        let mut entries = Vec::new();
        entries.extend(entry(&config.file, "the configuration", STRANGERS));
        entries.extend(config.value_files().iter().filter_map(|file| entry(file, "a secret", OTHERS)));
        entries.extend(entry(data_dir, "the data", OTHERS));
        let disk = statvfs(data_dir).ok();
        Self {
            entries,
            owner: fs::metadata(data_dir).ok().map(|meta| meta.uid()),
            user: geteuid().as_raw(),
            data_dir: data_dir.clone(),
            free: disk.map(|disk| disk.f_bavail * disk.f_frsize),
        }
    }
}

fn entry(path: &Path, holds: &'static str, kept_from: u32) -> Option<Entry> {
    let mode = fs::metadata(path).ok()?.mode() & 0o7777;
    Some(Entry { path: path.to_owned(), holds, kept_from, mode })
}

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Facts { entries, owner, user, data_dir, free } = facts;
    let data_dir = data_dir.display();
    if let Some(owner) = owner.filter(|owner| owner != user) {
        let what =
            format!("{data_dir} belongs to user {owner}, and this is user {user}, who sees other mistakes");
        let fix = format!(
            "ask as the user that runs the host: runuser -u \"$(id -nu {owner})\" -- countersign doctor"
        );
        findings.push(problem("files", what, fix));
    }
    if *owner == Some(0) {
        let what = format!(
            "{data_dir} is root's: a host that runs as root, and every plugin in it, may do anything"
        );
        let fix =
            "run it as a user of its own that nobody signs in as, and give it the directory with chown -R";
        findings.push(warning("files", what, fix));
    }
    for Entry { path, holds, kept_from, mode } in entries {
        let shown = path.display();
        if mode & kept_from == 0 {
            continue;
        }
        if *kept_from == STRANGERS {
            let what = format!("everybody on this machine may read {holds}, {shown} (mode {mode:04o})");
            findings.push(warning("files", what, format!("chmod o-rwx {shown}")));
        } else {
            let what = format!("others than their owner may get at {holds} in {shown} (mode {mode:04o})");
            findings.push(problem("files", what, format!("chmod go-rwx {shown}")));
        }
    }
    if let Some(free) = free.filter(|free| *free < LEAST) {
        let mib = free >> 20;
        let what = format!(
            "{mib} MiB are free where {data_dir} lies: soon nothing can be written, and no login granted"
        );
        findings.push(problem("disk", what, "make room, or move data_dir to a larger disk"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, tests::assert_found},
        *,
    };

    fn facts() -> Facts {
        let entry = |path: &str, kept_from, mode| Entry { path: path.into(), holds: "it", kept_from, mode };
        Facts {
            entries: vec![
                entry("/e/countersign.toml", STRANGERS, 0o640),
                entry("/e/smtp-password", OTHERS, 0o400),
                entry("/e/data", OTHERS, 0o700),
            ],
            owner: Some(7),
            user: 7,
            data_dir: "/e/data".into(),
            free: Some(LEAST),
        }
    }

    /// What it is, how it comes about, and what is found.
    type Mistake = (&'static str, fn(&mut Facts), Level, &'static str, &'static str);

    #[test]
    fn each_mistake_is_found_and_nothing_else() {
        assert_found("none", &findings(&facts()), &[]);
        assert_found("nothing there", &findings(&Facts { owner: None, free: None, ..facts() }), &[]);
        let (problem, warning) = (Level::Problem, Level::Warning);
        let tries: [Mistake; 6] = [
            (
                "all read it",
                |f| f.entries[0].mode = 0o644,
                warning,
                "files",
                "chmod o-rwx /e/countersign.toml",
            ),
            (
                "a group reads it",
                |f| f.entries[1].mode = 0o440,
                problem,
                "files",
                "chmod go-rwx /e/smtp-password",
            ),
            ("all enter it", |f| f.entries[2].mode = 0o711, problem, "files", "/e/data (mode 0711)"),
            ("another asks", |f| f.user = 8, problem, "files", "belongs to user 7, and this is user 8"),
            ("root", |f| (f.user, f.owner) = (0, Some(0)), warning, "files", "/e/data is root's"),
            ("a full disk", |f| f.free = Some(LEAST - 1), problem, "disk", "63 MiB are free"),
        ];
        for (name, spoil, level, area, part) in tries {
            let mut facts = facts();
            spoil(&mut facts);
            assert_found(name, &findings(&facts), &[(level, area, part)]);
        }
    }
}

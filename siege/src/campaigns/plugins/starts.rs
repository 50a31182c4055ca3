//! Starts that must be refused, and a file that is another one whenever it is looked at.
use super::{Run, without_gate};
use crate::report::ms;
use anyhow::{Context, Result, ensure};
use countersign_test_kit::{Site, server::Server};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};
use xtask::fixtures::fixture;

/// What is wrong with a start, and what makes it so.
type Case = (&'static str, &'static str, fn(&Site) -> Result<()>);

const CASES: &[Case] = &[
    ("R64", "a directory of plugins that others may write", |site| mode(&site.path("plugins"), 0o777)),
    ("R64", "a directory of plugins that a group may write", |site| mode(&site.path("plugins"), 0o775)),
    ("R64", "a plugin that others may write", |site| mode(&plugin(site)?, 0o666)),
    ("R64", "a plugin of another owner", |site| {
        Ok(std::os::unix::fs::chown(plugin(site)?, Some(12345), None)?)
    }),
    ("R64", "a directory of plugins behind a symbolic link", |site| through_link(&site.path("plugins"))),
    ("R64", "a plugin behind a symbolic link", |site| through_link(&plugin(site)?)),
    ("R64", "a plugin that is not there", |site| Ok(fs::remove_file(plugin(site)?)?)),
    ("R64", "a directory in the place of a plugin", |site| {
        let plugin = plugin(site)?;
        fs::remove_file(&plugin)?;
        Ok(fs::create_dir(plugin)?)
    }),
    ("R64", "a pipe in the place of a plugin", |site| {
        let plugin = plugin(site)?;
        fs::remove_file(&plugin)?;
        ensure!(Command::new("mkfifo").arg(plugin).status()?.success(), "no pipe");
        Ok(())
    }),
    ("R64", "a plugin that is not the pinned one", |site| {
        let plugin = plugin(site)?;
        let bytes = [fs::read(&plugin)?, vec![0]].concat();
        Ok(fs::write(plugin, bytes)?)
    }),
    ("R66", "a library that is no plugin", |site| added(site, "not-a-plugin")),
    ("R66", "a plugin for another interface", |site| added(site, "wrong-abi")),
    ("R66", "a plugin with other layouts", |site| added(site, "wrong-layout")),
    ("R66", "a plugin that a panic would abort", |site| added(site, "panic-abort")),
    ("R66", "half a plugin", |site| {
        let bytes = fs::read(fixture("hello-delivery"))?;
        let half = site.path("libhalf.so");
        fs::write(&half, &bytes[..bytes.len() / 2])?;
        site.add_plugin(&half);
        Ok(())
    }),
    ("R27", "no keys", |site| Ok(fs::remove_file(site.path("keys.toml"))?)),
    ("R27", "keys that others may read", |site| mode(&site.path("keys.toml"), 0o644)),
    ("R54", "a store in memory that does not say so", |site| {
        site.set("store.memory.volatile", false);
        Ok(())
    }),
];

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    for (requirement, what, spoil) in CASES {
        let site = Site::with_store("memory");
        spoil(&site)?;
        judge(run, requirement, what, refused(&mut site.serve())?);
    }
    for name in ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"] {
        let site = Site::with_store("memory");
        let named = if name == "LD_LIBRARY_PATH" { "/nowhere" } else { "libm.so.6" };
        judge(run, "R66", name, refused(site.serve().env(name, named))?);
    }
    let site = Site::with_store("sqlite").start().stop();
    without_gate(&site);
    judge(run, "R68", "a store that was gated, without the gate", refused(&mut site.serve())?);
    swapped(run)
}

fn judge(run: &mut Run<'_>, requirement: &str, what: &str, refused: Option<Duration>) {
    let figure = format!("{what}: the start is refused within 2 s");
    let at = ("plugins", requirement);
    match refused {
        None => run.report.check(at, figure, "it starts", false),
        Some(took) => {
            let judged = run.scale.judges_time();
            run.report.timed(at, judged, figure, ms(took), took <= Duration::from_secs(2));
        }
    }
}

/// How soon `serve` ends with an error, if it does.
fn refused(serve: &mut Command) -> Result<Option<Duration>> {
    let (mut child, begun) = (serve.spawn()?, Instant::now());
    while begun.elapsed() < Duration::from_secs(20) {
        if let Some(status) = child.try_wait()? {
            return Ok((!status.success()).then(|| begun.elapsed()));
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// The file of the second factor.
fn plugin(site: &Site) -> Result<PathBuf> {
    let mut files = fs::read_dir(site.path("plugins"))?.flatten().map(|entry| entry.path());
    files.find(|file| file.to_string_lossy().contains("mfa")).context("no plugin")
}

fn mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

fn through_link(path: &Path) -> Result<()> {
    let elsewhere = path.with_extension("elsewhere");
    fs::rename(path, &elsewhere)?;
    Ok(symlink(elsewhere, path)?)
}

#[expect(clippy::unnecessary_wraps, reason = "the form of every case")]
fn added(site: &Site, name: &str) -> Result<()> {
    site.add_plugin(&fixture(name));
    Ok(())
}

// ---- a file that changes ----

/// While hosts start, the file that is pinned is now itself and now another library, by renames and by writes: a start
/// runs what was pinned, or is refused.
fn swapped(run: &mut Run<'_>) -> Result<()> {
    let starts = run.scale.of(200, 6);
    let scratch = tempfile::tempdir()?;
    let marker = scratch.path().join("marker");
    let site = Site::with_store("memory").with_variable("COUNTERSIGN_TEST_MARKER", &marker);
    let library = fixture("panics-in-handler");
    site.add_plugin(&library);
    let file = site.path("plugins").join(library.file_name().context("a name")?);
    let (pinned, other) = (fs::read(&file)?, fs::read(fixture("constructor-marker"))?);
    let over = AtomicBool::new(false);
    let (ran, refused) = thread::scope(|scope| {
        let swap = scope.spawn(|| {
            while !over.load(Relaxed) {
                for (bytes, rests) in [(&pinned, 40), (&other, 5)] {
                    let fresh = file.with_extension("fresh");
                    fs::write(&fresh, bytes)?;
                    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o644))?;
                    fs::rename(fresh, &file)?;
                    thread::sleep(Duration::from_millis(rests));
                }
                fs::write(&file, &pinned)?;
                thread::sleep(Duration::from_millis(20));
                fs::write(&file, &other)?;
            }
            Ok::<_, std::io::Error>(())
        });
        let (mut ran, mut refused) = (0, 0);
        for _ in 0..starts {
            match Server::start(&mut site.serve(), site.address()) {
                Ok(server) => {
                    server.kill()?;
                    ran += 1;
                }
                Err(_) => refused += 1,
            }
        }
        over.store(true, Relaxed);
        swap.join().map_err(|_| anyhow::anyhow!("the swap panicked"))??;
        Ok::<_, anyhow::Error>((ran, refused))
    })?;
    let opened = marker.exists();
    // The mark would have been seen.
    fs::write(&file, &pinned)?;
    mode(&file, 0o644)?;
    site.add_plugin(&fixture("constructor-marker"));
    let _ = Server::start(&mut site.serve(), site.address()).and_then(Server::kill);
    let marks = marker.exists();
    run.report.check(
        ("plugins", "R64"),
        format!("{starts} starts while the file is swapped: another library is never opened"),
        format!("opened: {opened}; {ran} ran what was pinned, {refused} refused; one that is pinned leaves its mark: {marks}"),
        !opened && marks,
    );
    Ok(())
}

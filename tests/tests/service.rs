//! A host under a service manager: what it tells, and the unit that starts it.
use countersign_tests::{
    Artifacts, Site,
    markdown::{blocks, read},
};
use rustix::process::Signal;
use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::Stdio,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};
use xtask::project::{self, root};

/// Whatever is said takes longer only if it is never said.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is said, heard at once: a manager that does not listen is not waited for.
fn listen(path: &Path) -> Receiver<String> {
    let manager = UnixDatagram::bind(path).expect("a socket");
    let (heard, told) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(length) = manager.recv(&mut buffer) {
            if heard.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                break;
            }
        }
    });
    told
}

/// The next thing that is said, but for signs of life when those are not asked for.
#[track_caller]
fn told(manager: &Receiver<String>, what: &str) -> String {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let said =
            manager.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what} was not told: {error}"));
        if said.starts_with(what) {
            return said;
        }
        assert!(said == "WATCHDOG=1" && Instant::now() < give_up, "{said} instead of {what}");
    }
}

#[test]
fn a_service_manager_is_told_of_every_turn() {
    let site = Site::with_store("memory");
    let path = site.path("notify");
    let manager = listen(&path);
    let site = site.with_variable("NOTIFY_SOCKET", &path).with_variable("WATCHDOG_USEC", "200000");
    let host = site.start();
    assert_eq!(told(&manager, "READY=1"), "READY=1");
    for _ in 0..3 {
        told(&manager, "WATCHDOG=1");
    }
    let reloaded = host.site().run(&["reload"]);
    assert!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
    assert!(told(&manager, "RELOADING=1").contains("MONOTONIC_USEC="));
    told(&manager, "READY=1");

    let config = fs::read_to_string(host.site().config()).expect("a configuration");
    fs::write(host.site().config(), "nonsense").expect("a configuration");
    // The command would read it first, and refuse.
    host.server().signal(Signal::HUP).expect("a signal");
    told(&manager, "RELOADING=1");
    told(&manager, "READY=1");
    fs::write(host.site().config(), config).expect("a configuration");
    host.stop();
    told(&manager, "STOPPING=1");
}

/// What the unit says at its head is what the page says.
#[test]
fn the_service_is_made_as_the_page_says() {
    let blocks = blocks(&read("docs/operating.md"));
    let shown = blocks.iter().find(|block| block.info == "sh service").expect("the commands");
    let unit = read("dist/countersign.service");
    let said = unit.lines().filter_map(|line| line.strip_prefix("#   "));
    assert_eq!(shown.text.lines().collect::<Vec<_>>(), said.collect::<Vec<_>>());
}

/// systemd's own reading of the unit, with our binary where the unit has the installed one.
#[test]
fn the_unit_is_one_that_systemd_takes() {
    let unit = fs::read_to_string(root().join("dist/countersign.service")).expect("the unit");
    let installed = "/usr/bin/countersign";
    assert!(unit.contains(installed));
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("countersign.service");
    let binary = Artifacts::get().binary().display().to_string();
    fs::write(&file, unit.replace(installed, &binary)).expect("a file");
    let analyze = |words: &[&str]| {
        let mut command = project::command("systemd-analyze");
        let output = command.args(words).arg(&file).stdin(Stdio::null()).output();
        output.expect("systemd-analyze starts; `cargo xtask test` installs it")
    };
    let verified = analyze(&["verify", "--man=no", "--recursive-errors=no"]);
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("countersign.service"), "{said}");
    // Exposure from 0.0 to 10.0, in tenths here: what a change of the unit may not give away unnoticed.
    let secured = analyze(&["security", "--offline=true", "--no-pager", "--threshold=15"]);
    assert!(secured.status.success(), "{}", String::from_utf8_lossy(&secured.stdout));
}

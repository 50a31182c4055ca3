//! What is installed: the tarball and the Debian package, made of the binaries that the tests run.
use countersign_tests::Artifacts;
use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use xtask::{artifacts, dist, project};

fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn what_is_installed_is_complete_and_works_and_is_packed_reproducibly() {
    let dir = tempfile::tempdir().expect("a directory");
    let packed = dist::pack(Artifacts::get(), &dir.path().join("dist")).expect("packed");
    let [tarball, .., sums] = &packed[..] else { panic!("{packed:?}") };
    said(
        project::command("sha256sum")
            .args(["--check", "--strict"])
            .arg(sums)
            .current_dir(dir.path().join("dist")),
    );

    let again = dist::pack(Artifacts::get(), &dir.path().join("again")).expect("packed");
    let read = |file: &PathBuf| fs::read_to_string(file).expect("checksums");
    assert_eq!(again.last().map(read), Some(read(sums)), "the same binaries are packed into the same bytes");

    let place = dir.path().join("usr");
    fs::create_dir(&place).expect("a directory");
    said(project::command("tar").args(["--strip-components=1", "-xzf"]).arg(tarball).arg("-C").arg(&place));
    let libraries = artifacts::plugins().expect("plugins").into_iter();
    let libraries: Vec<String> =
        libraries.map(|name| format!("lib/countersign/{}", artifacts::library(&name))).collect();
    let own = [
        "bin/countersign",
        "lib/systemd/system/countersign.service",
        "lib/sysusers.d/countersign.conf",
        "share/bash-completion/completions/countersign",
        "share/zsh/site-functions/_countersign",
        "share/fish/vendor_completions.d/countersign.fish",
        "share/doc/countersign/LICENSE-MIT",
        "share/doc/countersign/examples/proxies/nginx.conf",
    ];
    for file in own.into_iter().chain(libraries.iter().map(String::as_str)) {
        assert!(fs::metadata(place.join(file)).is_ok_and(|file| file.len() > 0), "{file}");
    }
    manual_pages(&place.join("share/man/man1"));
    completions(&place.join("share"), dir.path());

    // The installed program finds the plugins that lie beside it.
    let site = dir.path().join("site");
    said(project::command(place.join("bin/countersign")).arg("init").arg(&site));
    let listed = project::command(place.join("bin/countersign"))
        .args(["plugin", "list", "--json", "--config"])
        .arg(site.join("countersign.toml"))
        .output()
        .expect("it starts");
    assert!(
        String::from_utf8_lossy(&listed.stdout).contains("mfa"),
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );

    for package in packed.iter().filter(|file| file.extension().is_some_and(|kind| kind == "deb")) {
        let listed = said(project::command("dpkg-deb").arg("--contents").arg(package));
        for file in own.into_iter().chain(libraries.iter().map(String::as_str)) {
            assert!(listed.contains(&format!("./usr/{file}")), "{file} in {listed}");
        }
        assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
        let maintainer = said(project::command("dpkg-deb").arg("--field").arg(package).arg("Maintainer"));
        assert!(maintainer.contains('@') && !maintainer.contains("localhost"), "{maintainer}");
    }
}

/// Each shell loads its own, and completes a word by it.
fn completions(share: &Path, home: &Path) {
    let shells = [
        (
            "bash",
            "source bash-completion/completions/countersign; COMP_WORDS=(countersign plu) COMP_CWORD=1; \
             _countersign countersign plu countersign; echo \"${COMPREPLY[@]}\"",
            "plugin",
        ),
        (
            "zsh",
            "fpath=($PWD/zsh/site-functions $fpath); autoload -U compinit; compinit -u -d $HOME/dump; \
             autoload +X _countersign && functions _countersign; echo $_comps[countersign]",
            "_countersign",
        ),
        (
            "fish",
            "source fish/vendor_completions.d/countersign.fish; complete --do-complete 'countersign plu'",
            "plugin\tLook after plugins",
        ),
    ];
    for (shell, script, last) in shells {
        let mut command = project::command(shell);
        command.args(if shell == "zsh" { &["-f"][..] } else { &[] }).args(["-c", script]);
        let said = said(command.current_dir(share).env("HOME", home));
        assert_eq!(said.lines().last(), Some(last), "{shell}: {said}");
    }
}

/// One for every command that has a help page, each with a name, a synopsis and a description.
fn manual_pages(place: &Path) {
    let names = |dir: &Path| -> BTreeSet<String> {
        let files = fs::read_dir(dir).expect("a folder").map(|file| file.expect("a file").path());
        files.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect()
    };
    let helps = names(&project::root().join("tests/golden/cli"));
    let pages = names(place);
    for name in helps.iter().filter(|name| *name != "countersign-man") {
        assert!(pages.contains(name), "{name} has no manual page: {pages:?}");
    }
    for name in &pages {
        let page = fs::read_to_string(place.join(format!("{name}.1"))).expect("a page");
        for heading in [".TH", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
            assert!(page.contains(heading), "{name} has no {heading}");
        }
    }
}

/// Steps of `dist/Dockerfile`, by its own words and without its engine: what it puts into the image, run as it is run there.
/// The image is an empty folder with the libraries that the program asks for; what it is based on has them too.
#[test]
fn what_the_dockerfile_puts_together_runs_as_nobody_special_in_an_empty_root() {
    let text = fs::read_to_string(project::root().join("dist/Dockerfile")).expect("the Dockerfile");
    let text = text.replace("\\\n", " ");
    let after = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).expect(start).trim();
    let words = |line: &str| -> Vec<String> { serde_json::from_str(line).expect("a list of words") };
    assert!(text.contains("\nUSER 8080:8080\nWORKDIR /var/lib/countersign\n"), "{text}");

    let dir =
        tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().expect("a directory");
    let root = dir.path().join("image");
    let built = Artifacts::get().binary().parent().expect("a folder").to_owned();
    let step = after("RUN mkdir -p /image").replace("target/release", &built.display().to_string());
    let step = format!("mkdir -p {root}{step}", root = root.display());
    let step = step.replace(" /image", &format!(" {}", root.display()));
    said(project::command("sh").args(["-ec", &step]));
    libraries(&root);
    let home = root.join("var/lib/countersign");
    for place in [&home, &root.join("proc")] {
        fs::create_dir_all(place).expect("a folder");
    }
    said(as_root(&["chown", "8080:8080"]).arg(&home));
    said(as_root(&["chmod", "0700"]).arg(&home));

    // An address of this process alone, at the port that the image has.
    let [a, b, c] = [16, 8, 0].map(|bits| (std::process::id() >> bits).to_le_bytes()[0]);
    let address = format!("127.{}.{b}.{c}", a.wrapping_add(1));
    let init = after("#   docker run --rm").split_once(" init ").expect("how it is begun").1;
    let init = init.replace("0.0.0.0", &address);
    let entry = words(after("ENTRYPOINT "));
    said(inside(&root).args(&entry).arg("init").args(init.split_whitespace()));
    let log = fs::File::create(dir.path().join("log")).expect("a log");
    let mut serve = inside(&root);
    serve.args(&entry).args(words(after("CMD "))).stdin(Stdio::null());
    let mut host = serve.stdout(log.try_clone().expect("a log")).stderr(log).spawn().expect("it starts");

    let (_, check) = after("HEALTHCHECK ").split_once("CMD ").expect("a check");
    let check = words(check.trim()).into_iter().map(|word| word.replace("127.0.0.1", &address));
    let check: Vec<String> = check.collect();
    let give_up = Instant::now() + Duration::from_secs(30);
    let is_healthy = || {
        let mut command = project::command(&check[0]);
        command.args(&check[1..]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    while !is_healthy() {
        let ended = host.try_wait().expect("it can be asked");
        let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        assert!(ended.is_none() && Instant::now() < give_up, "{ended:?}\n{log}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", innermost(host.id()))).expect("a process");
    for line in ["Uid:\t8080\t8080\t8080\t8080", "Gid:\t8080\t8080\t8080\t8080", "CapEff:\t0000000000000000"]
    {
        assert!(status.contains(line), "{status}");
    }
    said(as_root(&["kill", "-s"]).args([after("STOPSIGNAL SIG"), &host.id().to_string()]));
    assert!(host.wait().expect("it ends").success());
    said(as_root(&["rm", "-rf"]).arg(&home));
}

/// Copies what the program and its plugins are linked to. Nothing that is missing is passed over.
fn libraries(root: &Path) {
    let folder = root.join("usr/lib/countersign");
    let files = fs::read_dir(&folder).expect("a folder").map(|file| file.expect("a file").path());
    let needed = said(project::command("ldd").args(files));
    assert!(!needed.contains("not found"), "{needed}");
    let words = needed.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    for library in words.collect::<BTreeSet<_>>() {
        said(project::command("cp").args(["--parents", "--dereference", library]).arg(root));
    }
}

/// What a process has become that was started by `sudo`, or itself.
fn innermost(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().next().and_then(|child| child.parse().ok()).map_or(pid, innermost)
}

/// A command in that root as its user: nothing can be written but its directory, nothing else is there.
fn inside(root: &Path) -> Command {
    const ENTER: &str = "mount --bind \"$0\" \"$0\"; mount --rbind /proc \"$0/proc\"; \
        home=$0/var/lib/countersign; mount --bind \"$home\" \"$home\"; mount -o remount,bind,ro \"$0\"; \
        exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin setpriv --clear-groups \
        unshare --root=\"$0\" --wd=/var/lib/countersign --setgid=8080 --setuid=8080 \"$@\"";
    let mut command = as_root(&["unshare", "--mount", "sh", "-ec", ENTER]);
    command.arg(root);
    command
}

fn as_root(words: &[&str]) -> Command {
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    let all = [if is_root { &[][..] } else { &["sudo"] }, words].concat();
    let mut command = project::command(all[0]);
    command.args(&all[1..]);
    command
}

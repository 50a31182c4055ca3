//! What is installed: the tarball and the Debian package, made of the binaries that the tests run.
use countersign_tests::Artifacts;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
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

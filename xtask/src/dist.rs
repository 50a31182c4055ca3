//! `cargo xtask dist`: what is installed, as a tarball and as a Debian package, with checksums.
//!
//! Both hold one tree, [`tree`], and are the same bytes whenever they are made of the same binaries: sorted, owned by
//! root, and as old as `SOURCE_DATE_EPOCH` says, or the last commit.
use crate::{
    artifacts::{self, Artifacts},
    project::{self, root, run, target_dir, which},
};
use anyhow::{Context, Result, bail};
use std::{
    env,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where `countersign init` finds the plugins: beside the binary.
const LIBRARIES: &str = "lib/countersign";
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/countersign"),
    ("zsh", "share/zsh/site-functions/_countersign"),
    ("fish", "share/fish/vendor_completions.d/countersign.fish"),
];
/// From the workspace, as it is.
const FILES: [(&str, &str); 13] = [
    ("dist/countersign.service", "lib/systemd/system/countersign.service"),
    ("dist/sysusers.conf", "lib/sysusers.d/countersign.conf"),
    ("dist/grafana/countersign.json", "share/doc/countersign/examples/grafana/countersign.json"),
    ("dist/prometheus/alerts.yml", "share/doc/countersign/examples/prometheus/alerts.yml"),
    ("README.md", "share/doc/countersign/README.md"),
    ("CHANGELOG.md", "share/doc/countersign/CHANGELOG.md"),
    ("SECURITY.md", "share/doc/countersign/SECURITY.md"),
    ("LICENSE-MIT", "share/doc/countersign/LICENSE-MIT"),
    ("LICENSE-APACHE", "share/doc/countersign/LICENSE-APACHE"),
    ("examples/proxies/nginx.conf", "share/doc/countersign/examples/proxies/nginx.conf"),
    ("examples/proxies/nginx-one-name.conf", "share/doc/countersign/examples/proxies/nginx-one-name.conf"),
    ("examples/proxies/Caddyfile", "share/doc/countersign/examples/proxies/Caddyfile"),
    ("examples/proxies/traefik.yml", "share/doc/countersign/examples/proxies/traefik.yml"),
];

/// Builds optimised, and packs under `target/dist`.
pub fn command() -> Result<()> {
    let built = artifacts::build(true)?;
    for file in pack(&built, &target_dir()?.join("dist"))? {
        println!("{}", file.display());
    }
    Ok(())
}

/// Packs what was built into a directory, which is made anew. Answers the files.
pub fn pack(built: &Artifacts, out: &Path) -> Result<Vec<PathBuf>> {
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("{} cannot be made anew", out.display()))?;
    }
    let epoch = epoch()?;
    let name = format!("countersign-{VERSION}-{}-linux", env::consts::ARCH);
    let place = out.join(&name);
    tree(built, &place)?;
    let mut files = vec![tarball(&place, &name, &epoch)?];
    if which("dpkg-deb").is_some() {
        files.push(debian(&place, out, &epoch)?);
    } else {
        println!("No Debian package: dpkg-deb is not installed here.");
    }
    fs::remove_dir_all(&place)?;
    let mut sums = project::command("sha256sum");
    sums.current_dir(out).args(files.iter().filter_map(|file| file.file_name()));
    let list = out.join("SHA256SUMS");
    fs::write(&list, said(&mut sums)?)?;
    files.push(list);
    Ok(files)
}

/// What is installed below `/usr` or `/usr/local`.
fn tree(built: &Artifacts, place: &Path) -> Result<()> {
    strip(&built.binary(), &place.join(LIBRARIES).join("countersign"), 0o755)?;
    for plugin in artifacts::plugins()? {
        strip(&built.plugin(&plugin), &place.join(LIBRARIES).join(artifacts::library(&plugin)), 0o644)?;
    }
    fs::create_dir_all(place.join("bin"))?;
    symlink("../lib/countersign/countersign", place.join("bin/countersign"))?;
    for (from, to) in FILES {
        install(&root().join(from), &place.join(to), 0o644)?;
    }
    for (shell, to) in COMPLETIONS {
        let script = said(project::command(built.binary()).args(["completions", shell]))?;
        write(&place.join(to), &script, 0o644)?;
    }
    let manual = place.join("share/man/man1");
    fs::create_dir_all(&manual)?;
    run(project::command(built.binary()).arg("man").arg(&manual).stdout(std::process::Stdio::null()))?;
    // Whatever the umask of who packs.
    modes(place)
}

fn tarball(place: &Path, name: &str, epoch: &str) -> Result<PathBuf> {
    let file = place.with_file_name(format!("{name}.tar.gz"));
    let mut tar = project::command("tar");
    tar.args(["--create", "--format=ustar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.args([&format!("--mtime=@{epoch}"), "--use-compress-program=gzip -n", "--file"]).arg(&file);
    run(tar.arg("--directory").arg(place.parent().unwrap_or(place)).arg(name))?;
    Ok(file)
}

fn debian(place: &Path, out: &Path, epoch: &str) -> Result<PathBuf> {
    let architecture = said(project::command("dpkg").arg("--print-architecture"))?.trim().to_owned();
    // The symbols of the C library are those of the machine that built: no older one has them all.
    let libc = said(project::command("getconf").arg("GNU_LIBC_VERSION"))?;
    let libc =
        libc.trim().strip_prefix("glibc ").context("a Debian package needs the GNU C library")?.to_owned();
    let package = out.join("debian");
    fs::create_dir_all(&package)?;
    fs::rename(place, package.join("usr"))?;
    let control = format!(
        "Package: countersign\nVersion: {VERSION}\nArchitecture: {architecture}\nSection: admin\nPriority: optional\n\
         Depends: libc6 (>= {libc}), libgcc-s1\nMaintainer: {}\n\
         Description: Authentication host with a second factor as a plugin\n \
         Keeps accounts and sessions, answers over HTTP, and loads the second factor, the\n \
         store and the delivery of mail as dynamic libraries.\n",
        maintainer()?
    );
    write(&package.join("DEBIAN/control"), &control, 0o644)?;
    modes(&package)?;
    let file = out.join(format!("countersign_{VERSION}_{architecture}.deb"));
    let mut build = project::command("dpkg-deb");
    build.args(["--root-owner-group", "-Zgzip", "--build"]).arg(&package).arg(&file);
    run(build.env("SOURCE_DATE_EPOCH", epoch).stdout(std::process::Stdio::null()))?;
    fs::rename(package.join("usr"), place)?;
    fs::remove_dir_all(package)?;
    Ok(file)
}

/// Who answers for the package: whoever Debian's own tools would name (debchange(1)), or made the last commit.
fn maintainer() -> Result<String> {
    let named = ["DEBFULLNAME", "DEBEMAIL"].map(|variable| env::var(variable).unwrap_or_default());
    let maintainer = match named.each_ref().map(String::as_str) {
        ["", ""] => {
            let mut git = project::command("git");
            let said = said(git.current_dir(root()).args(["log", "-1", "--format=%an <%ae>"]));
            said.context("set DEBFULLNAME and DEBEMAIL where there is no git")?
        }
        [name, email] => format!("{name} <{email}>"),
    };
    let maintainer = maintainer.trim();
    let parts = maintainer.split_once(" <").filter(|(name, email)| !name.is_empty() && email.contains('@'));
    if parts.is_none() || maintainer.contains('\n') {
        bail!("the maintainer would be {maintainer:?}; set both DEBFULLNAME and DEBEMAIL");
    }
    Ok(maintainer.to_owned())
}

/// The time that all files get.
fn epoch() -> Result<String> {
    match env::var("SOURCE_DATE_EPOCH") {
        Ok(epoch) if epoch.bytes().all(|byte| byte.is_ascii_digit()) && !epoch.is_empty() => Ok(epoch),
        Ok(epoch) => bail!("SOURCE_DATE_EPOCH is {epoch:?}, and should be seconds since 1970"),
        Err(_) => {
            let mut git = project::command("git");
            let said = said(git.current_dir(root()).args(["log", "-1", "--format=%ct"]));
            Ok(said.context("set SOURCE_DATE_EPOCH where there is no git")?.trim().to_owned())
        }
    }
}

fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let bytes = fs::read(from).with_context(|| from.display().to_string())?;
    write(to, bytes, mode)
}

/// Without what only a debugger reads.
fn strip(from: &Path, to: &Path, mode: u32) -> Result<()> {
    write(to, "", mode)?;
    run(project::command("strip").arg("--strip-debug").arg("-o").arg(to).arg(from))?;
    Ok(fs::set_permissions(to, Permissions::from_mode(mode))?)
}

fn write(file: &Path, bytes: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
    fs::write(file, bytes)?;
    Ok(fs::set_permissions(file, Permissions::from_mode(mode))?)
}

/// Folders and manual pages are for everybody to read.
fn modes(place: &Path) -> Result<()> {
    fs::set_permissions(place, Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(place)? {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        let kind = entry?;
        if kind.is_dir() {
            modes(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "1") {
            fs::set_permissions(&path, Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| project::shown(command))?;
    if !output.status.success() {
        bail!("{}: {}", project::shown(command), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8(output.stdout)?)
}

//! Tools that know nothing of our code.
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};
use xtask::project;

/// A program from outside.
pub(crate) fn command(program: &str) -> Command {
    assert!(project::which(program).is_some(), "{program} is not installed; `cargo xtask test` installs it");
    project::command(program)
}

/// What `oathtool` says is the code of a base32 secret at a Unix time: another RFC 6238 than ours.
pub fn oathtool(secret: &str, unix: u64) -> String {
    let mut oathtool = command("oathtool");
    said(oathtool.args(["--totp", "--base32", "--now", &format!("@{unix}"), secret]))
}

/// What a QR decoder reads from an SVG.
pub fn scan_qr(svg: &str) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let (svg_file, png_file) = (dir.path().join("qr.svg"), dir.path().join("qr.png"));
    fs::write(&svg_file, svg).expect("a file");
    said(
        command("rsvg-convert")
            .args(["--width", "600", "--background-color", "white", "--output"])
            .args([&png_file, &svg_file]),
    );
    scan_picture(&png_file)
}

/// What a QR decoder reads from a picture.
pub fn scan_picture(png: &Path) -> String {
    let only_qr = ["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable"];
    said(command("zbarimg").args(only_qr).arg(png))
}

/// What SQLite's own shell answers to a statement, on a database that may be in use.
pub fn sqlite3(database: &Path, statement: &str) -> String {
    said(command("sqlite3").arg(database).arg(statement))
}

/// What somebody sees who runs that at a terminal: all that it writes, as it writes it.
pub fn at_terminal(run: &Command) -> String {
    let mut python = command("python3");
    python
        .args(["-c", "import pty, sys; pty.spawn(sys.argv[1:])"])
        .arg(run.get_program())
        .args(run.get_args());
    run.get_current_dir().into_iter().for_each(|dir| _ = python.current_dir(dir));
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => python.env(name, value),
            None => python.env_remove(name),
        };
    }
    said(&mut python)
}

fn said(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("a tool starts");
    let complaint = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{} failed: {complaint}", project::shown(command));
    String::from_utf8(stdout).expect("a tool answers text").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oathtool_knows_the_vectors_of_rfc_6238() {
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        assert_eq!(oathtool(secret, 59), "287082");
        assert_eq!(oathtool(secret, 1_111_111_109), "081804");
    }

    #[test]
    fn the_kits_authenticator_agrees_with_oathtool() {
        let secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
        for unix in (1_800_000_000..).step_by(7_919).take(20) {
            assert_eq!(xtask::totp::code(secret, unix).expect("a code"), oathtool(secret, unix), "at {unix}");
        }
    }
}

//! The road of a plugin's author: what `plugin new` makes, what `plugin check` says, and every step and program of
//! docs/writing-a-plugin.md.
use countersign_tests::{Artifacts, Site, example, fixture};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;
use xtask::project::{self, cargo, root, shown, target_dir, which};

/// Where the page's host listens.
const ADDRESS: &str = "127.0.0.1:8080";

fn page() -> String {
    fs::read_to_string(root().join("docs/writing-a-plugin.md")).expect("the page")
}

/// Fenced blocks: what follows the fence, and the text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let fences: Vec<&str> = page.split("\n```").collect();
    let inside = fences.iter().skip(1).step_by(2);
    let blocks: Vec<_> = inside.filter_map(|block| block.split_once('\n')).collect();
    assert!(blocks.len() > 8, "the blocks are not where they are looked for");
    blocks.into_iter().map(|(info, text)| (info.to_owned(), format!("{text}\n"))).collect()
}

/// Builds a project as its author would, from what is on this machine; what many projects have in common is built
/// once.
fn author(mut command: Command, dir: &Path) -> Command {
    let built = target_dir().expect("a target directory");
    command.current_dir(dir).stdin(Stdio::null());
    command.env("CARGO_BUILD_BUILD_DIR", built).env_remove("CARGO_TARGET_DIR");
    command
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    command
}

#[track_caller]
fn succeeds(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", shown(&command)));
    assert!(output.status.success(), "{}\n{}", shown(&command), said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn countersign<S: AsRef<OsStr>>(dir: &Path, words: impl IntoIterator<Item = S>) -> Command {
    let mut command = project::command(Artifacts::get().binary());
    command.current_dir(dir).stdin(Stdio::null()).args(words);
    command
}

/// `plugin check` of a library, its exit status and its report.
fn check(library: &Path, values: &[&str]) -> (Option<i32>, Value, String) {
    let mut command = countersign(Path::new("/"), ["plugin", "check", "--json"]);
    let output = command.arg(library).args(values.iter().flat_map(|value| ["--set", value])).output();
    let output = output.expect("the binary starts");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), report, said(&output))
}

fn broken(report: &Value) -> Vec<String> {
    let sections = report["registered"].as_array().cloned().unwrap_or_default();
    let clauses =
        sections.iter().flat_map(|section| section["clauses"].as_array().cloned().unwrap_or_default());
    clauses.filter(|clause| clause["holds"] == false).map(|clause| clause["clause"].to_string()).collect()
}

/// A project of that kind against the interface of this checkout.
fn new_project(kind: &str, name: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("project");
    let mut new = countersign(dir.path(), ["plugin", "new", kind, name, "--path", "project", "--api"]);
    new.arg(root().join("plugin-api"));
    succeeds(new);
    (dir, path)
}

/// Builds, tests and lints a project, and answers its library.
fn build(dir: &Path, library: &str) -> PathBuf {
    for words in [&["clippy", "--all-targets", "--", "-D", "warnings"][..], &["test"], &["build"]] {
        let mut command = author(cargo(), dir);
        command.args(words);
        succeeds(command);
    }
    dir.join("target/debug").join(library)
}

#[test]
fn what_is_made_builds_passes_and_installs() {
    for (kind, library, values, table) in [
        (
            "delivery",
            "libdelivery_own.so",
            &["directory=out"][..],
            "\n[delivery]\nuse = \"own\"\n[delivery.own]\ndirectory = \"out\"\n",
        ),
        ("store", "libstore_own.so", &["volatile=true"], "\n[store.own]\nvolatile = true\n"),
        ("routes", "libplugin_own.so", &[], ""),
    ] {
        let (dir, path) = new_project(kind, "own");
        let mut fmt = author(cargo(), &path);
        fmt.args(["fmt", "--check"]);
        succeeds(fmt);
        let library = build(&path, library);
        let values: Vec<String> =
            values.iter().map(|v| v.replace("out", &dir.path().join("out").to_string_lossy())).collect();
        let (status, report, said) = check(&library, &values.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((status, broken(&report)), (Some(0), vec![]), "{kind}: {said}");
        assert!(report["holds"].as_u64().is_some_and(|held| held >= 4), "{report}");

        let site = Site::new();
        succeeds(countersign(site.dir(), [OsStr::new("plugin"), OsStr::new("install"), library.as_os_str()]));
        let mut config = fs::read_to_string(site.config()).expect("a configuration");
        if kind == "store" {
            config = config.replace("use = \"sqlite\"", "use = \"own\"");
        }
        fs::write(site.config(), config + table).expect("written");
        succeeds(countersign(site.dir(), ["config", "check", "--dev"]));
    }
}

#[test]
fn a_project_is_not_made_over_another() {
    let (dir, path) = new_project("routes", "notes");
    let mut again = countersign(dir.path(), ["plugin", "new", "routes", "notes", "--path"]);
    let output = again.arg(&path).output().expect("the binary starts");
    assert!(
        !output.status.success() && said(&output).contains("nothing is overwritten"),
        "{}",
        said(&output)
    );
    for words in [
        &["plugin", "new", "delivery", "Pigeon"][..],
        &["plugin", "new", "routes", "admin"],
        &["plugin", "new", "store", "x", "--api", "/"],
        &["plugin", "new", "pigeon"],
    ] {
        let output = countersign(dir.path(), words).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
    }
}

#[test]
fn our_own_plugins_keep_every_clause() {
    let artifacts = Artifacts::get();
    let dir = tempfile::tempdir().expect("a directory");
    let path = format!("path={}", dir.path().join("kit.db").display());
    for (plugin, values) in [
        ("plugin-mfa", &["issuer=Kit"][..]),
        ("store-memory", &["volatile=true"]),
        ("store-sqlite", &[path.as_str()]),
        ("delivery-smtp", &["url=smtp://127.0.0.1:9", "from=kit@example.org"]),
        ("delivery-log", &[]),
    ] {
        let (status, report, said) = check(&artifacts.plugin(plugin), values);
        assert_eq!((status, broken(&report)), (Some(0), vec![]), "{plugin}: {said}");
        let survives = "\"clause\":\"acknowledged_writes_survive_reopening\",\"holds\":true";
        assert_eq!(report.to_string().contains(survives), plugin == "store-sqlite", "{report}");
    }
}

#[test]
fn what_does_not_hold_is_named() {
    let (status, report, said) = check(&fixture("store-faulty"), &["fault=conflicts"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(broken(&report).iter().any(|clause| clause.contains("any_expects_nothing")), "{report}");
    let (status, report, said) = check(&fixture("panics-in-handler"), &[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(broken(&report).iter().any(|clause| clause.contains("no_panic")), "{report}");
    assert!(said.contains("panic at"), "{said}");
    for (name, cause) in [
        ("not-a-plugin", "no manifest"),
        ("wrong-layout", "does not fit this host"),
        ("panic-abort", "panic = "),
        ("panics-in-register", "panicked while registering"),
        ("registers-twice", "registered twice"),
    ] {
        let (status, _, said) = check(&fixture(name), &[]);
        assert!(status == Some(1) && said.contains(cause), "{name}: {said}");
    }
    // A table that is refused says where it is given.
    let (status, _, said) = check(&example("hello-delivery"), &[]);
    assert!(status == Some(1) && said.contains("prefix") && said.contains("--set"), "{said}");
    let (status, _, said) = check(&example("hello-delivery"), &["prefix"]);
    assert!(status == Some(2) && said.contains("KEY=VALUE"), "{said}");
}

#[test]
fn a_host_in_the_working_directory_lends_no_table() {
    // Else the kit would write into the store of whoever stands there.
    let site = Site::new();
    let library = Artifacts::get().plugin("store-sqlite");
    let words = [OsStr::new("plugin"), OsStr::new("check"), library.as_os_str()];
    let output = countersign(site.dir(), words).output().expect("the binary starts");
    assert!(!output.status.success() && said(&output).contains("path"), "{}", said(&output));
    assert!(!site.path("data/countersign.db").exists());
    let named = words.into_iter().chain([OsStr::new("--config"), OsStr::new("countersign.toml")]);
    succeeds(countersign(site.dir(), named));
    assert!(site.path("data/countersign.db").exists());
}

#[test]
fn every_program_on_the_page_builds_and_keeps_its_clauses() {
    let mut programs: BTreeMap<String, String> = BTreeMap::new();
    for (info, text) in blocks(&page()) {
        match info.split(' ').collect::<Vec<_>>()[..] {
            ["rust", "excerpt", kind] => {
                let made = fs::read_to_string(root().join(format!("host/src/cli/scaffold/{kind}.rs.in")));
                assert!(
                    made.expect("a template").contains(&text),
                    "the {kind} project has no such part:\n{text}"
                );
            }
            ["rust", kind, name] => *programs.entry(format!("{kind} {name}")).or_default() += &text,
            ["rust", ..] => panic!("```{info} is nothing that is compiled"),
            _ => {}
        }
    }
    assert_eq!(programs.keys().collect::<Vec<_>>(), ["delivery socket", "routes doorman"]);
    for (program, text) in programs {
        let (kind, name) = program.split_once(' ').expect("two words");
        let (dir, path) = new_project(kind, name);
        fs::write(path.join("src/lib.rs"), text).expect("written");
        let package = if kind == "routes" { format!("plugin_{name}") } else { format!("{kind}_{name}") };
        let library = build(&path, &format!("lib{package}.so"));
        let socket = format!("path={}", dir.path().join("socket").display());
        let values: &[&str] = if kind == "delivery" { &[&socket, "token=x"] } else { &[] };
        let (status, report, said) = check(&library, values);
        assert_eq!((status, broken(&report)), (Some(0), vec![]), "{program}: {said}");
    }
}

#[test]
fn the_steps_give_a_working_delivery() {
    assert!(which("curl").is_some(), "curl is not installed");
    let dir = tempfile::tempdir().expect("a directory");
    let site = Site::new();
    let address = site.address().to_string();
    let steps: Vec<String> =
        blocks(&page()).into_iter().filter(|(info, _)| info == "sh steps").map(|(_, text)| text).collect();
    assert!(steps.len() >= 4);
    // It has an address of its own, and no time for the optimiser.
    let typed = steps.concat().replace(ADDRESS, &address);
    let typed = typed.replace("countersign init auth", &format!("countersign init auth --listen {address}"));
    let typed = typed.replace(" --release", "").replace("target/release/", "target/debug/");
    let script = format!("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{typed}");
    let path = std::env::join_paths(
        std::iter::once(Artifacts::get().dir().to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut bash = author(project::command("bash"), dir.path());
    bash.args(["-c", &script]).env("PATH", path.expect("a path"));
    let output = succeeds(bash);
    assert!(output.contains("any_number_are_sent_at_once"), "{output}");
    assert!(output.contains("To: ann@example.org") && output.contains("token="), "{output}");
}

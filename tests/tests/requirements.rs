//! `docs/requirements.md`: every requirement has a row, and every test that a row names is there and is run. The rows of
//! `docs/threat-model.md` likewise, and `docs/trusted-code.md` speaks of every crate that it has to.
use serde_json::Value;
use std::{collections::BTreeSet, fs};
use xtask::project::{cargo, root};

/// What sections A to I require.
const REQUIRED: [u32; 36] = [
    1, 3, 4, 6, 7, 8, 9, 10, 11, 14, 15, 16, 19, 20, 22, 23, 24, 26, 27, 28, 29, 31, 32, 33, 34, 35, 37, 39,
    40, 41, 43, 44, 45, 46, 47, 48,
];

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Whether a file has a test of that name: a function with the attribute just above it.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_named = |line: &str| {
        let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        rest.is_some_and(|rest| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')))
    };
    lines
        .windows(2)
        .any(|two| is_named(two[1]) && (two[0] == "#[test]" || two[0].starts_with("#[tokio::test")))
}

/// How many tests a row names, all of which there are.
#[track_caller]
fn tests_named(line: &str) -> usize {
    let (mut file, mut tests) = (String::new(), 0);
    for span in line.split('`').skip(1).step_by(2) {
        if span.strip_suffix(".rs").is_some() {
            file = read(span);
        } else if !file.is_empty() && span.matches('_').count() >= 2 {
            assert!(has_test(&file, span), "`{span}` is no test of its file: {line}");
            tests += 1;
        }
    }
    tests
}

#[test]
fn the_threat_model_names_tests_that_exist() {
    let page = read("docs/threat-model.md");
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains(".rs`"));
    let tests: Vec<usize> = rows.map(tests_named).collect();
    assert!(tests.len() > 20 && !tests.contains(&0), "{tests:?}");
}

#[test]
fn every_requirement_names_tests_that_exist() {
    let page = read("docs/requirements.md");
    let mut rows = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| R")) {
        let number: u32 =
            line[3..].split(' ').next().and_then(|digits| digits.parse().ok()).expect("a number");
        assert!(rows.insert(number), "R{number} stands there twice");
        let tests = tests_named(line);
        assert!(tests > 0 && line.matches(" | ").count() == 3, "R{number} names no test");
    }
    assert_eq!(rows, BTreeSet::from(REQUIRED));
}

/// A crate from outside: its name, its licences, whether this workspace asks for it itself, and the kinds of its targets.
type Crate = (String, String, bool, BTreeSet<String>);

/// What comes from outside.
fn crates_of_others() -> Vec<Crate> {
    let words =
        ["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"];
    let output = cargo().args(words).current_dir(root()).output().expect("cargo describes the workspace");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nodes = list(&metadata["resolve"]["nodes"]);
    let built: BTreeSet<String> = nodes.iter().map(|node| text(&node["id"])).collect();
    let (theirs, ours): (Vec<Value>, Vec<Value>) =
        list(&metadata["packages"]).into_iter().partition(|package| !package["source"].is_null());
    let wanted: BTreeSet<String> = ours
        .iter()
        .flat_map(|package| list(&package["dependencies"]))
        .map(|asked| text(&asked["name"]))
        .collect();
    let built = theirs.iter().filter(|package| built.contains(&text(&package["id"])));
    built
        .map(|package| {
            let name = text(&package["name"]);
            let targets = list(&package["targets"]);
            let kinds =
                targets.iter().flat_map(|target| list(&target["kind"])).map(|kind| text(&kind)).collect();
            let asked = wanted.contains(&name);
            (name, text(&package["license"]).replace('/', " OR "), asked, kinds)
        })
        .collect()
}

#[test]
fn all_the_code_that_is_trusted_is_said_to_be() {
    let page = read("docs/trusted-code.md");
    // The first cells of the rows below a heading, without their backticks.
    let rows = |heading: &str| -> Vec<(String, String)> {
        let below = page.split("\n## ").find_map(|part| part.strip_prefix(heading)).expect(heading);
        let rows = below.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        rows.map(|(name, rest)| (name.to_owned(), rest.split(" |").next().unwrap_or_default().to_owned()))
            .collect()
    };
    let names =
        |rows: &[(String, String)]| rows.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
    let crates = crates_of_others();
    let those = |is: &dyn Fn(&Crate) -> bool| {
        crates.iter().filter(|one| is(one)).map(|one| one.0.clone()).collect::<BTreeSet<_>>()
    };
    let mut direct = rows("In the host and its plugins");
    direct.extend(rows("In tests, tools and examples"));
    assert_eq!(names(&direct), those(&|one| one.2), "the crates that are asked for");
    for (name, licence) in &direct {
        let has = |one: &&Crate| one.0 == *name && one.1 == *licence;
        assert!(crates.iter().any(|one| has(&one)), "{name} is not under {licence}");
    }
    let of_kind = |kind: &str| those(&|one| one.3.contains(kind));
    assert_eq!(names(&rows("Build scripts")), of_kind("custom-build"), "what runs when something is built");
    assert_eq!(names(&rows("Macros")), of_kind("proc-macro"), "what runs in the compiler");
}

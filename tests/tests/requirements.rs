//! `docs/requirements.md`: every requirement has a row, and every test that a row names is there and is run. The rows of
//! `docs/threat-model.md` likewise.
use std::{collections::BTreeSet, fs};
use xtask::project::root;

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

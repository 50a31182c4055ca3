//! What users read: the help of every command, word for word, in `tests/golden/cli`. `BLESS=1` writes down what
//! it is now.
use super::Cli;
use clap::{Command, CommandFactory, Parser};
use std::{collections::BTreeMap, fs, path::Path};

/// The help of a command and of all below it, by file name.
fn helps(command: &mut Command, path: &str, all: &mut BTreeMap<String, String>) {
    all.insert(format!("{path}.txt"), format!("{}\n", command.render_long_help().to_string().trim_end()));
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names.iter().filter(|name| *name != "help") {
        let sub = command.find_subcommand_mut(name).expect("it is listed");
        helps(sub, &format!("{path}-{name}"), all);
    }
}

fn all() -> BTreeMap<String, String> {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut all = BTreeMap::new();
    helps(&mut command, "countersign", &mut all);
    all
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_help_is_as_it_was_agreed() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/cli");
    let helps = all();
    assert!(helps.len() > 20, "{:?}", helps.keys());
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(&golden).expect("the golden files");
        for (file, help) in &helps {
            fs::write(golden.join(file), help).expect("the golden files");
        }
    }
    let files = fs::read_dir(&golden).expect("the golden files").map(|entry| entry.expect("one").file_name());
    let files: Vec<String> = files.map(|name| name.to_string_lossy().into_owned()).collect();
    let gone: Vec<&String> = files.iter().filter(|file| !helps.contains_key(*file)).collect();
    assert!(gone.is_empty(), "commands that are no more: {gone:?}");
    for (file, help) in &helps {
        let expected = fs::read_to_string(golden.join(file)).unwrap_or_default();
        assert_eq!(&expected, help, "{file}");
    }
}

#[test]
fn every_help_teaches() {
    for (file, help) in all() {
        let purpose = help.lines().next().unwrap_or_default();
        assert!(purpose.split(' ').count() > 2, "{file}: {purpose}");
        let is_group = help.contains("\nCommands:\n") && file != "countersign.txt";
        assert!(is_group || help.contains("\nExample"), "{file} has no example");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{file} is too wide");
    }
}

#[test]
fn options_are_taken_before_and_after_the_command() {
    for line in
        ["countersign --config x.toml --json user list", "countersign user list --json --config x.toml"]
    {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"));
        assert!(cli.json && cli.config == Path::new("x.toml"), "{line}");
    }
    for wrong in [
        "countersign",
        "countersign keys",
        "countersign keys retire",
        "countersign serve x",
        "countersign users",
    ] {
        let refused = Cli::try_parse_from(wrong.split(' ')).err().expect(wrong);
        assert_eq!(refused.exit_code(), 2, "{wrong}");
    }
}

//! What the documentation tells people to type is run, page by page, and answers as it says.
//!
//! | fence | what becomes of it |
//! |---|---|
//! | `sh walk` | all of a page are one script, in an empty directory, with an address of its own |
//! | `json answer` | the last line that the block before it printed: the same form, and the same values where they do not vary |
//! | `text answer` | all that it printed; `…` stands for anything in a line |
//! | `sh each` | each line is a command of its own, beside a host that runs; one that follows is ended after a while |
//! | `toml` | settings of a host that starts |
//! | `toml texts` | of a translation: the same keys as the English texts |
use countersign_tests::{
    Artifacts, Host, Site, fixture,
    markdown::{Block, blocks, pages, read},
};
use serde_json::{Map, Value};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Output, Stdio},
    thread::sleep,
    time::Duration,
};
use toml_edit::DocumentMut;
use xtask::project::{self, which};

/// Where the pages' hosts listen.
const ADDRESS: &str = "127.0.0.1:8080";
/// The pages that show settings of a host, each block on its own.
const WITH_SETTINGS: [&str; 6] = [
    "README.md",
    "docs/operating.md",
    "docs/faq.md",
    "docs/metrics.md",
    "docs/pages.md",
    "docs/mail-templates.md",
];

#[test]
fn the_ways_can_be_gone() {
    for tool in ["bash", "curl", "oathtool", "sqlite3"] {
        assert!(which(tool).is_some(), "{tool} is not installed");
    }
    let mut walks = 0;
    for page in pages() {
        let blocks = blocks(&read(&page));
        if blocks.iter().any(|block| block.info == "sh walk") {
            walks += 1;
            go(&page, &blocks);
        }
    }
    assert!(walks >= 2, "the ways are not where they are looked for");
}

fn go(page: &Path, blocks: &[Block]) {
    // A directory and an address of its own, and nothing else of it.
    let site = Site::new();
    let walk = site.path("walk");
    fs::create_dir(&walk).expect("a directory");
    let address = site.address().to_string();
    let printed = |at: usize| site.path(&format!("{at}.out"));

    let mut script = String::from("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n");
    let mut answers = Vec::new();
    let mut last = 0;
    for (at, block) in blocks.iter().enumerate() {
        match block.info.as_str() {
            "sh walk" => {
                // It tells the host where to listen, which the page leaves at the default.
                let text = block.text.replace(ADDRESS, &address);
                let text = text.replace("countersign init", &format!("countersign init --listen {address}"));
                script.extend([&format!("exec >'{}'\n", printed(at).display()), text.as_str()]);
                last = at;
            }
            "json answer" | "text answer" => answers.push((last, block)),
            _ => {}
        }
    }
    let path = std::env::join_paths(
        std::iter::once(Artifacts::get().dir().to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut bash = project::command("bash");
    bash.args(["-c", &script]).current_dir(&walk).env("PATH", path.expect("a path")).stdin(Stdio::null());
    let output = bash.output().expect("bash starts");
    let page = page.display();
    assert!(output.status.success(), "{page}\n{}\n{script}", said(&output));

    for (at, block) in answers {
        let out = fs::read_to_string(printed(at)).expect("an output");
        let out = out.replace(&address, ADDRESS).replace(&walk.display().to_string(), ".");
        if block.info == "text answer" {
            let (shown, said): (Vec<&str>, Vec<&str>) = (block.text.lines().collect(), out.lines().collect());
            let is_alike = shown.len() == said.len() && shown.iter().zip(&said).all(|(s, a)| covers(s, a));
            assert!(is_alike, "{page} shows another answer\nshown\n{}\nanswer\n{out}", block.text);
            continue;
        }
        let answer =
            out.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null);
        let shown: Value = serde_json::from_str(&block.text).expect("JSON");
        if let Err(difference) = alike("", &shown, &answer) {
            panic!("{page} shows another answer{difference}\nshown  {shown}\nanswer {answer}");
        }
    }
}

/// Whether a line is what is shown, where `…` stands for anything.
fn covers(shown: &str, line: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Whether an answer has the form that is shown, and its values where they do not differ from run to run.
fn alike(at: &str, shown: &Value, answer: &Value) -> Result<(), String> {
    let varies = at.ends_with("id")
        || at.ends_with("_at")
        || at.ends_with("challenge")
        || at.contains("recovery_codes");
    let different = || Err(format!(" at {at}: {shown}, {answer}"));
    match (shown, answer) {
        (Value::Object(shown), Value::Object(answer)) => {
            let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<BTreeSet<_>>();
            if keys(shown) != keys(answer) {
                return Err(format!(" at {at}: {:?}, {:?}", keys(shown), keys(answer)));
            }
            shown.iter().try_for_each(|(key, value)| alike(&format!("{at}.{key}"), value, &answer[key]))
        }
        (Value::Array(_), Value::Array(answer)) if varies && !answer.is_empty() => Ok(()),
        (Value::String(_), Value::String(_)) if varies => Ok(()),
        _ if shown == answer => Ok(()),
        _ => different(),
    }
}

#[test]
fn each_command_can_be_given() {
    let host = Host::start();
    host.user_fixture("ann@example.org");
    fs::copy(Artifacts::get().plugin("plugin-mfa"), host.site().path("libmy_plugin.so")).expect("a library");
    let mut given = 0;
    for page in pages() {
        for block in blocks(&read(&page)).iter().filter(|block| block.info == "sh each") {
            for line in block.text.lines() {
                given += 1;
                let words: Vec<&str> = line.split_whitespace().collect();
                let ["countersign", words @ ..] = &words[..] else { panic!("{line}") };
                let mut child = host.site().command(words);
                let mut child =
                    child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
                if words.contains(&"--follow") {
                    sleep(Duration::from_secs(1));
                    assert_eq!(child.try_wait().expect("it can be asked"), None, "{line}: it follows");
                    child.kill().expect("it can be ended");
                }
                let output = child.wait_with_output().expect("it ends");
                let ended = output.status.success() || words.contains(&"--follow");
                assert!(ended, "{}: {line}\n{}", page.display(), said(&output));
            }
        }
    }
    assert!(given >= 4, "the commands are not where they are looked for");
}

#[test]
fn the_texts_shown_are_texts() {
    let english: DocumentMut = read("host/src/pages/built-in/en.toml").parse().expect("TOML");
    let page = blocks(&read("docs/pages.md"));
    let shown = page.iter().find(|block| block.info == "toml texts").expect("texts");
    let shown: DocumentMut = shown.text.parse().expect("TOML");
    for (table, texts) in shown.iter() {
        for (key, _) in texts.as_table().expect("a table") {
            assert!(english[table].get(key).is_some(), "{table}.{key}");
        }
    }
}

#[test]
fn the_settings_shown_are_accepted() {
    for page in WITH_SETTINGS {
        let blocks = blocks(&read(page));
        let tables: Vec<&Block> = blocks.iter().filter(|block| block.info == "toml").collect();
        assert!(!tables.is_empty(), "{page} shows no settings");
        for block in tables {
            let shown: DocumentMut = block.text.parse().expect("TOML");
            let site = Site::new();
            if block.text.contains("[delivery.stderr]") {
                site.add_plugin(&fixture("hello-delivery"));
            }
            fs::write(site.path("smtp-password"), "correct horse\n").expect("a file");
            fs::write(site.path("logo.svg"), "<svg xmlns='http://www.w3.org/2000/svg'/>").expect("a file");
            for folder in ["pages", "mails"] {
                fs::create_dir(site.path(folder)).expect("a folder");
            }
            site.edit(|config| {
                // Where it listens is the test's.
                for (key, value) in shown.iter().filter(|(key, _)| *key != "listen") {
                    config[key] = value.clone();
                }
            });
            let output = site.run(&["config", "check"]);
            assert!(output.status.success(), "{page}\n{}\n{}", block.text, said(&output));
            if !block.text.contains("https://") {
                drop(site.start());
            }
        }
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

//! The documentation is true: what it links to and names exists, and the programs that it shows are those that are
//! compiled. What it tells people to type is run by `docs_run.rs`.
use countersign_tests::{
    Artifacts,
    markdown::{Block, anchors, blocks, pages, read},
};
use std::{collections::BTreeSet, fs, path::Path, process::Output};
use xtask::project::{self, cargo, root};

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = read(&page);
        let targets =
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = page.parent().expect("a page lies in a folder");
            let there = if file.is_empty() { page.clone() } else { folder.join(file) };
            assert!(root().join(&there).exists(), "{} links to {target}", page.display());
            let is_there = anchor.is_empty() || anchors(&read(&there)).contains(anchor);
            assert!(is_there, "{} links to {target}, and there is no such heading", page.display());
        }
    }
}

#[test]
fn what_the_architecture_names_exists() {
    let page = read("ARCHITECTURE.md");
    let paths: BTreeSet<&str> = code_spans(&page).filter(|span| is_path(span)).collect();
    assert!(paths.len() > 50, "the page names hardly any file");
    for path in paths {
        assert!(root().join(path).exists(), "ARCHITECTURE.md names {path}");
    }
    let mut items = 0;
    for row in page.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        // A file, and beside it nothing but what it defines.
        for cells in cells.windows(2) {
            let Some(file) = code(cells[0]).filter(|file| Path::new(file).extension().is_some()) else {
                continue;
            };
            let named: Option<Vec<&str>> = cells[1].split(", ").map(code).collect();
            for item in named.unwrap_or_default() {
                items += 1;
                assert!(defines(&read(file), item), "{file} has no `{item}`, as ARCHITECTURE.md says");
            }
        }
    }
    assert!(items > 25, "the tables are not where they are looked for");
}

/// The page of events has a row for every name that the sources record, and no other.
#[test]
fn the_audit_page_tells_of_every_event() {
    let page = read("docs/audit.md");
    let told: BTreeSet<String> = page
        .lines()
        .skip_while(|line| !line.starts_with("## Events of the host"))
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect();
    let mut recorded = BTreeSet::new();
    for (folder, prefix) in [("host/src", ""), ("plugin-mfa/src", "mfa.")] {
        for source in sources(&root().join(folder)) {
            recorded.extend(event_names(&source).map(|name| format!("{prefix}{name}")));
        }
    }
    assert!(recorded.len() > 30, "the events are not where they are looked for: {recorded:?}");
    assert_eq!(told, recorded);
}

/// What a folder's files say outside of their tests.
fn sources(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("a file").path();
        let is_test = path.file_stem().is_some_and(|name| name.to_string_lossy().contains("tests"));
        if is_test {
            continue;
        }
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            all.push(text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned());
        }
    }
    all
}

/// The names of events in a source: what stands first in a call that makes one, and what the functions that name the
/// results of a method answer.
fn event_names(source: &str) -> impl Iterator<Item = &str> {
    let called = ["Event::success(", "Event::failure(", "event(", "failure("];
    let called = called.into_iter().flat_map(|call| {
        source.split(call).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')?.split_once('"'))
    });
    let named = ["fn verified(", "fn refused(method", "let (event, why) = match"].into_iter();
    let named = named.filter_map(|start| Some(source.split_once(start)?.1.split_once("\n}")?.0));
    let named = named.flat_map(|body| body.split('"').skip(1).step_by(2)).filter(|text| text.contains('.'));
    called.map(|(name, _)| name).chain(named.filter(|name| !name.contains([':', ' '])))
}

#[test]
fn the_plugin_shown_is_the_one_that_is_compiled() {
    let front = read("plugin-api/src/lib.rs");
    let comment = front.lines().map_while(|line| line.strip_prefix("//!"));
    let comment: Vec<&str> = comment.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let tested =
        blocks(&comment.join("\n")).into_iter().find(|block| block.info == "no_run").expect("a doctest");
    // What a doctest hides starts with `# `.
    let shown: Vec<&str> = tested.text.lines().filter(|line| !line.starts_with("# ")).collect();
    let readme = blocks(&read("README.md"));
    let programs: Vec<&Block> = readme.iter().filter(|block| block.info == "rust").collect();
    assert_eq!(programs.len(), 1);
    assert_eq!(programs[0].text.trim_end(), shown.join("\n"));
    assert_eq!(programs[0].text, read("examples/hello-delivery/src/lib.rs"));
}

#[test]
fn the_application_shown_is_the_one_that_is_run() {
    let source = read("examples/embed-axum/src/main.rs");
    let parts = source.split("// README: ").skip(1).filter(|part| !part.starts_with("end"));
    let parts: Vec<String> = parts.map(|part| dedented(part.split_once('\n').expect("a line").1)).collect();
    let readme = blocks(&read("README.md"));
    let shown: Vec<&str> =
        readme.iter().filter(|block| block.info == "rust embed").map(|block| block.text.trim_end()).collect();
    assert_eq!(shown, parts);
    let lines = parts.iter().flat_map(|part| part.lines()).count();
    assert!(lines < 30, "it takes {lines} lines");
}

/// Lines without the indentation of the first.
fn dedented(text: &str) -> String {
    let indent = text.len() - text.trim_start_matches(' ').len();
    let lines: Vec<&str> =
        text.trim_end().lines().map(|line| line.get(indent..).unwrap_or_default()).collect();
    lines.join("\n")
}

#[test]
fn commands_that_are_mentioned_exist() {
    let mut mentioned = BTreeSet::new();
    for page in pages() {
        let text = read(&page);
        let shell = blocks(&text).into_iter().filter(|block| block.info.starts_with("sh"));
        let lines: Vec<String> =
            shell.flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let spans = code_spans(&text).map(str::to_owned);
        mentioned.extend(spans.chain(lines).filter_map(|text| command_words(&text)));
    }
    let ours = mentioned.iter().filter(|words| words[0] == "countersign").count();
    assert!(
        ours >= 8 && mentioned.len() >= ours + 4,
        "the commands are not where they are looked for: {mentioned:?}"
    );
    for words in mentioned {
        let mut command = match words[0].as_str() {
            "countersign" => project::command(Artifacts::get().binary()),
            _ => {
                let mut xtask = cargo();
                xtask.args(["run", "--quiet", "--package", "xtask", "--"]);
                xtask
            }
        };
        let output = command.args(&words[1..]).arg("--help").output().expect("it starts");
        let help = said(&output);
        // Help for a command that there is not is the help of what stands above it, or an error.
        // The last words may be arguments that look like words: what is no command is then an error.
        let usage = |words: &[String]| format!("Usage: {}", words.join(" ").replace("xtask", "cargo xtask"));
        let is_told = (2..=words.len()).any(|count| help.contains(&usage(&words[..count])));
        assert!(output.status.success() && is_told, "{words:?} is mentioned\n{help}");
    }
}

/// What stands between backticks, outside of fences.
fn code_spans(page: &str) -> impl Iterator<Item = &str> {
    page.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2))
}

/// What a text is that is all code.
fn code(text: &str) -> Option<&str> {
    text.strip_prefix('`')?.strip_suffix('`').filter(|code| !code.contains('`'))
}

/// `host/src/api.rs`, `host/src/auth/`: a path from the root.
fn is_path(span: &str) -> bool {
    const TOPS: [&str; 9] = [
        "plugin-api/",
        "host/",
        "plugin-mfa/",
        "store-",
        "examples/",
        "test-kit/",
        "tests/",
        "xtask/",
        "docs/",
    ];
    TOPS.iter().any(|top| span.starts_with(top)) && span.contains('/') && !span.contains(' ')
}

/// Whether a source file defines the last part of a path such as `Kernel::run`.
fn defines(source: &str, item: &str) -> bool {
    let name = item.rsplit("::").next().unwrap_or(item);
    ["fn", "struct", "enum", "trait", "const"].iter().any(|kind| {
        source.match_indices(&format!("{kind} {name}")).any(|(at, found)| {
            let next = source[at + found.len()..].chars().next();
            next.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        })
    })
}

/// The words of one of our commands, up to the first that is an argument.
fn command_words(text: &str) -> Option<Vec<String>> {
    let text = text.strip_prefix("cargo ").filter(|rest| rest.starts_with("xtask ")).unwrap_or(text);
    let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
    let words: Vec<String> = text.split_ascii_whitespace().take_while(is_word).map(Into::into).collect();
    (words.len() > 1 && ["countersign", "xtask"].contains(&words[0].as_str())).then_some(words)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

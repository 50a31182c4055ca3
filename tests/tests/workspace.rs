//! The rules of the workspace that no compiler checks: who depends on whom, where unsafe code and the ABI live,
//! what every crate has.
use proc_macro2::{TokenStream, TokenTree};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use xtask::project::{metadata, root};

const API: &str = "countersign-plugin-api";
const HOST: &str = "countersign-host";
const KIT: &str = "countersign-test-kit";
const TESTS: &str = "countersign-tests";
const TOOLS: &str = "xtask";
/// An application, and so the only one that depends on the host.
const APPLICATION: &str = "embed-axum";
/// Attacks on the product: like the tests it may use everything, and nothing uses it.
const SIEGE: &str = "siege";
/// Measures the product, in the same position.
const BENCH: &str = "bench";
/// To print is what it does, and its source is the listing of the README, without an attribute.
const PRINTS: &str = "hello-delivery";

/// Longer files hold a second idea. What documents does not count.
const MOST_LINES_OF_CODE: usize = 450;

#[test]
fn everybody_depends_on_the_interface_and_on_nobody_else() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    for required in [API, HOST, KIT, TESTS, TOOLS, "plugin-mfa", "store-memory", "store-sqlite"] {
        assert!(ours.contains(required), "{required} is not in the workspace");
    }
    for package in &packages {
        let allowed: &[&str] = match package.name.as_str() {
            API | KIT => &[],
            TOOLS => &[KIT],
            // The kit is for its test.
            APPLICATION => &[API, HOST, KIT],
            // Last of all; nobody's rules below let anything depend on it.
            TESTS | SIEGE | BENCH => continue,
            _ => &[API],
        };
        for dependency in package.dependencies.iter().filter(|name| ours.contains(name.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "{} depends on {dependency}", package.name);
        }
    }
}

#[test]
fn a_crate_is_the_interface_the_host_the_tools_or_a_plugin() {
    for package in packages() {
        let Package { name, kinds, manifest, .. } = &package;
        let manifest = read(manifest);
        assert!(package.edition == "2024", "{name} is of edition {}", package.edition);
        assert!(package.license == "MIT OR Apache-2.0", "{name} is under {:?}", package.license);
        let inherits = manifest.contains("[lints]\nworkspace = true");
        assert!(inherits != (name == PRINTS), "{name}: every crate inherits the lints, but for that one");
        if is_plugin(&package) {
            assert!(kinds.contains("cdylib"), "{name} is no plugin, and the layout knows nothing else");
            assert!(!kinds.contains("lib"), "{name}: two rlibs with the plugin symbol cannot be linked");
        } else {
            assert!(!kinds.contains("cdylib"), "{name} is a dynamic library");
        }
        let told = manifest.lines().skip_while(|line| !line.starts_with("description = "));
        assert!(told.count() > 0, "{name} has no description");
    }
}

#[test]
fn plugins_forbid_unsafe_code() {
    for package in packages().iter().filter(|package| is_plugin(package)) {
        let front = read(&package.dir.join("src/lib.rs"));
        assert!(front.contains("#![forbid(unsafe_code)]"), "{} does not forbid unsafe code", package.name);
        assert!(!names(&front, "abi_stable"), "{} names the ABI", package.name);
    }
}

#[test]
fn unsafe_code_has_two_addresses() {
    for file in sources().iter().filter(|file| !is_unsafe_address(file)) {
        let text = read(&root().join(file));
        assert!(!names(&text, "unsafe"), "unsafe code in {}", file.display());
    }
}

#[test]
fn the_abi_is_named_in_one_place() {
    for file in sources().iter().filter(|file| !is_abi(file)) {
        assert!(!names(&read(&root().join(file)), "abi_stable"), "{} names abi_stable", file.display());
    }
    for package in packages().iter().filter(|package| package.name != API) {
        assert!(!package.dependencies.iter().any(|name| name == "abi_stable"), "{}", package.name);
    }
}

#[test]
fn nothing_is_left_for_later() {
    for file in sources() {
        let text = read(&root().join(&file));
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        let lines = text.lines().filter(is_code).count();
        assert!(lines <= MOST_LINES_OF_CODE, "{} has {lines} lines of code", file.display());
        // In two halves, so that this file may be read as well.
        for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[ign", "ore")] {
            assert!(!text.contains(word), "{} says {word}", file.display());
        }
        for word in ["todo", "unimplemented", "dbg"] {
            assert!(!names(&text, word), "{} calls {word}", file.display());
        }
    }
}

#[test]
fn every_source_file_is_compiled() {
    let files: BTreeSet<PathBuf> = sources().into_iter().collect();
    for file in &files {
        let Some((parents, module)) = declared_in(file) else { continue };
        let path = format!("path = {:?}", file.file_name().unwrap_or_default());
        let declares = files.iter().any(|other| {
            let beside = other.parent() == file.parent() && read(&root().join(other)).contains(&path);
            beside
                || parents.contains(other) && declared_modules(&read(&root().join(other))).contains(&module)
        });
        assert!(declares, "{} is declared as a module by none of {parents:?}", file.display());
    }
}

struct Package {
    name: String,
    dir: PathBuf,
    manifest: PathBuf,
    edition: String,
    license: String,
    kinds: BTreeSet<String>,
    dependencies: Vec<String>,
}

fn packages() -> Vec<Package> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let metadata = metadata(root()).expect("cargo describes the workspace");
    let packages: Vec<_> = list(&metadata["packages"])
        .iter()
        .map(|package| {
            let manifest = PathBuf::from(text(&package["manifest_path"]));
            let kinds =
                list(&package["targets"]).iter().flat_map(|target| list(&target["kind"])).collect::<Vec<_>>();
            Package {
                name: text(&package["name"]),
                dir: manifest.parent().expect("a manifest lies in a directory").into(),
                manifest,
                edition: text(&package["edition"]),
                license: text(&package["license"]),
                kinds: kinds.iter().map(text).collect(),
                dependencies: list(&package["dependencies"]).iter().map(|d| text(&d["name"])).collect(),
            }
        })
        .collect();
    assert!(!packages.is_empty());
    packages
}

fn is_plugin(package: &Package) -> bool {
    ![API, HOST, KIT, TESTS, TOOLS, APPLICATION, SIEGE, BENCH].contains(&package.name.as_str())
}

fn is_abi(file: &Path) -> bool {
    file == Path::new("plugin-api/src/abi.rs") || file.starts_with("plugin-api/src/abi")
}

fn is_unsafe_address(file: &Path) -> bool {
    is_abi(file)
        || file == Path::new("host/src/kernel/loader.rs")
        || file.starts_with("host/src/kernel/loader")
}

/// Every Rust file of the workspace, relative to its root. The fixtures are bad on purpose and not asked.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for package in packages() {
        collect(&package.dir, &mut files);
    }
    let files: Vec<PathBuf> = files
        .iter()
        .filter_map(|file| file.strip_prefix(root()).ok())
        .filter(|file| !file.starts_with("tests/fixtures"))
        .map(Into::into)
        .collect();
    assert!(files.len() > 20, "the sources are not where they are looked for");
    files
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// All tokens of a source text: what the compiler sees, without comments, and strings as one token each.
fn tokens(text: &str) -> Vec<TokenTree> {
    fn flatten(stream: TokenStream, into: &mut Vec<TokenTree>) {
        for tree in stream {
            into.push(tree.clone());
            if let TokenTree::Group(group) = tree {
                flatten(group.stream(), into);
            }
        }
    }
    let mut all = Vec::new();
    flatten(text.parse().expect("Rust that can be read"), &mut all);
    all
}

fn names(text: &str, word: &str) -> bool {
    // Most files do not even hold the letters.
    text.contains(word)
        && tokens(text).iter().any(|token| matches!(token, TokenTree::Ident(name) if name == word))
}

/// The files that may declare a file below `src` as a module, and its name there; `None` for a crate's roots.
fn declared_in(file: &Path) -> Option<(Vec<PathBuf>, String)> {
    let below: PathBuf = file.components().skip_while(|part| part.as_os_str() != "src").skip(1).collect();
    let is_root =
        below.parent()? == Path::new("") && ["lib.rs", "main.rs"].iter().any(|root| below == Path::new(root));
    if is_root || below.as_os_str().is_empty() {
        return None;
    }
    let (dir, module) = match file.file_stem()?.to_str()? {
        "mod" => (file.parent()?.parent()?, file.parent()?.file_name()?.to_str()?),
        stem => (file.parent()?, stem),
    };
    let own = dir.file_name()?.to_str()?;
    let parents = [
        dir.join("mod.rs"),
        dir.with_file_name(format!("{own}.rs")),
        dir.join("lib.rs"),
        dir.join("main.rs"),
    ];
    Some((parents.into(), module.to_owned()))
}

fn declared_modules(text: &str) -> BTreeSet<String> {
    tokens(text)
        .windows(3)
        .filter_map(|window| match window {
            [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Punct(end)]
                if word == "mod" && end.as_char() == ';' =>
            {
                Some(name.to_string())
            }
            _ => None,
        })
        .collect()
}

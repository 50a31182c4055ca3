//! `plugin new`: a project for a plugin of one's own, and the interface that it is written against.
use super::{Failure, Kind, New, Report};
use countersign_plugin_api::manifest::is_name;
use serde_json::json;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use toml_edit::{DocumentMut, Item, Table, TableLike};

/// The files of countersign-plugin-api as this program was built with it: paths and texts.
const API: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/plugin_api.rs"));
/// What their Cargo.toml refers to.
const WORKSPACE: &str = include!(concat!(env!("OUT_DIR"), "/workspace.rs"));

/// Where the interface lies in a project.
const BESIDE: &str = "plugin-api";

pub(super) fn run(args: &New) -> Result<Report, Failure> {
    let project = Project::of(args)?;
    let dir = &project.dir;
    let failed = |path: &Path, error: io::Error| Failure::new(format_args!("{}: {error}", path.display()));
    if dir.exists() {
        let dir = dir.display();
        return Err(Failure::new(format_args!(
            "{dir}: it exists, and nothing is overwritten; choose --path"
        )));
    }
    for (file, text) in project.files()? {
        let path = dir.join(file);
        let folder = path.parent().unwrap_or(dir);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| failed(&path, error))?;
    }
    let (shown, library) =
        (dir.display(), format!("target/release/lib{}.so", project.package.replace('-', "_")));
    let text = format!(
        "{shown} is a project that builds; its README.md goes on from here\n\nNext:\n  cd {shown}\n  cargo test\n  cargo build --release\n  countersign plugin check {library}{}",
        project.kind.values()
    );
    let json = json!({
        "directory": shown.to_string(),
        "plugin": project.plugin,
        "library": library,
        "api": project.api.display().to_string(),
    });
    Ok(Report::new(text, json))
}

struct Project {
    kind: Kind,
    /// What the plugin registers is called.
    name: String,
    /// The plugin, as `export_plugin!` and `[[plugin]]` name it.
    plugin: String,
    package: String,
    dir: PathBuf,
    /// Where the interface is, as the project's Cargo.toml says it.
    api: PathBuf,
    is_copied: bool,
}

impl Project {
    fn of(args: &New) -> Result<Self, Failure> {
        let New { kind, name, path, api } = args;
        let (prefix, package) = match kind {
            Kind::Delivery => ("delivery-", format!("delivery-{name}")),
            Kind::Store => ("store-", format!("store-{name}")),
            Kind::Routes => ("", format!("plugin-{name}")),
        };
        let plugin = format!("{prefix}{name}");
        if !is_name(name) || !is_name(&plugin) || name.ends_with('-') {
            return Err(Failure::usage(format_args!(
                "{name}: a name is of lower-case letters, digits and dashes, starts with a letter, and has with its kind at most 32 of them"
            )));
        }
        if crate::kernel::is_reserved(&plugin) {
            return Err(Failure::usage(format_args!(
                "{name}: no plugin can be named so, the host has a table or a path of that name"
            )));
        }
        let dir = path.clone().unwrap_or_else(|| PathBuf::from(&package));
        let is_copied = api.is_none();
        let api = match api {
            None => PathBuf::from(BESIDE),
            Some(api) => found(api)?,
        };
        Ok(Self { kind: *kind, name: name.clone(), plugin, package, dir, api, is_copied })
    }

    /// Paths and texts of all files.
    fn files(&self) -> Result<Vec<(PathBuf, String)>, Failure> {
        let templates = [
            ("Cargo.toml", include_str!("scaffold/Cargo.toml.in")),
            (".gitignore", "/target\n"),
            ("README.md", self.kind.readme()),
            ("src/lib.rs", self.kind.program()),
        ];
        let mut files: Vec<(PathBuf, String)> =
            templates.into_iter().map(|(file, text)| (file.into(), self.filled(text))).collect();
        for (file, text) in API.iter().filter(|_| self.is_copied) {
            let text = if *file == "Cargo.toml" { alone(text)? } else { (*text).to_owned() };
            files.push((Path::new(BESIDE).join(file), text));
        }
        Ok(files)
    }

    fn filled(&self, text: &str) -> String {
        let exclude = if self.is_copied { format!("exclude = [\"{BESIDE}\"]\n") } else { String::new() };
        let api = self.api.display().to_string();
        let library = self.package.replace('-', "_");
        [
            ("{{name}}", self.name.as_str()),
            ("{{plugin}}", &self.plugin),
            ("{{package}}", &self.package),
            ("{{library}}", &library),
            ("{{api}}", &api),
            ("{{exclude}}\n", &exclude),
        ]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Delivery => include_str!("scaffold/delivery.rs.in"),
            Self::Store => include_str!("scaffold/store.rs.in"),
            Self::Routes => include_str!("scaffold/routes.rs.in"),
        }
    }
    fn readme(self) -> &'static str {
        match self {
            Self::Delivery => include_str!("scaffold/delivery.md.in"),
            Self::Store => include_str!("scaffold/store.md.in"),
            Self::Routes => include_str!("scaffold/routes.md.in"),
        }
    }
    /// What its table must have before it is checked.
    fn values(self) -> &'static str {
        match self {
            Self::Delivery => " --set directory=/tmp/outgoing",
            Self::Store => " --set volatile=true",
            Self::Routes => "",
        }
    }
}

/// The directory of the interface, absolute; refused when it is another crate.
fn found(api: &Path) -> Result<PathBuf, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::usage(format_args!("--api {}: {why}", api.display()));
    let manifest = fs::read_to_string(api.join("Cargo.toml")).map_err(|error| failed(&error))?;
    let manifest: DocumentMut = manifest.parse().map_err(|_| failed(&"its Cargo.toml is no TOML"))?;
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(Item::as_str);
    if name != Some("countersign-plugin-api") {
        return Err(failed(&"it is not countersign-plugin-api"));
    }
    api.canonicalize().map_err(|error| failed(&error))
}

/// The interface's Cargo.toml outside of its workspace: what it inherits stands in it.
fn alone(manifest: &str) -> Result<String, Failure> {
    let broken = |error: toml_edit::TomlError| Failure::new(format_args!("countersign-plugin-api: {error}"));
    let mut manifest: DocumentMut = manifest.parse().map_err(broken)?;
    let workspace: DocumentMut = WORKSPACE.parse().map_err(broken)?;
    let shared = |name: &str| workspace.get("workspace").and_then(|shared| shared.get(name));
    for (table, of) in [("package", "package"), ("dependencies", "dependencies")] {
        if let Some(own) = manifest.get_mut(table).and_then(Item::as_table_mut) {
            inherit(own, shared(of).and_then(Item::as_table_like));
        }
    }
    // Its tests stay behind, and it is nobody's to lint here.
    manifest.remove("dev-dependencies");
    manifest.remove("lints");
    Ok(manifest.to_string())
}

fn inherit(own: &mut Table, shared: Option<&dyn TableLike>) {
    for (key, item) in own.iter_mut() {
        let inherits = item.get("workspace").and_then(Item::as_bool) == Some(true);
        if let Some(value) = shared.filter(|_| inherits).and_then(|shared| shared.get(key.get())) {
            *item = value.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_stands_alone() {
        let manifest = API.iter().find(|(file, _)| *file == "Cargo.toml").expect("a manifest").1;
        let manifest = alone(manifest).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(!manifest.contains("workspace"), "{manifest}");
        assert!(manifest.contains(concat!("version = \"", env!("CARGO_PKG_VERSION"), "\"")), "{manifest}");
        for file in ["src/lib.rs", "src/abi/module.rs", "src/conformance/store.rs", "LICENSE-MIT"] {
            assert!(API.iter().any(|(there, text)| *there == file && !text.is_empty()), "{file}");
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        let new = |kind, name: &str| New { kind, name: name.into(), path: None, api: None };
        let long = "a".repeat(30);
        for (kind, name) in [
            (Kind::Delivery, ""),
            (Kind::Delivery, "Pigeon"),
            (Kind::Delivery, "../x"),
            (Kind::Delivery, "x-"),
            (Kind::Store, &long),
            (Kind::Routes, "admin"),
            (Kind::Routes, "store"),
        ] {
            assert!(Project::of(&new(kind, name)).is_err(), "{name}");
        }
        let project = Project::of(&new(Kind::Routes, "notes")).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!((project.plugin.as_str(), project.package.as_str()), ("notes", "plugin-notes"));
        for (file, text) in project.files().unwrap_or_else(|failure| panic!("{failure}")) {
            assert!(file.starts_with(BESIDE) || !text.contains("{{"), "{}: {text}", file.display());
        }
    }
}

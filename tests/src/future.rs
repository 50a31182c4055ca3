//! The interface of tomorrow: today's `plugin-api` with what a later release of the series may add, and plugins and
//! a host that are built against it.
use countersign_test_kit::{
    artifacts::library,
    project::{beside, root, run, target_dir},
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// A file of `plugin-api`, a text that stands in it once, and what takes its place.
const ADDED: [(&str, &str, &str); 8] = [
    // A field behind the last one that every release has, of the root module.
    (
        "abi/module.rs",
        "RegistrarObject<'a>, &mut Flat) -> u32,\n}",
        "RegistrarObject<'a>, &mut Flat) -> u32,\n    describe: extern \"C\" fn(&mut Flat) -> u32,\n}",
    ),
    ("abi/module.rs", "register: register::<E> }", "register: register::<E>, describe }"),
    (
        "abi/module.rs",
        "const CONFIG: u32 = 1;",
        "extern \"C\" fn describe(_: &mut Flat) -> u32 {\n    DONE\n}\n\nconst CONFIG: u32 = 1;",
    ),
    // A method with a body behind the last one that every release has, of each object.
    (
        "abi/objects.rs",
        "    fn usage(&self, usage: &mut Flat) -> u32;\n}\npub(crate) type",
        "    fn usage(&self, usage: &mut Flat) -> u32;\n    fn tidy(&self, _hint: &Flat) -> u32 {\n        7\n    }\n}\n\
         pub(crate) type",
    ),
    (
        "abi/objects.rs",
        "        UNKNOWN\n    }\n}\npub(crate) type",
        "        UNKNOWN\n    }\n    fn close(&self) -> u32 {\n        7\n    }\n}\npub(crate) type",
    ),
    (
        "abi/objects.rs",
        "    fn add_data(&mut self, entry: &Flat, reason: &mut Flat) -> u32;\n}",
        "    fn add_data(&mut self, entry: &Flat, reason: &mut Flat) -> u32;\n    fn add_more(&mut self, _entry: &Flat) -> u32 {\n        7\n    }\n}",
    ),
    // The newer host asks for what an older delivery, or store, does not have, and gets the answer of the body.
    (
        "delivery.rs",
        "        let code = self.0.probe(&mut reason);\n",
        "        let code = self.0.probe(&mut reason);\n        assert_eq!(self.0.close(), 7);\n",
    ),
    (
        "store_bridge.rs",
        "        let mut told = Flat::with_capacity(2, 0);\n",
        "        let mut told = Flat::with_capacity(2, 0);\n        assert_eq!(self.0.tidy(&told), 7);\n",
    ),
];

const WORKSPACE: &str = r#"
[workspace]
resolver = "3"
members = ["plugin-api", "hello-delivery", "store-memory", "host"]

[workspace.package]
version = "0.1.999"
edition = "2024"
rust-version = "1.95"
license = "MIT OR Apache-2.0"
publish = false

[workspace.dependencies]
countersign-plugin-api = { path = "plugin-api" }
serde = { version = "1.0.228", features = ["derive"] }
serde_json = "1.0"

[workspace.lints.rust]
unused = "allow"

[profile.dev]
debug = "line-tables-only"

# As far from the other as a build can be: nothing of the symbols is left but what the loader needs.
[profile.small]
inherits = "release"
opt-level = "s"
lto = "fat"
codegen-units = 1
strip = true
"#;

const HOST: &str = r#"
[package]
name = "host"
version.workspace = true
edition.workspace = true
publish.workspace = true

[dependencies]
countersign-plugin-api.workspace = true
libloading = "0.9"
"#;

/// The loader's part of a host, and one question to what it has loaded.
const MAIN: &str = r#"
use countersign_plugin_api::{Delivery, Level, kernel::{Loaded, LogSink}};
use std::{env, ffi::c_void, path::Path};

fn main() {
    let mut args = env::args().skip(1);
    let (file, table) = (args.next().unwrap(), args.next().unwrap());
    let library = unsafe { libloading::Library::new(&file) }.unwrap();
    let symbol = unsafe { library.get::<*const c_void>(Loaded::SYMBOL.as_bytes()) }.unwrap();
    let loaded = unsafe { Loaded::attach(symbol.try_as_raw_ptr().unwrap().cast_const()) };
    let loaded = loaded.unwrap_or_else(|why| panic!("{why}"));
    let log = LogSink::new(|_: Level, plugin, line| eprintln!("{plugin}: {line}"));
    let all = loaded.register(&table, Path::new("/"), log).unwrap_or_else(|why| panic!("{why}"));
    for (name, store) in &all.stores {
        println!("store {name} {}", store.usage().unwrap().records);
    }
    for (name, delivery) in &all.deliveries {
        println!("delivery {name} {:?}", delivery.probe().is_ok());
    }
    println!("routes {} gates {}", all.routes.len(), all.gates.len());
    std::mem::forget(library);
}
"#;

/// What was built against the interface of tomorrow.
pub struct Future {
    folder: PathBuf,
    target: PathBuf,
}

impl Future {
    /// Builds it, the first time in a process.
    ///
    /// # Panics
    /// When it cannot be built: no test can go on.
    pub fn get() -> &'static Self {
        static BUILT: OnceLock<Future> = OnceLock::new();
        BUILT.get_or_init(|| {
            let target = target_dir().expect("a target directory").join("tomorrow");
            let future = Self { folder: target.join("sources"), target };
            fs::create_dir_all(&future.folder).expect("a folder");
            // Tests are processes of their own, and one of them is to write it.
            let lock = File::create(future.folder.join("lock")).expect("a lock");
            lock.lock().expect("a lock");
            future.write();
            future.build(&["build"]);
            future
        })
    }

    fn write(&self) {
        for (from, to) in [
            ("plugin-api", "plugin-api"),
            ("examples/hello-delivery", "hello-delivery"),
            ("store-memory", "store-memory"),
        ] {
            copy(&root().join(from), &self.folder.join(to));
        }
        write(&self.folder.join("Cargo.toml"), WORKSPACE);
        write(&self.folder.join("host/Cargo.toml"), HOST);
        write(&self.folder.join("host/src/main.rs"), MAIN);
        fs::copy(root().join("Cargo.lock"), self.folder.join("Cargo.lock")).expect("the lock file");
    }

    fn build(&self, words: &[&str]) {
        let mut command = beside("tomorrow").expect("a target directory");
        command.arg(words[0]).arg("--manifest-path").arg(self.folder.join("Cargo.toml"));
        command.args(&words[1..]).stdout(Stdio::null());
        run(&mut command).unwrap_or_else(|error| panic!("tomorrow's interface does not build: {error:#}"));
    }

    /// The library of a plugin.
    pub fn plugin(&self, package: &str) -> PathBuf {
        self.target.join("debug").join(library(package))
    }
    /// The library of a plugin in a profile that has nothing in common with that of the others.
    pub fn small(&self, package: &str) -> PathBuf {
        self.build(&["build", "--profile", "small", "--package", package]);
        self.target.join("small").join(library(package))
    }
    /// The host: it loads a library, registers it with a table (JSON), and prints what it has.
    pub fn host(&self) -> Command {
        countersign_test_kit::project::command(self.target.join("debug/host"))
    }
}

/// Copies what a package is built of; what is the same stays untouched, so that cargo finds it built.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a package") {
        let entry = entry.expect("a file of it");
        let (source, copied) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &copied);
        } else {
            write(&copied, &tomorrow(&source, fs::read_to_string(&source).expect("a file of text")));
        }
    }
}

/// What a file will be.
fn tomorrow(file: &Path, today: String) -> String {
    let of_plugin_api = |name: &str| file == root().join("plugin-api/src").join(name);
    ADDED.iter().filter(|(name, ..)| of_plugin_api(name)).fold(today, |source, (name, text, added)| {
        assert_eq!(source.matches(text).count(), 1, "{name} has this once, where tomorrow's begins: {text}");
        source.replace(text, added)
    })
}

fn write(file: &Path, text: &str) {
    if fs::read_to_string(file).is_ok_and(|before| before == text) {
        return;
    }
    fs::create_dir_all(file.parent().expect("a folder")).expect("the folder can be made");
    fs::write(file, text).expect("the file can be written");
}

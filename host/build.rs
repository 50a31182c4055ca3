//! Puts the sources of countersign-plugin-api into the binary: `plugin new` writes them beside a new plugin, which can so
//! be built by whoever has the binary, against exactly the interface that it loads.
use std::{
    env,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let (root, api) = (here.join(".."), here.join("../plugin-api"));
    let mut files = vec![api.join("Cargo.toml"), api.join("build.rs")];
    collect(&api.join("src"), &mut files)?;
    files.sort();
    let mut list = String::from("[\n");
    for file in &files {
        put(&mut list, &file.strip_prefix(&api).unwrap_or(file).display().to_string(), file);
    }
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        put(&mut list, licence, &root.join(licence));
    }
    list.push(']');
    let workspace = root.join("Cargo.toml");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("plugin_api.rs"), list)?;
    fs::write(out.join("workspace.rs"), text_of(&workspace))?;
    for input in [&api, &workspace, &here.join("build.rs")] {
        println!("cargo::rerun-if-changed={}", input.display());
    }
    Ok(())
}

fn put(list: &mut String, name: &str, file: &Path) {
    let _ = writeln!(list, "    ({name:?}, {}),", text_of(file));
}

/// The text of the file is put in; its path on this machine is not.
fn text_of(file: &Path) -> String {
    format!("include_str!({:?})", file.display().to_string())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { collect(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

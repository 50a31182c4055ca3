//! What the targets in `fuzz/` call, and a test replays. Each stands beside the parser that it is for.
pub use crate::{
    cli::import,
    config::fuzzing::config,
    http::fuzzing::{cookie, request},
    kernel::fuzzing::{elf, token},
};

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    type Target = fn(&[u8]);

    #[test]
    fn corpora() {
        let targets: [(&str, Target); 6] = [
            ("config", super::config),
            ("cookie", super::cookie),
            ("elf", super::elf),
            ("otpauth", super::import),
            ("request", super::request),
            ("token", super::token),
        ];
        for (name, target) in targets {
            let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
            let files = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
            let read = files.map(|file| target(&fs::read(file.unwrap().path()).unwrap())).count();
            assert!(read > 2, "{read} in {}", corpus.display());
        }
    }
}

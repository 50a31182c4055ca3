//! What a plugin's file says of itself, readable without running it.
//!
//! The text lies in an ELF section of its own, as lines `key=value`. A kernel reads it before the library is
//! opened, because constructors run when a library is opened.
use std::fmt;

/// The section that holds the manifest.
pub const SECTION: &str = ".countersign";

/// The version of this crate, which is the version of the interface.
pub const API_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The plugin's name: lower-case letters, digits and `-`, at most 32.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// The version of this crate that it was built with.
    pub api: String,
    /// `unwind`, or `abort`, which is refused: a panic would end the host.
    pub panic: String,
    /// The compiler, for people who look for a fault; plugins of any compiler load.
    pub compiler: String,
}

/// Why a manifest does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(&'static str);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
impl std::error::Error for Unreadable {}

impl Manifest {
    /// Reads the bytes of the section.
    pub fn parse(section: &[u8]) -> Result<Self, Unreadable> {
        if section.len() > 4096 {
            return Err(Unreadable("its manifest is longer than 4 KiB"));
        }
        let text = std::str::from_utf8(section).map_err(|_| Unreadable("its manifest is not text"))?;
        let text = text.trim_end_matches('\0');
        // It is shown to people before they decide whether to trust the file: it must not steer a terminal.
        if !text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)) {
            return Err(Unreadable("its manifest is not printable ASCII"));
        }
        let need = |key: &str, missing: &'static str| {
            let mut values = text.split('\n').filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            match (values.next(), values.next()) {
                (Some(value), None) => Ok(value.to_owned()),
                (Some(_), Some(_)) => Err(Unreadable("its manifest gives something twice")),
                (None, _) => Err(Unreadable(missing)),
            }
        };
        let manifest = Self {
            name: need("name", "its manifest gives no name")?,
            version: need("version", "its manifest gives no version")?,
            api: need("api", "its manifest gives no interface version")?,
            panic: need("panic", "its manifest gives no panic strategy")?,
            compiler: need("compiler", "its manifest gives no compiler")?,
        };
        if is_name(&manifest.name) {
            Ok(manifest)
        } else {
            Err(Unreadable("its manifest gives a name that is not lower-case letters, digits and dashes"))
        }
    }

    /// Whether a plugin built with that interface can be used by this one: the same series, which before 1.0
    /// is the same minor version.
    pub fn is_compatible(&self) -> bool {
        series(&self.api) == series(API_VERSION)
    }
}

/// Whether a text can be a plugin's name.
pub const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > 32 || !bytes[0].is_ascii_lowercase() {
        return false;
    }
    let mut at = 0;
    while at < bytes.len() {
        if !(bytes[at].is_ascii_lowercase() || bytes[at].is_ascii_digit() || bytes[at] == b'-') {
            return false;
        }
        at += 1;
    }
    true
}

fn series(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    match (parts.next()??, parts.next()??) {
        (0, minor) => Some((0, minor)),
        (major, _) => Some((major, 0)),
    }
}

/// The part of the manifest that is the same for every plugin of one build.
#[doc(hidden)]
pub const fn common(unwind: bool) -> &'static str {
    const UNWIND: &str = concat!(
        "api=",
        env!("CARGO_PKG_VERSION"),
        "\npanic=unwind\ncompiler=",
        env!("COUNTERSIGN_COMPILER"),
        "\n"
    );
    const ABORT: &str = concat!(
        "api=",
        env!("CARGO_PKG_VERSION"),
        "\npanic=abort\ncompiler=",
        env!("COUNTERSIGN_COMPILER"),
        "\n"
    );
    if unwind { UNWIND } else { ABORT }
}

/// Two texts as one array, for a static in a section.
#[doc(hidden)]
pub const fn join<const N: usize>(a: &str, b: &str) -> [u8; N] {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut out = [0; N];
    let mut at = 0;
    while at < a.len() {
        out[at] = a[at];
        at += 1;
    }
    while at < a.len() + b.len() {
        out[at] = b[at - a.len()];
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_macro_writes_reads_back() {
        const OWN: &str = "name=mfa\nversion=1.2.3\n";
        const LEN: usize = OWN.len() + common(true).len();
        let manifest = Manifest::parse(&join::<LEN>(OWN, common(true))).expect("reads");
        assert_eq!((&*manifest.name, &*manifest.version, &*manifest.panic), ("mfa", "1.2.3", "unwind"));
        assert!(manifest.is_compatible());
        assert!(manifest.compiler.starts_with("rustc "), "{}", manifest.compiler);
    }

    #[test]
    fn damaged_manifests_are_refused() {
        let cases: [(&[u8], &str); 10] = [
            (b"", "no name"),
            (b"name=mfa", "no version"),
            (b"\xff\xfe", "not text"),
            (b"name=../x\nversion=1\napi=1\npanic=unwind\ncompiler=x", "lower-case"),
            (&[b'x'; 5000], "4 KiB"),
            (b"name=mfa\nname=other\nversion=1\napi=1\npanic=unwind\ncompiler=x", "twice"),
            (b"name=mfa\nversion=1\napi=1\npanic=unwind\npanic=abort\ncompiler=x", "twice"),
            (b"name=mfa\nversion=\x1b[2J\napi=1\npanic=unwind\ncompiler=x", "printable"),
            (b"name=mfa\r\nversion=1\r\napi=1\r\npanic=unwind\r\ncompiler=x", "printable"),
            ("name=mfa\nversion=\u{202e}1\napi=1\npanic=unwind\ncompiler=x".as_bytes(), "printable"),
        ];
        for (case, why) in cases {
            let said = Manifest::parse(case).expect_err(why).to_string();
            assert!(said.contains(why), "{said}");
        }
        let later = b"name=mfa\nversion=1\napi=1\npanic=unwind\ncompiler=x=y\nlater=1\n\0\0";
        assert_eq!(Manifest::parse(later).expect("what a later one says is passed over").compiler, "x=y");
    }

    #[test]
    fn a_series_is_what_cargo_calls_compatible() {
        assert_eq!(series("0.3.9"), Some((0, 3)));
        assert_eq!(series("2.3.9"), Some((2, 0)));
        assert_eq!(series("abc"), None);
    }
}

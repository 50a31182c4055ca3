//! Certificates that are made in the run: right ones, and wrong ones of each kind.
use crate::tools::command;
use countersign_test_kit::Clock;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};
use tempfile::TempDir;

/// A certificate authority, made by `openssl`. Gone with its certificates when it is dropped.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The file with the certificate.
    pub chain: PathBuf,
    /// The file with the key.
    pub key: PathBuf,
}

const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

impl Authority {
    /// One that nobody knows yet.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let own = Self { dir };
        let mut openssl = command("openssl");
        openssl.args(["req", "-x509", "-days", "2", "-subj", "/CN=Authority"]).args(KEY);
        openssl.args(["-addext", "keyUsage=critical,keyCertSign"]);
        succeed(openssl.arg("-keyout").arg(own.path("ca.key")).arg("-out").arg(own.file()));
        own
    }
    /// Its own certificate, for whoever is to trust it.
    pub fn file(&self) -> PathBuf {
        self.path("ca.pem")
    }
    /// A certificate for a name, good since an hour ago and for two days less that. (`now` may lie in the next second.)
    pub fn certificate(&self, name: &str) -> Certificate {
        self.sign(name, -3_600)
    }
    /// One that was good for two days, a year ago.
    pub fn expired(&self, name: &str) -> Certificate {
        self.sign(name, -365 * 86_400)
    }

    fn sign(&self, name: &str, ahead: i64) -> Certificate {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Relaxed);
        let [key, request, extensions, chain] =
            ["key", "req", "ext", "pem"].map(|kind| self.path(&format!("{number}.{kind}")));
        let mut openssl = command("openssl");
        openssl.args(["req", "-new", "-subj", "/CN=Leaf"]).args(KEY);
        succeed(openssl.arg("-keyout").arg(&key).arg("-out").arg(&request));
        let text = format!("basicConstraints=CA:FALSE\nsubjectAltName=DNS:{name}\n");
        fs::write(&extensions, text).expect("a file");
        let mut openssl = command("openssl");
        let clock = Clock::new(self.path("clock"));
        clock.set(ahead);
        clock.preload(openssl.args(["x509", "-req", "-days", "2"]));
        openssl.arg("-in").arg(&request).arg("-extfile").arg(&extensions);
        openssl.arg("-CA").arg(self.file()).arg("-CAkey").arg(self.path("ca.key"));
        succeed(openssl.arg("-out").arg(&chain));
        Certificate { chain, key }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("openssl starts");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}

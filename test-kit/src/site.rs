//! A host's directory: configuration, keys, plugins, data.
use crate::{Artifacts, Clock, Host, Mailbox, project, server::Server};
use sha2::{Digest, Sha256};
use std::{
    ffi::OsString,
    fmt::Write as _,
    fs::{self, File, Permissions},
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value, value};

/// A directory that `countersign init` made, with a host or without.
#[derive(Debug)]
pub struct Site {
    dir: TempDir,
    address: SocketAddr,
    clock: Option<Clock>,
    mailbox: Option<Mailbox>,
    environment: Vec<(String, OsString)>,
}

impl Site {
    /// As `countersign init` leaves it: on SQLite, open to strangers.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("countersign-").tempdir().expect("a directory");
        let site = Self { dir, address: own_address(), clock: None, mailbox: None, environment: Vec::new() };
        let mut init = site.command(&["init", "--registration", "open", "--listen"]);
        let output = init.arg(site.address.to_string()).arg(site.dir()).output().expect("the binary starts");
        assert!(output.status.success(), "init: {}", String::from_utf8_lossy(&output.stderr));
        site
    }
    /// The same, on the store of that name.
    pub fn with_store(name: &str) -> Self {
        let site = Self::new();
        site.set("store.use", name);
        if name == "memory" {
            site.set("store.memory.volatile", true);
        }
        site
    }
    /// The same, with a clock that can be moved.
    #[must_use]
    pub fn with_clock(mut self) -> Self {
        self.clock = Some(Clock::new(self.path("clock")));
        self
    }
    /// The same, with a [`Mailbox`] for all mail.
    #[must_use]
    pub fn with_mail(mut self) -> Self {
        let mailbox = Mailbox::open();
        self.set("delivery.use", "smtp");
        self.set("delivery.smtp.url", format!("smtp://{}", mailbox.address()));
        self.set("delivery.smtp.from", "Countersign <no-reply@example.org>");
        self.mailbox = Some(mailbox);
        self
    }
    /// The same, with another setting.
    #[must_use]
    pub fn with(self, path: &str, setting: impl Into<Value>) -> Self {
        self.set(path, setting);
        self
    }
    /// The same, with a variable in the environment of whatever is run.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
    /// A path in it.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir().join(relative)
    }
    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.path("countersign.toml")
    }
    /// Where its host listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// The clock of [`with_clock`](Site::with_clock).
    pub fn clock(&self) -> &Clock {
        self.clock.as_ref().expect("a site with a clock")
    }
    /// The mailbox of [`with_mail`](Site::with_mail).
    pub fn mailbox(&self) -> &Mailbox {
        self.mailbox.as_ref().expect("a site with a mailbox")
    }
    /// Everything that its hosts wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("host.log")).unwrap_or_default()
    }

    /// Sets `store.use`, `mfa.lockout.threshold` or any other path of the configuration.
    pub fn set(&self, path: &str, setting: impl Into<Value>) {
        self.edit(|config| {
            let (tables, key) = path.rsplit_once('.').unwrap_or(("", path));
            let tables = tables.split('.').filter(|name| !name.is_empty());
            let place = tables.fold(config.as_table_mut(), |table, name| {
                table.entry(name).or_insert(Item::Table(Table::new())).as_table_mut().expect("a table")
            });
            place[key] = value(setting);
        });
    }
    /// Changes the configuration.
    pub fn edit(&self, change: impl FnOnce(&mut DocumentMut)) {
        let text = fs::read_to_string(self.config()).expect("a configuration");
        let mut config = text.parse().expect("a configuration that is TOML");
        change(&mut config);
        fs::write(self.config(), config.to_string()).expect("a configuration that can be written");
    }
    /// Puts a library into the plugin directory and adds its entry with a true pin, whatever `plugin install`
    /// would say to it.
    pub fn add_plugin(&self, library: &Path) {
        let bytes = fs::read(library).unwrap_or_else(|error| panic!("{}: {error}", library.display()));
        let pin = Sha256::digest(&bytes).iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let name = library.file_name().and_then(|name| name.to_str()).expect("a library has a name");
        let placed = self.path("plugins").join(name);
        fs::write(&placed, bytes).expect("the plugin directory can be written");
        // Whatever the umask of who runs the tests: a library that others may write is refused.
        fs::set_permissions(&placed, Permissions::from_mode(0o644)).expect("its mode can be set");
        self.edit(|config| {
            let mut entry = Table::new();
            entry["file"] = value(name);
            entry["sha256"] = value(pin);
            let plugins = config.entry("plugin").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
            plugins.as_array_of_tables_mut().expect("[[plugin]]").push(entry);
        });
    }

    /// `countersign WORDS`, in this directory.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = project::command(Artifacts::get().binary());
        command.current_dir(self.dir()).args(words).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(clock) = &self.clock {
            clock.preload(&mut command);
        }
        command
    }
    /// Runs `countersign WORDS` to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("the binary starts")
    }
    /// Runs `countersign WORDS` to its end, with that on its standard input.
    pub fn feed(&self, words: &[&str], input: &str) -> Output {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        // A command that refuses before it reads has closed its end.
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        child.wait_with_output().expect("it ends")
    }
    /// What `countersign WORDS --json` prints, which must succeed.
    #[track_caller]
    pub fn json(&self, words: &[&str], input: &str) -> serde_json::Value {
        let output = self.feed(&[words, &["--json"]].concat(), input);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {complaint}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
    /// `countersign serve`, writing to the log.
    pub fn serve(&self) -> Command {
        let mut command = self.command(&["serve"]);
        if self.clock.is_some() {
            // libfaketime is preloaded, which otherwise refuses the start.
            command.arg("--allow-preload");
        }
        let log = File::options().create(true).append(true).open(self.path("host.log")).expect("a log");
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        command
    }
    /// Starts a host and waits until it is ready.
    pub fn start(self) -> Host {
        match Server::start(&mut self.serve(), self.address) {
            Ok(server) => Host::new(server, self),
            Err(error) => panic!("{error:#}\n{}", self.log()),
        }
    }
    /// Starts a host that must refuse to, and answers what it wrote.
    pub fn refuses(&self) -> String {
        let before = self.log().len();
        let mut child = self.serve().spawn().expect("the binary starts");
        let give_up = Instant::now() + Duration::from_secs(20);
        let status = loop {
            match child.try_wait().expect("the host can be asked") {
                Some(status) => break status,
                None if Instant::now() < give_up => sleep(Duration::from_millis(10)),
                None => {
                    let _ = child.kill();
                    panic!("the host runs, and should have refused to\n{}", self.log());
                }
            }
        };
        let said = self.log().split_off(before);
        assert!(status.code().is_some_and(|code| code != 0), "it ended with {status}\n{said}");
        said
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

/// An address of this process alone: all of 127.0.0.0/8 is this machine, and a process id has 22 bits. So no two
/// tests can meet, and a host that is started again finds its port as it left it.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let [_, a, b, c] = process::id().to_be_bytes();
    // Never 127.0.x.y, where everything else on the machine listens.
    let ip = Ipv4Addr::new(127, a.wrapping_add(1), b, c);
    SocketAddr::new(IpAddr::V4(ip), NEXT.fetch_add(1, Relaxed))
}

//! A real browser: Chromium, headless, driven over WebDriver (W3C) by Debian's `chromedriver`, with a profile of its
//! own that is gone afterwards.
use crate::{Client, tools};
use countersign_test_kit::project;
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How a browser looks at pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Of the window, in CSS pixels.
    pub width: u32,
    /// Whether its user prefers a dark page.
    pub dark: bool,
    /// Whether pages may run scripts.
    pub scripts: bool,
}

/// A browser that has just been opened. Dropping it closes it.
#[derive(Debug)]
pub struct Chromium {
    driver: Child,
    client: Client,
    session: String,
    _profile: TempDir,
}

/// What does not come after so long does not come.
const PATIENCE: Duration = Duration::from_mins(1);
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

impl Chromium {
    /// Opens one.
    pub fn open(view: View) -> Self {
        let profile = tempfile::tempdir().expect("a directory");
        let mut driver = tools::command("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let port = port(&mut driver);
        let client = Client::program(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let flags = FLAGS.iter().map(|flag| (*flag).to_owned());
        let own = [format!("--user-data-dir={}", profile.path().display())];
        let arguments: Vec<String> = flags.chain(own).collect();
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let mut browser = Self { driver, client, session: String::new(), _profile: profile };
        let begun = browser.ask("POST", "/session", &wanted);
        browser.session = begun["sessionId"].as_str().expect("a session").into();
        let size = json!({ "width": view.width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        browser.tell("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if view.dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.tell("Emulation.setEmulatedMedia", &features);
        browser.tell("Emulation.setScriptExecutionDisabled", &json!({ "value": !view.scripts }));
        browser
    }

    /// Opens a page.
    pub fn go(&mut self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
    }
    /// The address of the page.
    pub fn url(&mut self) -> String {
        self.command("GET", "/url", &Value::Null).as_str().expect("a URL").to_owned()
    }
    /// Becomes a browser that knows nothing of the site.
    pub fn forget(&mut self) {
        self.command("DELETE", "/cookie", &Value::Null);
    }
    /// Whether an element is there.
    pub fn has(&mut self, css: &str) -> bool {
        let found = self.command("POST", "/elements", &json!({ "using": "css selector", "value": css }));
        found.as_array().is_some_and(|found| !found.is_empty())
    }
    /// Waits until an element is there.
    #[track_caller]
    pub fn wait_for(&mut self, css: &str) {
        let give_up = Instant::now() + PATIENCE;
        while !self.has(css) {
            assert!(Instant::now() < give_up, "{css} is not on {}\n{}", self.url(), self.text("body"));
            sleep(Duration::from_millis(50));
        }
    }
    /// Types into an element, after what is in it.
    #[track_caller]
    pub fn fill(&mut self, css: &str, text: &str) {
        let element = self.element(css);
        self.command("POST", &format!("/element/{element}/value"), &json!({ "text": text }));
    }
    /// Clicks on an element.
    #[track_caller]
    pub fn click(&mut self, css: &str) {
        let element = self.element(css);
        self.command("POST", &format!("/element/{element}/click"), &json!({}));
    }
    /// What is to be read in an element.
    #[track_caller]
    pub fn text(&mut self, css: &str) -> String {
        let element = self.element(css);
        let text = self.command("GET", &format!("/element/{element}/text"), &Value::Null);
        text.as_str().unwrap_or_default().to_owned()
    }
    /// An attribute of an element.
    #[track_caller]
    pub fn attribute(&mut self, css: &str, name: &str) -> Option<String> {
        let element = self.element(css);
        let value = self.command("GET", &format!("/element/{element}/attribute/{name}"), &Value::Null);
        value.as_str().map(Into::into)
    }
    /// The id of the element that has the focus.
    pub fn focused(&mut self) -> String {
        self.run("return document.activeElement.id", &json!([])).as_str().unwrap_or_default().to_owned()
    }
    /// What a script answers; the last of its arguments is a function when it answers later.
    pub fn run(&mut self, script: &str, arguments: &Value) -> Value {
        let waits = script.contains("arguments[arguments.length - 1]");
        let path = if waits { "/execute/async" } else { "/execute/sync" };
        self.command("POST", path, &json!({ "script": script, "args": arguments }))
    }
    /// What the browser complained about since it was last asked.
    pub fn complaints(&mut self) -> Vec<String> {
        let log = self.command("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().into_iter().flatten().filter(|entry| entry["level"] != "DEBUG");
        let message = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        // A page that says what was wrong with a form has the status for it, which the browser notes.
        let expected = |message: &String| message.contains("the server responded with a status of 4");
        entries.map(message).filter(|message| !expected(message)).collect()
    }
    /// The whole page as a picture, PNG, written to `file`.
    pub fn picture(&mut self, file: &Path) {
        let size = self.tell("Page.getLayoutMetrics", &json!({}));
        let size = &size["cssContentSize"];
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let picture = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let picture = self.tell("Page.captureScreenshot", &picture);
        fs::write(file, decoded(picture["data"].as_str().expect("a picture"))).expect("a file");
    }

    fn element(&mut self, css: &str) -> String {
        self.wait_for(css);
        let found = self.command("POST", "/element", &json!({ "using": "css selector", "value": css }));
        let id = found.as_object().and_then(|found| found.values().next());
        id.and_then(Value::as_str).expect("an element").to_owned()
    }
    /// A command of Chromium's own protocol.
    fn tell(&mut self, command: &str, parameters: &Value) -> Value {
        self.command("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }
    fn command(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        self.ask(method, &path, body)
    }
    #[track_caller]
    fn ask(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let json = [("content-type", "application/json")];
        let reply = self.client.send(method, path, &json, Some(body.as_bytes())).expect("a WebDriver");
        assert_eq!(reply.status, 200, "{method} {path} {body}: {}", reply.text());
        reply.json()["value"].take()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let path = format!("/session/{}", self.session);
        let _ = self.client.send("DELETE", &path, &[], None);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// The rules of axe-core, to be run in a page.
pub fn axe() -> String {
    let file = xtask::tools::axe().expect("where tools are");
    let missing = |error| panic!("{}: {error}; `cargo xtask test` installs it", file.display());
    fs::read_to_string(&file).unwrap_or_else(missing)
}

/// The port that the driver says it listens on.
fn port(driver: &mut Child) -> u16 {
    let mut output = BufReader::new(driver.stdout.take().expect("its output"));
    let mut line = String::new();
    while output.read_line(&mut line).expect("a line") > 0 {
        if let Some((_, port)) =
            line.trim_end().trim_end_matches('.').rsplit_once("started successfully on port ")
        {
            // What it goes on to say is read by nobody, and must not stop it.
            std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
            return port.parse().expect("a port");
        }
        line.clear();
    }
    panic!("chromedriver ended: {}", project::root().display());
}

/// RFC 4648, section 4, as the driver encodes pictures.
fn decoded(base64: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = base64.bytes().filter_map(|byte| ALPHABET.iter().position(|digit| *digit == byte));
    let digits: Vec<u32> = digits.map(|digit| u32::try_from(digit).expect("a digit")).collect();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}

//! An HTTP server that receives webhooks, and can be at fault in every way that matters.
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, SystemTime},
};

/// The secret that receivers share with whoever posts to them.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// A signature is good for so long, in seconds, as the specification's libraries have it.
const TOLERANCE: u64 = 300;

/// What a receiver does with one request, once it has read it.
#[derive(Debug, Clone)]
pub enum Manner {
    /// Answers with that status.
    Answer(u16),
    /// Sends the client elsewhere.
    Redirect(String),
    /// Closes the connection.
    HangUp,
    /// Says nothing for as long as the client waits.
    Silence,
    /// Says a byte of its answer a second, and never ends.
    Drip,
    /// Answers 200 with a body that never ends.
    EndlessBody,
    /// Answers 200 with headers that never end.
    EndlessHead,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Posted {
    /// `POST /hook`.
    pub line: String,
    /// Names are lower case.
    pub headers: BTreeMap<String, String>,
    /// The bytes that are signed.
    pub body: Vec<u8>,
    /// What a receiver that follows Standard Webhooks makes of it.
    pub verdict: Result<(), &'static str>,
}

impl Posted {
    /// A header; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// A receiver on a port of its own, until the test ends.
#[derive(Debug, Clone)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    manners: VecDeque<Manner>,
    posted: Vec<Posted>,
}

impl Receiver {
    /// One that treats its first requests in these manners, and answers 204 from then on.
    pub fn start(manners: impl IntoIterator<Item = Manner>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = State { manners: manners.into_iter().collect(), ..State::default() };
        let receiver = Self { address, state: Arc::new(Mutex::new(state)) };
        let serving = receiver.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let receiver = serving.clone();
                thread::spawn(move || receiver.serve(connection));
            }
        });
        receiver
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// What has arrived.
    pub fn posted(&self) -> Vec<Posted> {
        self.state().posted.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics here")
    }

    fn serve(&self, connection: TcpStream) {
        let mut out = connection.try_clone().expect("a second handle");
        let mut input = BufReader::new(connection);
        while let Some((line, headers, body)) = request(&mut input) {
            let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_secs());
            let verdict = verify(SECRET, now, &headers, &body);
            let manner = {
                let mut state = self.state();
                state.posted.push(Posted { line, headers, body, verdict });
                state.manners.pop_front().unwrap_or(Manner::Answer(204))
            };
            if behave(&manner, &mut out).is_none() {
                // A client that waits for a close gets one.
                let _ = out.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    }
}

/// One request; `None` when the client has gone.
fn request(input: &mut impl BufRead) -> Option<(String, BTreeMap<String, String>, Vec<u8>)> {
    let mut next = || {
        let mut line = String::new();
        input.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = next()?;
    let mut headers = BTreeMap::new();
    loop {
        let line = next()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
    let mut body = vec![0; length];
    input.read_exact(&mut body).ok()?;
    let line = first.trim_end_matches(" HTTP/1.1").to_owned();
    Some((line, headers, body))
}

/// Answers; `None` when the connection is to be closed.
fn behave(manner: &Manner, out: &mut impl Write) -> Option<()> {
    let again = |out: &mut dyn Write, text: &str, pause: Duration| {
        // Ends when the client has had enough.
        while out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok() {
            thread::sleep(pause);
        }
        None
    };
    match manner {
        Manner::Answer(status) => write!(out, "HTTP/1.1 {status} As asked\r\ncontent-length: 0\r\n\r\n").ok(),
        Manner::Redirect(to) => {
            write!(out, "HTTP/1.1 307 Elsewhere\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").ok()
        }
        Manner::HangUp => None,
        Manner::Silence => {
            // Longer than any client waits; the thread goes with the test.
            thread::sleep(Duration::from_mins(5));
            None
        }
        Manner::Drip => {
            write!(out, "HTTP/1.1 200 OK\r\nx-slow: ").ok()?;
            again(out, "z", Duration::from_secs(1))
        }
        Manner::EndlessBody => {
            write!(out, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").ok()?;
            again(out, &format!("1000\r\n{}\r\n", "z".repeat(0x1000)), Duration::ZERO)
        }
        Manner::EndlessHead => {
            write!(out, "HTTP/1.1 200 OK\r\n").ok()?;
            again(out, &format!("x-large: {}\r\n", "z".repeat(1000)), Duration::ZERO)
        }
    }
}

/// As the specification wants a receiver to check: the age, then one of the signatures.
pub fn verify(
    secret: &str,
    now: u64,
    headers: &BTreeMap<String, String>,
    body: &[u8],
) -> Result<(), &'static str> {
    let header = |name: &str| headers.get(name).ok_or("a header is missing");
    let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
    let sent: u64 = timestamp.parse().map_err(|_| "the timestamp is no number")?;
    if now.abs_diff(sent) > TOLERANCE {
        return Err("the timestamp is too old or too new");
    }
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).map_err(|_| "the secret is not base64")?;
    let signatures: HashSet<&str> = header("webhook-signature")?.split(' ').collect();
    let is_ours = signatures.iter().filter_map(|one| one.strip_prefix("v1,")).any(|encoded| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        STANDARD.decode(encoded).is_ok_and(|tag| mac.verify_slice(&tag).is_ok())
    });
    if is_ours { Ok(()) } else { Err("no signature is right") }
}

//! Clients by the thousand: HTTP/1.1 over sockets of our own, kept open, from any address of 127.0.0.0/8.
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    sync::Barrier,
    time::timeout,
};

/// Whoever waits longer has met a hang.
const PATIENCE: Duration = Duration::from_mins(1);

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// From the last byte sent to the last byte read.
    pub(crate) took: Duration,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// A member of the JSON body, as text.
    pub(crate) fn member(&self, name: &str) -> Option<String> {
        self.json()[name].as_str().map(str::to_owned)
    }
    /// The slug of a problem document.
    pub(crate) fn problem(&self) -> String {
        let kind = self.member("type").unwrap_or_default();
        kind.strip_prefix("urn:countersign:problem:").unwrap_or_default().to_owned()
    }
    /// Status and slug, for reports.
    pub(crate) fn label(&self) -> String {
        format!("{} {}", self.status, self.problem()).trim_end().to_owned()
    }
    /// The answer, if it has that status.
    pub(crate) fn expect(self, status: u16) -> anyhow::Result<Self> {
        let (seen, text) = (self.status, self.text());
        if seen == status { Ok(self) } else { anyhow::bail!("{seen} instead of {status}: {text}") }
    }
}

/// One client: where from, what it holds, and its connection.
#[derive(Debug)]
pub(crate) struct Client {
    to: SocketAddr,
    from: Ipv4Addr,
    /// A browser's cookies; empty in a program.
    pub(crate) cookies: BTreeMap<String, String>,
    pub(crate) bearer: Option<String>,
    /// Where it is counted how many requests are sent and not answered.
    unanswered: Arc<AtomicUsize>,
    connection: Option<BufReader<TcpStream>>,
}

impl Clone for Client {
    /// The same holder on another connection.
    fn clone(&self) -> Self {
        let (cookies, bearer) = (self.cookies.clone(), self.bearer.clone());
        Self { cookies, bearer, unanswered: self.unanswered.clone(), ..Self::from(self.to, self.from) }
    }
}

impl Client {
    pub(crate) fn new(to: SocketAddr) -> Self {
        Self::from(to, Ipv4Addr::LOCALHOST)
    }
    /// One that comes from `from`.
    pub(crate) fn from(to: SocketAddr, from: Ipv4Addr) -> Self {
        let unanswered = Arc::default();
        Self { to, from, cookies: BTreeMap::new(), bearer: None, unanswered, connection: None }
    }
    /// A program with a token.
    pub(crate) fn with_bearer(mut self, token: &str) -> Self {
        self.bearer = Some(token.to_owned());
        self
    }

    /// Counts there how many requests are sent and not answered.
    pub(crate) fn counted(mut self, unanswered: &Arc<AtomicUsize>) -> Self {
        self.unanswered = unanswered.clone();
        self
    }

    /// Connects, if it has not.
    pub(crate) async fn connect(&mut self) -> io::Result<()> {
        if self.connection.is_none() {
            let socket = TcpSocket::new_v4()?;
            // A port that is taken before it is known what for is shared with no other connection; they run out.
            if self.from != Ipv4Addr::LOCALHOST {
                socket.bind((self.from, 0).into())?;
            }
            let stream = timeout(PATIENCE, socket.connect(self.to)).await??;
            stream.set_nodelay(true)?;
            self.connection = Some(BufReader::new(stream));
        }
        Ok(())
    }

    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.send(&self.request("GET", path, &[], None)).await
    }
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> io::Result<Reply> {
        self.send(&self.request("POST", path, &[], Some(body.to_string().as_bytes()))).await
    }
    /// Posts when all others are ready to: everything but the last byte has gone before.
    pub(crate) async fn post_at(&mut self, path: &str, body: &Value, start: &Barrier) -> io::Result<Reply> {
        let request = self.request("POST", path, &[], Some(body.to_string().as_bytes()));
        let ready = async {
            self.connect().await?;
            let Some(connection) = self.connection.as_mut() else {
                return Err(ErrorKind::NotConnected.into());
            };
            connection.get_mut().write_all(&request[..request.len() - 1]).await
        };
        let ready = ready.await;
        start.wait().await;
        ready?;
        self.send(&request[request.len() - 1..]).await
    }

    /// A request as bytes. A path below `/` is one below `/api/auth`, unless it begins with `//`.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Vec<u8> {
        let path = path
            .strip_prefix('/')
            .filter(|rest| rest.starts_with('/'))
            .map_or_else(|| format!("/api/auth{path}"), str::to_owned);
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.to);
        let mut add = |name: &str, value: &str| {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        };
        if let Some(token) = &self.bearer {
            add("authorization", &format!("Bearer {token}"));
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            add("cookie", &pairs.join("; "));
        }
        if let Some(body) = body {
            if !headers.iter().any(|(name, _)| *name == "content-type") {
                add("content-type", "application/json");
            }
            add("content-length", &body.len().to_string());
        }
        headers.iter().for_each(|(name, value)| add(name, value));
        [head.as_bytes(), b"\r\n", body.unwrap_or_default()].concat()
    }

    /// Sends bytes and reads one answer. A connection that was closed while it was idle is made anew, once.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<Reply> {
        let was_open = self.connection.is_some();
        match self.exchange(bytes).await {
            Err(error) if was_open && is_closed(&error) && bytes.len() > 1 => self.exchange(bytes).await,
            done => done,
        }
    }

    async fn exchange(&mut self, bytes: &[u8]) -> io::Result<Reply> {
        self.connect().await?;
        let Some(mut connection) = self.connection.take() else { return Err(ErrorKind::NotConnected.into()) };
        connection.get_mut().write_all(bytes).await?;
        let (begun, _unanswered) = (Instant::now(), Unanswered::new(&self.unanswered));
        let mut reply = timeout(PATIENCE, read(&mut connection)).await??;
        reply.took = begun.elapsed();
        if !reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.connection = Some(connection);
        }
        self.remember(&reply);
        Ok(reply)
    }

    /// Takes over the cookies that an answer sets.
    pub(crate) fn remember(&mut self, reply: &Reply) {
        if self.bearer.is_some() {
            return;
        }
        for (_, line) in reply.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let Some((name, value)) = line.split(';').next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            if line.to_ascii_lowercase().contains("max-age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// One more that is not answered, as long as this lives.
struct Unanswered(Arc<AtomicUsize>);

impl Unanswered {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count.clone())
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionAborted
    )
}

/// Reads one answer with a length.
async fn read(from: &mut BufReader<TcpStream>) -> io::Result<Reply> {
    let bad = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    if from.read_line(&mut line).await? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| bad(&line))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        if from.read_line(&mut line).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':').ok_or_else(|| bad(text))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, n)| n.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    from.read_exact(&mut body).await?;
    Ok(Reply { status, headers, body, took: Duration::ZERO })
}

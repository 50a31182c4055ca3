//! A small HTTP/1.1 client over plain TCP, with a jar for cookies or a bearer token. One connection a request.
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    borrow::Borrow,
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How a client holds its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// As a browser does: whatever was set, by name.
    Cookies(BTreeMap<String, String>),
    /// As a program does: the token of an answer, once there was one.
    Bearer(Option<String>),
}

/// A client. Clones share nothing, so a clone is another browser that stole this one's session.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    /// What it shows to be let in; open to tests that play with it.
    pub credentials: Credentials,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body, transfer encoding undone.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// The body as JSON, of an answer that must have this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }
    /// The answer must be this problem, as the contract says it: RFC 9457, not to be stored, with the seconds to
    /// wait in two places where there is something to wait for.
    #[track_caller]
    pub fn refused(&self, status: u16, slug: &str) {
        assert_eq!((self.status, self.problem().as_deref()), (status, Some(slug)), "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let body = self.json();
        assert_eq!(body["status"], status);
        assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
        let wait = self.header("retry-after").map(|wait| wait.parse().expect("seconds"));
        assert_eq!(body["retry_after"].as_u64(), wait, "{body}");
        assert_eq!(wait.is_some(), matches!(status, 429 | 503), "{body}");
    }
    /// The slug of a problem document.
    pub fn problem(&self) -> Option<String> {
        let kind = self.json()["type"].as_str()?.to_owned();
        kind.strip_prefix("urn:countersign:problem:").map(Into::into)
    }
}

/// No answer is worth waiting longer for.
const PATIENCE: Duration = Duration::from_secs(30);

impl Client {
    /// A browser that has just been opened.
    pub fn browser(address: SocketAddr) -> Self {
        Self { address, credentials: Credentials::Cookies(BTreeMap::new()) }
    }
    /// A program that carries a token.
    pub fn program(address: SocketAddr) -> Self {
        Self { address, credentials: Credentials::Bearer(None) }
    }
    /// Whether it asks for bearer sessions.
    pub fn is_bearer(&self) -> bool {
        matches!(self.credentials, Credentials::Bearer(_))
    }

    /// `GET`.
    pub fn get(&mut self, path: &str) -> Result<Reply> {
        self.send("GET", path, &[], None)
    }
    /// `POST` of JSON.
    pub fn post(&mut self, path: &str, body: &Value) -> Result<Reply> {
        let text = body.to_string();
        self.send("POST", path, &[("content-type", "application/json")], Some(text.as_bytes()))
    }
    /// `DELETE`.
    pub fn delete(&mut self, path: &str) -> Result<Reply> {
        self.send("DELETE", path, &[], None)
    }

    /// A row of the contract, such as `POST /login`: the path stands below `/api/auth`. `Null` is no body.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn ask(&mut self, row: &str, body: impl Borrow<Value>) -> Reply {
        self.ask_with(row, &[], body)
    }
    /// The same, with headers.
    #[track_caller]
    pub fn ask_with(&mut self, row: &str, headers: &[(&str, &str)], body: impl Borrow<Value>) -> Reply {
        let (method, path) = row.split_once(' ').expect("a method and a path");
        let path = format!("/api/auth{path}");
        let text = Some(body.borrow()).filter(|body| !body.is_null()).map(Value::to_string);
        let json = text.iter().map(|_| ("content-type", "application/json"));
        let headers: Vec<_> = json.chain(headers.iter().copied()).collect();
        match self.send(method, &path, &headers, text.as_deref().map(str::as_bytes)) {
            Ok(reply) => reply,
            Err(error) => panic!("{row}: {error:#}"),
        }
    }
    /// The cookie of that name, in a browser that has it.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        match &self.credentials {
            Credentials::Cookies(jar) => jar.get(name).map(String::as_str),
            Credentials::Bearer(_) => None,
        }
    }

    /// Any request. Headers that are given replace those that the client would set.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Reply> {
        let mut all = BTreeMap::from([
            ("host".to_owned(), self.address.to_string()),
            ("connection".to_owned(), "close".to_owned()),
        ]);
        if body.is_some() || method == "POST" {
            all.insert("content-length".into(), body.map_or(0, <[u8]>::len).to_string());
        }
        match &self.credentials {
            Credentials::Cookies(jar) if !jar.is_empty() => {
                let pairs: Vec<_> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
                all.insert("cookie".into(), pairs.join("; "));
            }
            Credentials::Bearer(Some(token)) => {
                all.insert("authorization".into(), format!("Bearer {token}"));
            }
            _ => {}
        }
        all.extend(headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())));

        let mut request = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
        for (name, value) in &all {
            request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body.unwrap_or_default());
        let reply = exchange(self.address, &request).with_context(|| format!("{method} {path}"))?;
        self.remember(&reply);
        Ok(reply)
    }

    fn remember(&mut self, reply: &Reply) {
        match &mut self.credentials {
            Credentials::Cookies(jar) => {
                for (_, cookie) in reply.headers.iter().filter(|(name, _)| name == "set-cookie") {
                    let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
                    let Some((name, value)) = pair.split_once('=') else { continue };
                    let ends = attributes.split(';').any(|a| a.trim().eq_ignore_ascii_case("max-age=0"));
                    if ends {
                        jar.remove(name.trim());
                    } else {
                        jar.insert(name.trim().into(), value.trim().into());
                    }
                }
            }
            Credentials::Bearer(token) => {
                if let Some(new) = reply.json()["token"].as_str() {
                    *token = Some(new.to_owned());
                }
            }
        }
    }
}

/// Sends bytes as they are, well formed or not, and reads one answer.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // A server that refuses a request early may close before it has read it all, and has still answered.
    let sent = stream.write_all(request);
    read(&mut BufReader::new(stream), request.starts_with(b"HEAD ")).or_else(|error| {
        sent?;
        Err(error)
    })
}

fn read(from: &mut impl BufRead, head_only: bool) -> Result<Reply> {
    let status_line = line(from)?;
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("not an HTTP answer: {status_line:?}"))?;
    let mut headers = Vec::new();
    loop {
        let header = line(from)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').with_context(|| format!("not a header: {header:?}"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut reply = Reply { status, headers, body: Vec::new() };
    if head_only {
        return Ok(reply);
    }
    if reply.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        read_chunks(from, &mut reply.body)?;
    } else if let Some(length) = reply.header("content-length") {
        let length: u64 = length.parse()?;
        from.take(length).read_to_end(&mut reply.body)?;
        ensure!(reply.body.len() as u64 == length, "the answer broke off");
    } else if !matches!(status, 204 | 304) {
        from.read_to_end(&mut reply.body)?;
    }
    Ok(reply)
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> Result<()> {
    loop {
        let head = line(from)?;
        let size = head.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).with_context(|| format!("not a chunk: {head:?}"))?;
        let before = body.len() as u64;
        from.take(size).read_to_end(body)?;
        ensure!(body.len() as u64 == before + size, "the answer broke off");
        let end = line(from)?;
        ensure!(end.is_empty(), "a chunk without an end");
        if size == 0 {
            return Ok(());
        }
    }
}

fn line(from: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        bail!("the connection was closed without an answer");
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::browser(SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    #[test]
    fn answers_are_read_in_each_framing() {
        let cases: [(&[u8], u16, &str); 4] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiXX", 200, "hi"),
            (
                b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;x\r\n me\r\n0\r\n\r\n",
                401,
                "hi me",
            ),
            (b"HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
            (b"HTTP/1.1 400 Bad\r\n\r\nuntil the end", 400, "until the end"),
        ];
        for (bytes, status, body) in cases {
            let reply = read(&mut &bytes[..], false).expect("an answer");
            assert_eq!((reply.status, reply.text().as_str()), (status, body));
        }
        assert!(read(&mut &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"[..], false).is_err());
        assert!(read(&mut &b""[..], false).is_err());
        // What HEAD is answered says how long the body would have been.
        let head = read(&mut &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"[..], true).expect("an answer");
        assert_eq!(head.body, b"");
    }

    #[test]
    fn the_jar_keeps_and_drops_cookies() {
        let mut browser = client();
        let with = |cookie: &str| Reply {
            status: 200,
            headers: vec![("set-cookie".into(), cookie.into())],
            body: Vec::new(),
        };
        browser.remember(&with("countersign=abc; HttpOnly; Path=/"));
        assert_eq!(browser.credentials, Credentials::Cookies([("countersign".into(), "abc".into())].into()));
        browser.remember(&with("countersign=; Max-Age=0; Path=/"));
        assert_eq!(browser.credentials, Credentials::Cookies(BTreeMap::new()));
    }

    #[test]
    fn a_program_takes_the_newest_token() {
        let mut program = Client { credentials: Credentials::Bearer(None), ..client() };
        let body = br#"{"token":"new"}"#.to_vec();
        program.remember(&Reply { status: 200, headers: Vec::new(), body });
        assert_eq!(program.credentials, Credentials::Bearer(Some("new".into())));
    }
}

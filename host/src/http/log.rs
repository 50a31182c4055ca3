//! One line for each request, in which nobody can write another.
use super::problem::Cause;
use crate::metrics::{BROKEN_OFF, PROBLEMS, REQUEST_SECONDS, REQUESTS, labels};
use axum::{
    body::Body,
    http::{HeaderMap, Response, request::Parts},
};
use std::{
    fmt,
    future::Future,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

/// A path is a client's own text: so much of it is logged.
const MAX_PATH: usize = 200;

/// Longer than the ids of proxies are: HAProxy's, with two addresses in it, is one of the longest.
const MAX_PROXY_ID: usize = 128;

/// The number of a request, unlike those of other runs: the answer carries it as `X-Request-Id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 16]);

tokio::task_local! {
    /// The request that is being answered. A span that carries it cost a session check 4,000 instructions more.
    static CURRENT: RequestId;
}

impl RequestId {
    /// Has every line name this request that is logged while it is answered.
    pub(crate) fn named_in<F: Future>(self, answering: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, answering)
    }
    /// The request that is being answered here, if there is one.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_get().ok()
    }

    pub(crate) fn next() -> Self {
        /// Differs between runs; that is all it has to do.
        static RUN: LazyLock<u32> =
            LazyLock::new(|| (RandomState::new().hash_one(std::process::id()) >> 32) as u32);
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        Self::of(*RUN, NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// Written out once: it is asked for four times in each request.
    fn of(run: u32, number: u32) -> Self {
        let all = u64::from(run) << 32 | u64::from(number);
        Self(std::array::from_fn(|at| b"0123456789abcdef"[(all >> (60 - 4 * at) & 0xf) as usize]))
    }

    /// Always as long, whatever the number.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The route that answers, as it is written and never as it was asked for. Travels beside the response.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(String);

impl Pattern {
    pub(crate) fn of(path: impl Into<String>) -> Self {
        Self(path.into())
    }
    /// Says of a response where it comes from.
    pub(crate) fn mark(self, response: &mut Response<Body>) {
        response.extensions_mut().insert(self);
    }
}

/// The line of a request, written when it is answered or given up.
pub(super) struct Line {
    id: RequestId,
    /// By what number a trusted proxy knows it.
    proxy_id: Option<String>,
    peer: Arc<str>,
    method: String,
    path: String,
    started: Instant,
    answered: bool,
}

impl Line {
    pub(super) fn new(id: RequestId, peer: Arc<str>, proxied: bool, request: &Parts) -> Self {
        let (method, path) = (safe(request.method.as_str()), safe(request.uri.path()));
        let proxy_id = proxied.then(|| proxy_id(&request.headers)).flatten();
        Self { id, proxy_id, peer, method, path, started: Instant::now(), answered: false }
    }

    /// Writes it, and counts the request. What is wrong with the server is a warning, what is wrong with a request is
    /// not.
    pub(super) fn answered(mut self, response: &Response<Body>, pattern: Option<&Pattern>) {
        self.answered = true;
        let status = response.status().as_u16();
        let cause = response.extensions().get::<Cause>();
        self.count(pattern, response.status().as_str(), cause);
        let (problem, because) = cause.map_or(("", ""), |cause| (cause.slug, cause.log.as_str()));
        let (id, peer, method, path) = self.named();
        let (proxy_id, micros) = (self.proxy_id.as_deref(), self.micros());
        if status >= 500 {
            tracing::warn!(
                target: "countersign::http",
                request = id, proxy_id, peer, method, path, status, micros, problem, because, "request"
            );
        } else {
            tracing::info!(
                target: "countersign::http",
                request = id, proxy_id, peer, method, path, status, micros, problem, because, "request"
            );
        }
    }

    fn count(&self, pattern: Option<&Pattern>, status: &str, cause: Option<&Cause>) {
        // What was refused before there was a route, or has none, is told apart by its status alone.
        let route = pattern.map_or("none", |pattern| &pattern.0);
        let known = ["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"];
        let method = known.into_iter().find(|method| *method == self.method).unwrap_or("other");
        REQUESTS.count(&labels([("route", route), ("method", method), ("status", status)]));
        REQUEST_SECONDS.took(&labels([("route", route)]), self.started.elapsed());
        if let Some(cause) = cause {
            PROBLEMS.count(&labels([("problem", cause.slug)]));
        }
    }

    /// As texts, which need no formatting: that was a tenth of what a line cost.
    fn named(&self) -> (&str, &str, &str, &str) {
        (self.id.as_str(), &self.peer, &self.method, &self.path)
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.answered {
            BROKEN_OFF.count("");
            let (id, peer, method, path) = self.named();
            let (proxy_id, micros) = (self.proxy_id.as_deref(), self.micros());
            tracing::warn!(
                target: "countersign::http",
                request = id, proxy_id, peer, method, path, micros, "request broken off"
            );
        }
    }
}

/// The `X-Request-Id` of a proxy, where it is one, and looks like one: letters, digits and `-_.:`. It stands beside our
/// own number and never for it, since a proxy may pass on what a client has made up.
fn proxy_id(headers: &HeaderMap) -> Option<String> {
    let mut said = headers.get_all("x-request-id").iter();
    let (Some(id), None) = (said.next(), said.next()) else { return None };
    let id = id.to_str().ok().filter(|id| (1..=MAX_PROXY_ID).contains(&id.len()))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    id.bytes().all(plain).then(|| id.to_owned())
}

/// Printable ASCII, escaped where it was not, and of bounded length.
fn safe(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\'' | b'"' | b'\\');
    if text.len() <= MAX_PATH && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    text.escape_default().take(MAX_PATH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use parking_lot::Mutex;
    use std::{io, sync::Arc};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl MakeWriter<'_> for Lines {
        type Writer = Self;
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn logged(work: impl FnOnce()) -> String {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
        tracing::subscriber::with_default(subscriber, work);
        String::from_utf8(lines.0.lock().clone()).unwrap()
    }

    fn line(method: &str, uri: &str) -> Line {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        Line::new(RequestId::next(), "192.0.2.1".into(), false, &request.into_parts().0)
    }

    #[test]
    fn the_number_of_a_proxy_stands_beside_ours_when_the_proxy_is_trusted() {
        let most = "a".repeat(MAX_PROXY_ID);
        let over = format!("{most}a");
        let cases: [(bool, &[&str], Option<&str>); 11] = [
            (true, &["9f-_.:Z"], Some("9f-_.:Z")),
            (true, &[&most], Some(&most)),
            (true, &[], None),
            (false, &["9f"], None),
            (true, &["9f", "9f"], None),
            (true, &["9f, 9f"], None),
            (true, &[""], None),
            (true, &[&over], None),
            (true, &["a\u{fc}"], None),
            (true, &["a request=forged"], None),
            (true, &["a\"b"], None),
        ];
        for (proxied, said, wanted) in cases {
            let mut request = Request::builder().uri("/");
            for id in said {
                request = request.header("X-Request-Id", id.as_bytes());
            }
            let (id, peer) = (RequestId::next(), "192.0.2.1".into());
            let line = Line::new(id, peer, proxied, &request.body(()).unwrap().into_parts().0);
            assert_eq!(line.proxy_id.as_deref(), wanted, "{proxied} {said:?}");
            let text = logged(|| line.answered(&Response::new(Body::empty()), None));
            let shown = wanted.map(|wanted| format!("proxy_id=\"{wanted}\""));
            assert!(text.contains(&format!("request=\"{id}\"")), "{text}");
            assert!(shown.map_or(!text.contains("proxy_id"), |shown| text.contains(&shown)), "{text}");
        }
    }

    #[test]
    fn a_line_has_the_path_without_its_query_and_the_cause_for_the_log() {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(Cause { slug: "invalid-code", log: "step 7 is spent".into() });
        let text = logged(|| line("POST", "/mfa/verify?token=canary").answered(&response, None));
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in ["/mfa/verify", "POST", "status=200", "192.0.2.1", "invalid-code", "step 7 is spent"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("canary"), "{text}");
    }

    #[test]
    fn a_request_that_is_given_up_has_its_line_too() {
        let text = logged(|| drop(line("GET", "/")));
        assert!(text.contains("broken off") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn nobody_writes_a_line_of_their_own() {
        assert_eq!(safe("/a\r\nb\u{1b}[31m\u{fc}"), "/a\\r\\nb\\u{1b}[31m\\u{fc}");
        assert_eq!(safe("/a'b\"c\\d e/~"), "/a\\'b\\\"c\\\\d e/~");
        assert_eq!(safe(&"/".repeat(10_000)).len(), MAX_PATH);
    }

    #[test]
    fn ids_differ_and_have_one_length() {
        let ids = [RequestId::next(), RequestId::next()];
        assert_ne!(ids[0], ids[1]);
        assert!(ids.iter().all(|id| id.to_string().len() == 16));
        assert_eq!(RequestId::of(0xab, u32::MAX - 1).to_string(), "000000abfffffffe");
    }
}

//! Where a message ends, and whether everybody would agree on that.
//!
//! The parser follows RFC 9112 §6.3 in letting `Transfer-Encoding` win over a `Content-Length` beside it, and
//! hides that there were two. A proxy in front may have let the other one win: that is request smuggling. So
//! the wire hands over no byte beyond the end of one head, the flow keeps that head until its request is
//! begun, and [`Flow::begin`] says whether the two would disagree. What is withheld is whole messages, never
//! parts of one that the parser would have understood.
use axum::http::{HeaderMap, header};
use parking_lot::Mutex;
use std::{io, sync::Arc, time::Duration};

/// Raw bytes of a chunked body: room for 16 KiB in chunks of four, and an end to chunks of one.
const CHUNKED_MAX: u64 = 40 << 10;

/// How long the wire waits, and for what.
#[derive(Clone, Copy)]
pub(super) struct Waits {
    /// From the first byte of a head (or, on a new connection, from the start) to its end.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
    /// For the client to take any byte of an answer.
    pub(super) write: Duration,
}

/// Tells one wait from the next: how many requests came before it, and whether it is for one more.
pub(super) type Wait = (u64, bool);

/// Whether a request has one length, whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Sound,
    Ambiguous,
}

/// What comes next on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Head,
    /// So many bytes of a body, then a head.
    Body(u64),
    /// At most so many bytes, and no head after them: the connection ends with this request.
    Chunked(u64),
}

struct State {
    next: Next,
    /// The head that is being read, or was read and not yet begun.
    head: Vec<u8>,
    /// A request is with its handler.
    serving: bool,
    /// An answer waits for the client to take it.
    stalled: bool,
    /// The client was told to come back later.
    dismissed: bool,
    /// How many requests were begun.
    begun: u64,
}

/// What the wire and the service of one connection tell each other.
#[derive(Clone)]
pub(super) struct Flow(Arc<Mutex<State>>);

impl Flow {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            next: Next::Head,
            head: Vec::new(),
            serving: false,
            stalled: false,
            dismissed: false,
            begun: 0,
        })))
    }

    /// The parser has made a request of the head. `length` is that of its body, unless it is chunked.
    pub(super) fn begin(&self, headers: &HeaderMap, length: Option<u64>) -> (Serving, Framing) {
        let mut state = self.0.lock();
        let chunked = headers.contains_key(header::TRANSFER_ENCODING);
        let ambiguous = match length {
            _ if chunked => !only_chunked(headers) || lengths(&state.head) > 0,
            Some(length) if length > 0 => lengths(&state.head) > 1,
            _ => false,
        };
        state.next = match length {
            _ if chunked => Next::Chunked(CHUNKED_MAX),
            Some(length) if length > 0 => Next::Body(length),
            _ => Next::Head,
        };
        state.head.clear();
        state.head.shrink_to(2 << 10);
        state.serving = true;
        state.begun += 1;
        let framing = if ambiguous { Framing::Ambiguous } else { Framing::Sound };
        (Serving(self.clone()), framing)
    }

    /// Takes from `bytes`, as they came, what the parser may have now.
    pub(super) fn pass(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().pass(bytes)
    }

    /// What is waited for while no byte comes, and how long; nothing while a handler has the request, or the client an answer
    /// to take.
    pub(super) fn wait(&self, waits: &Waits) -> Option<(Wait, Duration)> {
        self.0.lock().wait(waits)
    }

    /// Whether an answer waits for the client to take it. Answers which one that is.
    pub(super) fn stalled(&self, stalled: bool) -> Wait {
        let mut state = self.0.lock();
        state.stalled = stalled;
        (state.begun, false)
    }

    /// The client was told to come back later, so nothing more is likely to come soon.
    pub(super) fn is_dismissed(&self) -> bool {
        self.0.lock().dismissed
    }

    /// No request is being answered.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.0.lock();
        !state.serving && !state.stalled
    }

    /// The client may still be sending a body that nobody reads.
    pub(super) fn has_unread_body(&self) -> bool {
        self.0.lock().next != Next::Head
    }
}

/// A request is being served as long as this lives.
pub(super) struct Serving(Flow);

impl Serving {
    /// It is answered; `dismissed` when the client was told to come back later.
    pub(super) fn end(self, dismissed: bool) {
        self.0.0.lock().dismissed = dismissed;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.0.lock().serving = false;
    }
}

/// The one coding that is understood, named once.
fn only_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let first = codings.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
    first && codings.next().is_none()
}

/// How many lines of the head name a `Content-Length`.
fn lengths(head: &[u8]) -> usize {
    let names = head.split(|byte| *byte == b'\n').skip(1).map(|line| {
        let name = line.split(|byte| *byte == b':').next();
        name.unwrap_or_default().trim_ascii()
    });
    names.filter(|name| name.eq_ignore_ascii_case(b"content-length")).count()
}

/// How many bytes of `new` belong to the head that starts with `head`: up to its empty line, if that has come.
/// A bare LF ends a line here because it does so for the parser.
fn to_end_of_head(head: &[u8], new: &[u8]) -> usize {
    let mut from = 0;
    while let Some(found) = new[from..].iter().position(|byte| *byte == b'\n') {
        let at = from + found;
        let mut before = new[..at].iter().rev().chain(head.iter().rev());
        match before.next() {
            Some(b'\n') => return at + 1,
            Some(b'\r') if before.next() == Some(&b'\n') => return at + 1,
            _ => from = at + 1,
        }
    }
    new.len()
}

impl State {
    fn pass(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let within = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        Ok(match self.next {
            Next::Head => {
                let taken = to_end_of_head(&self.head, bytes);
                self.head.extend_from_slice(&bytes[..taken]);
                taken
            }
            Next::Body(left) => {
                let taken = within(left);
                let left = left - taken as u64;
                self.next = if left == 0 { Next::Head } else { Next::Body(left) };
                taken
            }
            Next::Chunked(0) => return Err(io::ErrorKind::FileTooLarge.into()),
            Next::Chunked(left) => {
                let taken = within(left);
                self.next = Next::Chunked(left - taken as u64);
                taken
            }
        })
    }

    fn wait(&self, waits: &Waits) -> Option<(Wait, Duration)> {
        let between = self.next == Next::Head && self.head.is_empty();
        match () {
            () if self.serving || self.stalled => None,
            () if between && self.begun > 0 => Some(((self.begun, true), waits.idle)),
            () => Some(((self.begun, false), waits.head)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_head_ends_at_its_empty_line_wherever_the_reads_fall() {
        for head in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n", "A\r\n\n", "A\n\r\n"]
        {
            let bytes = [head, "GET /next"].concat().into_bytes();
            for split in 0..=bytes.len() {
                let flow = Flow::new();
                let mut state = flow.0.lock();
                let taken = state.pass(&bytes[..split]).unwrap();
                let before = split.min(head.len());
                assert_eq!(taken, before, "{head:?} split at {split}");
                if split < head.len() {
                    assert_eq!(
                        taken + state.pass(&bytes[split..]).unwrap(),
                        head.len(),
                        "{head:?} at {split}"
                    );
                }
            }
        }
    }

    #[test]
    fn two_lengths_are_seen_in_either_order_and_any_case() {
        for (head, coding, framing) in [
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "chunked", Framing::Sound),
            ("POST /content-length: HTTP/1.1\r\nX: content-length\r\n\r\n", "Chunked", Framing::Sound),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\nT: c\r\n\r\n", "chunked", Framing::Ambiguous),
            ("POST / HTTP/1.1\r\nT: c\r\ncONTENT-lENGTH:5\r\n\r\n", "chunked", Framing::Ambiguous),
            ("POST / HTTP/1.1\nT: c\nContent-Length: 0\n\n", "chunked", Framing::Ambiguous),
            ("POST / HTTP/1.1\r\n\r\n", "gzip, chunked", Framing::Ambiguous),
            ("POST / HTTP/1.1\r\n\r\n", "identity", Framing::Ambiguous),
        ] {
            let flow = Flow::new();
            flow.pass(head.as_bytes()).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static(coding));
            assert_eq!(flow.begin(&headers, None).1, framing, "{head:?} {coding}");
        }
        let flow = Flow::new();
        flow.pass(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n").unwrap();
        assert_eq!(flow.begin(&HeaderMap::new(), Some(5)).1, Framing::Ambiguous);
        let mut twice = HeaderMap::new();
        twice.append(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        twice.append(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        assert_eq!(Flow::new().begin(&twice, None).1, Framing::Ambiguous);
    }

    #[test]
    fn a_body_is_followed_by_a_head_and_a_chunked_one_by_nothing() {
        let flow = Flow::new();
        let begun = flow.begin(&HeaderMap::new(), Some(4));
        assert_eq!(flow.pass(b"bodyGET / HTTP/1.1\r\n").unwrap(), 4);
        assert_eq!(flow.0.lock().next, Next::Head);
        drop(begun);

        let mut headers = HeaderMap::new();
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        let _begun = flow.begin(&headers, None);
        let piece = vec![b'0'; 1 << 10];
        let mut passed = 0;
        let error = loop {
            match flow.pass(&piece) {
                Ok(taken) => passed += taken as u64,
                Err(error) => break error,
            }
        };
        assert_eq!((passed, error.kind()), (CHUNKED_MAX, io::ErrorKind::FileTooLarge));
    }

    #[test]
    fn each_wait_has_its_own_deadline() {
        let [head, idle, write] = [1, 2, 3].map(Duration::from_secs);
        let waits = Waits { head, idle, write };
        let flow = Flow::new();
        let wait = || flow.wait(&waits);
        assert_eq!(wait(), Some(((0, false), head)), "a new connection owes a head");
        let serving = flow.begin(&HeaderMap::new(), None).0;
        assert_eq!(wait(), None, "a handler takes the time it takes");
        drop(serving);
        flow.stalled(true);
        assert_eq!(wait(), None, "then the answer is taken");
        flow.stalled(false);
        assert_eq!(wait(), Some(((1, true), idle)), "then it may be idle");
        flow.pass(b"G").unwrap();
        assert_eq!(wait(), Some(((1, false), head)), "until a byte has come");
    }
}

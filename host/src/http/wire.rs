//! The bytes of one connection on their way to the HTTP parser and back, and how long they may take.
use super::flow::{Flow, Wait, Waits};
use hyper::rt::ReadBufCursor;
use std::{
    future::{Future, poll_fn},
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// Bytes taken from the socket at once.
const PIECE: usize = 8 << 10;
/// How long the parser is kept for a client that has been answered: to make another costs a twentieth of a request.
const LULL: Duration = Duration::from_secs(1);

/// The end of a wait, set anew when the wait is another.
#[derive(Default)]
struct Deadline {
    sleep: Option<Pin<Box<Sleep>>>,
    of: Option<Wait>,
}

impl Deadline {
    /// Pending until the wait called `of` has lasted for `wait`.
    fn poll(&mut self, of: Wait, wait: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + wait)));
        if self.of != Some(of) {
            self.of = Some(of);
            sleep.as_mut().reset(Instant::now() + wait);
        }
        sleep.as_mut().poll(cx)
    }
    fn clear(&mut self) {
        self.of = None;
    }
}

/// A connection as the HTTP parser sees it.
pub(super) struct Wire<S> {
    stream: S,
    flow: Flow,
    waits: Waits,
    /// Received, and not yet due.
    withheld: Vec<u8>,
    /// Answered, and silent for so long since then.
    idle: Option<Duration>,
    reading: Deadline,
    writing: Deadline,
    /// Of one answer, from when the client was first waited for.
    taking: Deadline,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, flow: Flow, waits: Waits) -> Self {
        let [reading, writing, taking] = [(); 3].map(|()| Deadline::default());
        Self { stream, flow, waits, withheld: Vec::new(), idle: None, reading, writing, taking }
    }
    pub(super) fn into_stream(self) -> S {
        self.stream
    }
    /// Nothing is under way, and nothing is expected soon.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.is_some()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Waits until the client has sent something; `false` when it has nothing to say any more.
    pub(super) async fn begun(&mut self) -> io::Result<bool> {
        let idle = self.idle.take();
        if idle.is_some() {
            self.reading.clear();
        }
        let left = self.waits.idle.saturating_sub(idle.unwrap_or_default());
        poll_fn(|cx| {
            let mut space = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut space);
            ready!(self.poll_piece(cx, &mut piece, left))?;
            self.withheld.extend_from_slice(piece.filled());
            Poll::Ready(Ok(!self.withheld.is_empty()))
        })
        .await
    }

    /// What the socket has, or the end of the wait for it. `idle` is how long it may be between two requests.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        piece: &mut ReadBuf<'_>,
        idle: Duration,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(outcome) = Pin::new(&mut self.stream).poll_read(cx, piece) {
            return Poll::Ready(outcome);
        }
        let Some((of, wait)) = self.flow.wait(&Waits { idle, ..self.waits }) else { return Poll::Pending };
        if !wait.is_zero() {
            ready!(self.reading.poll(of, wait, cx));
        }
        self.idle = of.1.then_some(wait);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> hyper::rt::Read for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut out: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if !wire.withheld.is_empty() {
            let offered = &wire.withheld[..wire.withheld.len().min(out.remaining())];
            let taken = wire.flow.pass(offered)?;
            out.put_slice(&wire.withheld[..taken]);
            wire.withheld.drain(..taken);
            if wire.withheld.is_empty() {
                wire.withheld = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        let mut space = [MaybeUninit::uninit(); PIECE];
        let space_len = space.len().min(out.remaining());
        let mut piece = ReadBuf::uninit(&mut space[..space_len]);
        let lull = if wire.flow.is_dismissed() { Duration::ZERO } else { LULL.min(wire.waits.idle) };
        ready!(wire.poll_piece(cx, &mut piece, lull))?;
        let bytes = piece.filled();
        let taken = if bytes.is_empty() { 0 } else { wire.flow.pass(bytes)? };
        out.put_slice(&bytes[..taken]);
        wire.withheld.extend_from_slice(&bytes[taken..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Nobody waits for ever for a client that does not read its answer, or reads it in crumbs.
    fn unless_stalled<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let answer = self.flow.stalled(written.is_pending());
        if written.is_ready() {
            self.writing.clear();
            return written;
        }
        if self.taking.poll(answer, self.waits.idle, cx).is_pending() {
            ready!(self.writing.poll((0, false), self.waits.write, cx));
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> hyper::rt::Write for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        let written = Pin::new(&mut wire.stream).poll_write(cx, bytes);
        wire.unless_stalled(written, cx)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        let flushed = Pin::new(&mut wire.stream).poll_flush(cx);
        wire.unless_stalled(flushed, cx)
    }
    /// The end of a parser is not the end of its connection.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        let written = Pin::new(&mut wire.stream).poll_write_vectored(cx, slices);
        wire.unless_stalled(written, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderMap;
    use tokio::time::timeout;

    /// How long the parser is kept that waits for one more request, and whether the connection then is.
    async fn kept(dismissed: bool) -> (Duration, bool) {
        let (_client, server) = tokio::io::duplex(1);
        let [head, idle, write] = [10, 75, 10].map(Duration::from_secs);
        let flow = Flow::new();
        let mut wire = Wire::new(server, flow.clone(), Waits { head, idle, write });
        flow.begin(&HeaderMap::new(), None).0.end(dismissed);
        let begin = Instant::now();
        let ended = poll_fn(|cx| {
            let mut space = [MaybeUninit::uninit(); 8];
            let mut read = hyper::rt::ReadBuf::uninit(&mut space);
            hyper::rt::Read::poll_read(Pin::new(&mut wire), cx, read.unfilled())
        });
        let error = ended.await.expect_err("nothing was sent");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let (lull, is_idle) = (begin.elapsed(), wire.is_idle());
        assert!(timeout(idle * 2, wire.begun()).await.expect("an end").is_err(), "nothing was sent");
        assert_eq!(
            begin.elapsed().as_secs(),
            idle.as_secs(),
            "between two requests, with a parser and without"
        );
        (lull, is_idle)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_to_come_back_later_keeps_the_connection_and_no_parser() {
        assert_eq!(kept(true).await, (Duration::ZERO, true));
        let (lull, is_idle) = kept(false).await;
        assert_eq!((lull.as_secs(), is_idle), (LULL.as_secs(), true));
    }
}

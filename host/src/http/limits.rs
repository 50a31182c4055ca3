//! How large a request may be, and how long its body may take.
use axum::body::{Body, Bytes};
use countersign_plugin_api::{Problem, Refusal};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use std::{error::Error, io, time::Duration};
use tokio::time::timeout;

/// Bytes of a request's head.
pub const MAX_HEAD: usize = 16 << 10;
/// Bytes of a request's body.
pub const MAX_BODY: usize = 16 << 10;
/// Arrays and objects inside one another in a JSON body.
pub const MAX_DEPTH: usize = 16;

/// Why there is no body.
#[derive(Debug)]
pub(super) enum NoBody {
    /// It is refused.
    Refused(Refusal),
    /// It did not come in time.
    TooSlow,
}

/// The whole body: at most [`MAX_BODY`] bytes, within `wait`. One that is announced larger is not read at all.
pub(super) async fn collect(body: Body, wait: Duration) -> Result<Bytes, NoBody> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > MAX_BODY {
        return Err(NoBody::Refused(Problem::TooLarge.into()));
    }
    match timeout(wait, read(body, announced)).await {
        Ok(outcome) => outcome.map_err(NoBody::Refused),
        Err(_elapsed) => Err(NoBody::TooSlow),
    }
}

async fn read(mut body: Body, announced: usize) -> Result<Bytes, Refusal> {
    let mut whole = Vec::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unreadable(&error))?;
        let Ok(data) = frame.into_data() else { continue }; // trailers say nothing here
        if whole.len() + data.len() > MAX_BODY {
            return Err(Problem::TooLarge.into());
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

/// The wire ends a chunked body that has many more bytes than it has data; anything else is bad framing, or
/// a client that went away.
fn unreadable(error: &axum::Error) -> Refusal {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::FileTooLarge) {
            return Problem::TooLarge.into();
        }
        cause = error.source();
    }
    Refusal::malformed("the body ended early or is not framed as RFC 9112 says").because(error)
}

/// Refuses JSON that is nested deeper than [`MAX_DEPTH`]. Whether it is JSON at all, its reader finds out.
pub(super) fn shallow(body: &[u8]) -> Result<(), Refusal> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Refusal::malformed("the body is nested too deeply"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::{Frame, SizeHint};
    use std::{
        collections::VecDeque,
        pin::Pin,
        task::{Context, Poll},
    };

    const WAIT: Duration = Duration::from_secs(10);

    /// A body in pieces, as a chunked one comes; after the last it ends, fails or never ends.
    struct Pieces(VecDeque<Vec<u8>>, Option<io::ErrorKind>, bool);

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = io::Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            match (self.0.pop_front(), self.1, self.2) {
                (Some(piece), _, _) => Poll::Ready(Some(Ok(Frame::data(piece.into())))),
                (None, Some(kind), _) => Poll::Ready(Some(Err(kind.into()))),
                (None, None, true) => Poll::Pending,
                (None, None, false) => Poll::Ready(None),
            }
        }
        fn size_hint(&self) -> SizeHint {
            SizeHint::default()
        }
    }

    fn pieces(lengths: &[usize]) -> VecDeque<Vec<u8>> {
        lengths.iter().map(|length| vec![b'x'; *length]).collect()
    }

    async fn problem(body: Body) -> Problem {
        match collect(body, WAIT).await {
            Err(NoBody::Refused(refusal)) => refusal.problem(),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_body_has_at_most_16_kib_however_it_comes() {
        for lengths in [&[][..], &[MAX_BODY], &[1, MAX_BODY - 1], &[0, 5, 0]] {
            let whole = collect(Body::new(Pieces(pieces(lengths), None, false)), WAIT).await.unwrap();
            assert_eq!(whole.len(), lengths.iter().sum::<usize>());
        }
        for lengths in [&[MAX_BODY + 1][..], &[MAX_BODY, 1], &[1 << 20]] {
            let body = Body::new(Pieces(pieces(lengths), None, false));
            assert_eq!(problem(body).await, Problem::TooLarge, "{lengths:?}");
        }
        assert_eq!(problem(Body::from(vec![0; MAX_BODY + 1])).await, Problem::TooLarge);
        assert_eq!(collect(Body::from(vec![0; MAX_BODY]), WAIT).await.unwrap().len(), MAX_BODY);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_malformed_and_one_of_crumbs_too_large() {
        let broken = |kind| Body::new(Pieces(pieces(&[5]), Some(kind), false));
        assert_eq!(problem(broken(io::ErrorKind::UnexpectedEof)).await, Problem::Malformed);
        assert_eq!(problem(broken(io::ErrorKind::FileTooLarge)).await, Problem::TooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let outcome = collect(Body::new(Pieces(pieces(&[5]), None, true)), WAIT).await;
        assert!(matches!(outcome, Err(NoBody::TooSlow)));
    }

    #[test]
    fn nesting_is_counted_outside_strings() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        for (body, passes) in [
            (nested(MAX_DEPTH), true),
            (nested(MAX_DEPTH + 1), false),
            ("[{".repeat(9), false),
            (format!("[{}]", vec!["{}"; 40].join(",")), true),
            (format!("{{\"a\":\"{}\"}}", "[".repeat(40)), true),
            (format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(40)), true),
            (format!("{{\"a\\\\\":{}", "[".repeat(40)), false),
        ] {
            assert_eq!(shallow(body.as_bytes()).is_ok(), passes, "{body}");
        }
    }
}

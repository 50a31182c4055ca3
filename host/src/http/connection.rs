//! One connection: HTTP/1.1 over the wire, from its first byte to a clean end.
use super::{
    app::{App, Arrival},
    door::{Door, Place},
    eager::Eager,
    flow::{Flow, Waits},
    limits::MAX_HEAD,
    server::ServerLimits,
    wire::Wire,
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header, request::Parts},
};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use parking_lot::Mutex;
use std::{
    convert::Infallible,
    future::{Future as _, poll_fn},
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::timeout,
};

/// How long, and for how many bytes, a client that was refused may go on sending.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 8 << 10;

/// Serves a connection until it ends, or until `closing` says so and what was begun is answered.
pub(super) async fn serve<S>(
    stream: S,
    peer: IpAddr,
    limits: ServerLimits,
    door: Door,
    app: watch::Receiver<Arc<App>>,
    mut closing: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let flow = Flow::new();
    let waits = Waits { head: limits.head_timeout, idle: limits.idle_timeout, write: limits.write_timeout };
    let mut wire = Wire::new(stream, flow.clone(), waits);
    let client = Client {
        peer,
        address: peer.to_string().into(),
        body_timeout: limits.body_timeout,
        flow,
        app,
        place: Mutex::new(None),
    };
    let (stream, unread) = loop {
        let begun = tokio::select! {
            begun = wire.begun() => begun,
            _ = closing.wait_for(|closing| *closing) => Ok(false),
        };
        if let Err(error) = &begun {
            tracing::debug!(target: "countersign::http", %peer, %error, "connection ended");
        }
        if !matches!(begun, Ok(true)) {
            break (wire.into_stream(), false);
        }
        // The parser and its buffers are 20 KiB. Whoever says nothing, nothing more for a while, or is to come back later,
        // does not keep them.
        *client.place.lock() = door.enter().await;
        match Box::pin(client.answer(wire, &mut closing)).await {
            End::Idle(between) => wire = between,
            End::Over { stream, unread } => break (stream, unread),
        }
    };
    close(stream, unread).await;
}

/// What became of a connection.
enum End<S> {
    /// All that was asked is answered, and nothing more was asked for a while.
    Idle(Wire<S>),
    /// It is to be closed. Bytes may be left on it.
    Over { stream: S, unread: bool },
}

/// Who is at the other end, and what answers.
struct Client {
    peer: IpAddr,
    address: Arc<str>,
    body_timeout: Duration,
    flow: Flow,
    app: watch::Receiver<Arc<App>>,
    /// Kept until the first request is answered.
    place: Mutex<Option<Place>>,
}

impl Client {
    /// Answers what was begun, and what follows soon.
    async fn answer<S>(&self, wire: Wire<S>, closing: &mut watch::Receiver<bool>) -> End<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let (serving, framing) = self.flow.begin(request.headers(), request.body().size_hint().exact());
            let (address, body_timeout) = (self.address.clone(), self.body_timeout);
            let arrival = Arrival { socket: self.peer, address, framing, body_timeout };
            // A reload puts another application in place; a request keeps the one it began with.
            let app = Arc::clone(&self.app.borrow());
            let request = if request.body().is_end_stream() { request } else { detached(request) };
            async move {
                let response = app.handle(arrival, request).await;
                serving.end(response.headers().contains_key(header::RETRY_AFTER));
                self.place.lock().take();
                Ok::<_, Infallible>(response)
            }
        });
        let mut connection = Eager::new(
            http1::Builder::new()
                .half_close(true) // what was begun is carried out, also for a client that has stopped sending
                .header_read_timeout(None) // the wire has its own
                .max_header_size(MAX_HEAD)
                .max_buf_size(MAX_HEAD)
                .serve_connection(wire, service),
        );

        let begun = poll_fn(|cx| Poll::Ready(Pin::new(&mut connection).poll(cx))).await;
        // Whoever has not sent a whole request yet would keep others outside.
        if self.flow.is_idle() || self.flow.has_unread_body() {
            self.place.lock().take();
        }
        let ended = match begun {
            Poll::Ready(ended) => Some(ended),
            Poll::Pending => tokio::select! {
                ended = &mut connection => Some(ended),
                _ = closing.wait_for(|closing| *closing) => None,
            },
        };
        let ended = match ended {
            Some(ended) => Some(ended),
            None => drain(&mut connection, &self.flow).await,
        };
        let wire = connection.into_inner().into_parts().io;
        if wire.is_idle() {
            return End::Idle(wire);
        }
        let refused = matches!(&ended, Some(Err(error)) if error.is_parse());
        if let Some(Err(error)) = ended {
            tracing::debug!(target: "countersign::http", peer = %self.peer, %error, "connection ended");
        }
        End::Over { stream: wire.into_stream(), unread: refused || self.flow.has_unread_body() }
    }
}

/// A request that shares nothing with the parser's buffer. Else the parser needs another one for the body, and this request
/// keeps both for as long as it lasts.
fn detached<B>(request: Request<B>) -> Request<B> {
    let (mut parts, body) = request.into_parts();
    if let Some((uri, headers)) = copied(&parts) {
        (parts.uri, parts.headers) = (uri, headers);
    }
    Request::from_parts(parts, body)
}

/// Both say what they said, or there is no copy.
fn copied(parts: &Parts) -> Option<(Uri, HeaderMap)> {
    let uri = Uri::try_from(parts.uri.to_string()).ok().filter(|uri| *uri == parts.uri)?;
    let mut headers = HeaderMap::with_capacity(parts.headers.len());
    for (name, value) in &parts.headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    Some((uri, headers))
}

/// Answers the request that was begun, if one was. `None` when there was none, though a head may have started.
async fn drain<S, F>(
    connection: &mut Eager<http1::Connection<Wire<S>, F>>,
    flow: &Flow,
) -> Option<Result<(), hyper::Error>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: hyper::service::HttpService<Incoming, ResBody = Body> + Unpin,
    F::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    connection.inner().graceful_shutdown();
    poll_fn(|cx| match Pin::new(&mut *connection).poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending if flow.is_idle() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Closing a socket that holds unread bytes resets the connection, and the client may lose the answer that
/// says why: so the end is announced first, and the client gets a moment to see it.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(stream: S, unread: bool) {
    let mut stream = pin!(stream);
    if stream.shutdown().await.is_err() || !unread {
        return;
    }
    let lingering = async {
        let mut left = vec![0; 1 << 10];
        for _ in 0..LINGER_BYTES / left.len() {
            if !matches!(stream.read(&mut left).await, Ok(1..)) {
                return;
            }
        }
        // It has not noticed yet. Without reading, its sending comes to a stop.
        tokio::time::sleep(LINGER).await;
    };
    let _ = timeout(LINGER, lingering).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_request_says_the_same() {
        let request = |target: &str| Request::builder().method("POST").uri(target);
        for target in ["/", "/a/b%2Fc?d=%26&e", "*", "http://a.example:8080/f?g", "/?", "//h"] {
            let request = request(target)
                .header("host", "a")
                .header("x-own", "one")
                .header("X-Own", "two, \"three\"")
                .header("cookie", &b"a=1; b=\xff"[..])
                .header("x-empty", "")
                .body(())
                .unwrap();
            let (uri, headers, method) =
                (request.uri().clone(), request.headers().clone(), request.method().clone());
            let copy = detached(request);
            assert_eq!((copy.uri(), copy.headers(), copy.method()), (&uri, &headers, &method), "{target}");
            let own: Vec<_> = copy.headers().get_all("x-own").iter().collect();
            assert_eq!(own, ["one", "two, \"three\""], "in the order in which they came");
            let (before, after) = (uri.path().as_ptr(), copy.uri().path().as_ptr());
            assert!(target == "*" || target == "/" || before != after, "{target} is a copy");
        }
    }
}

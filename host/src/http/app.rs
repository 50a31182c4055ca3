//! The way of a request: checks, body, route, answer, log line.
use super::{
    flow::Framing,
    guard,
    limits::{self, NoBody},
    log::{Line, Pattern, RequestId},
    problem,
    request::Checked,
    site::{Refuse, Site},
};
use crate::{
    kernel::answered,
    metrics::{FORWARDING, OTHER_HOSTS, SILENT, UNTRUSTED},
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header, request::Parts},
};
use countersign_plugin_api::{Problem, Refusal};
use hyper::body::Body as _;
use std::{
    convert::Infallible,
    error::Error,
    future::{Future, poll_fn},
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tower_service::Service;

/// Below it nothing may be kept by a cache, whatever a route says.
const API: &str = "/api/auth";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const DEVELOPMENT: HeaderName = HeaderName::from_static("x-countersign-development");

/// A site and its routes: what answers requests. A reload makes a new one.
pub struct App {
    site: Arc<Site>,
    answer: Box<dyn Fn(Request<Body>) -> Answering + Send + Sync>,
}

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// What the connection knows of a request.
pub(crate) struct Arrival {
    pub(super) socket: IpAddr,
    /// The same as text, written once for a connection.
    pub(super) address: Arc<str>,
    pub(super) framing: Framing,
    pub(super) body_timeout: Duration,
}

impl Arrival {
    /// At a server that has judged the framing itself, as every sound one does (RFC 9112 section 6.3).
    pub(crate) fn behind_a_server(socket: IpAddr) -> Self {
        let address = socket.to_string().into();
        Self { socket, address, framing: Framing::Sound, body_timeout: Duration::from_secs(10) }
    }
}

impl App {
    /// Serves a handler, or a router of them, as `site`. Handlers take a [`Call`](super::Call) and fail with a
    /// [`Failure`](super::Failure); what a router itself refuses becomes a problem document too.
    pub fn new<S>(site: impl Into<Arc<Site>>, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        let answer = move |request| -> Answering {
            let answering = service.clone().call(request);
            Box::pin(async { answering.await.unwrap_or_else(|never| match never {}) })
        };
        Self { site: site.into(), answer: Box::new(answer) }
    }

    pub(super) fn site(&self) -> &Site {
        &self.site
    }

    /// Answers a request, whatever it is and whatever happens.
    pub(crate) async fn handle<B>(&self, arrival: Arrival, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (mut parts, body) = request.into_parts();
        let id = RequestId::next();
        let peer = self.site.client(arrival.socket, &parts.headers);
        let proxied = self.site.trusts(arrival.socket.to_canonical());
        let address = if peer == arrival.socket { arrival.address.clone() } else { peer.to_string().into() };
        let line = Line::new(id, address.clone(), proxied, &parts);
        look_at_forwarding(proxied, &parts);
        let under_api =
            parts.uri.path().strip_prefix(API).is_some_and(|rest| matches!(rest.as_bytes(), [] | [b'/', ..]));
        // After a chunked body the wire takes no other request; after one that was not read, nobody could.
        let mut last = parts.headers.contains_key(header::TRANSFER_ENCODING);
        let has_body = !body.is_end_stream();

        let mut pattern = None;
        let refused = self.site.refuses(&parts);
        let response = match self.receive(&arrival, &parts, Body::new(body), &refused).await {
            Ok(body) => {
                parts.extensions.insert(Checked { peer, address, proxied, id, body });
                let mut response = self.route(id, Request::from_parts(parts, Body::empty()), &refused).await;
                pattern = response.extensions_mut().remove::<Pattern>();
                response
            }
            Err(response) => {
                last |= has_body;
                response
            }
        };
        let mut response = problem::ensure(response);
        self.finish(response.headers_mut(), id, under_api, last);
        line.answered(&response, pattern.as_ref());
        response
    }

    /// The body of a request that passes every check.
    async fn receive(
        &self,
        arrival: &Arrival,
        request: &Parts,
        body: Body,
        refused: &Refuse,
    ) -> Result<Bytes, Response<Body>> {
        let refused = |refusal: Refusal| refused(&refusal);
        self.check(arrival.framing, request, !body.is_end_stream()).map_err(refused)?;
        let body = limits::collect(body, arrival.body_timeout).await.map_err(|none| match none {
            NoBody::Refused(refusal) => refused(refusal),
            NoBody::TooSlow => problem::blank(StatusCode::REQUEST_TIMEOUT),
        })?;
        limits::shallow(&body).map_err(refused)?;
        Ok(body)
    }

    fn check(&self, framing: Framing, request: &Parts, has_body: bool) -> Result<(), Refusal> {
        if framing == Framing::Ambiguous {
            return Err(Refusal::malformed("the length of the body is ambiguous (RFC 9112 section 6.3)"));
        }
        guard::check(&self.site, request, has_body).inspect_err(|refusal| {
            if refusal.problem() == Problem::HostNotAllowed && !asks_how_it_is(request) {
                OTHER_HOSTS.count("");
            }
        })
    }

    /// A panic in a handler is that request's failure and nobody else's, and so is a plugin that hangs.
    async fn route(&self, id: RequestId, request: Request<Body>, refused: &Refuse) -> Response<Body> {
        let mut answering = (self.answer)(request);
        let outcome = poll_fn(move |context| {
            match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(context))) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(response)) => Poll::Ready(Some(response)),
                Err(payload) => {
                    // Dropping a payload may panic once more.
                    let _ = catch_unwind(AssertUnwindSafe(move || drop(payload)));
                    Poll::Ready(None)
                }
            }
        });
        let panicked = || Refusal::new(Problem::PluginFault).because("a handler of the host panicked");
        match answered(id.named_in(outcome)).await {
            Ok(Some(response)) => response,
            Ok(None) => refused(&panicked()),
            Err(overdue) => refused(&overdue.into()),
        }
    }

    /// The headers that every answer has. A page brings a policy of its own.
    fn finish(&self, headers: &mut HeaderMap, id: RequestId, under_api: bool, last: bool) {
        for (name, value) in [
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
            (header::CACHE_CONTROL, "no-store"),
        ] {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        if under_api {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if let Ok(id) = HeaderValue::from_str(id.as_str()) {
            headers.insert(REQUEST_ID, id);
        }
        if self.site.is_https() {
            // RFC 6797, a year. For this name alone: what other names the site's owner has, only the owner knows.
            let always = HeaderValue::from_static("max-age=31536000");
            headers.insert(header::STRICT_TRANSPORT_SECURITY, always);
        }
        if self.site.is_development() {
            headers.insert(DEVELOPMENT, HeaderValue::from_static("true"));
        }
        if last {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Whoever asks how the host is need not ask for somebody, nor by its name.
fn asks_how_it_is(request: &Parts) -> bool {
    matches!(request.uri.path(), "/healthz" | "/readyz")
}

/// Counts what shows that a proxy and `trusted_proxies` do not know of each other.
fn look_at_forwarding(proxied: bool, request: &Parts) {
    let names = ["x-forwarded-for", "forwarded"].iter().any(|name| request.headers.contains_key(*name));
    match (proxied, names) {
        (true, false) if !asks_how_it_is(request) => FORWARDING.count(SILENT),
        (false, true) => FORWARDING.count(UNTRUSTED),
        _ => {}
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;

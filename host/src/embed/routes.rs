//! The routes of the plugins, as a service for the application's router.
use super::{
    Authentication, Embedded, Entry, FirstFactor, Issued, authentication, entry, people::unavailable,
};
use crate::{
    api,
    auth::plugin::{Decided, decide},
    auth::{Cookie, Reply},
    http::{App, Arrival, Call as Received, Failure},
    kernel::{Call, Kernel, Mounted},
};
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request as Incoming, State},
    handler::Handler,
    http::{Method, Request, Response},
};
use countersign_plugin_api::{Problem, Refusal, Request as Asked};
use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// Where the mails' links lead, and so where the routes are mounted.
const MOUNT: &str = "/api/auth";

/// Answers below `/api/auth`: `axum::Router::nest_service("/api/auth", kernel.routes())`, or any router that takes a
/// [`tower_service::Service`].
///
/// A request goes the way that it goes in the host: the `Host` is ours, an unsafe one was caused by no other site, the
/// body is JSON and at most 16 KiB, errors are problem documents. So the application's own checks of these kinds, where
/// it has any, leave these paths alone. The application's session layer stands around it.
#[derive(Clone)]
pub struct Routes {
    app: Arc<App>,
    kernel: Embedded,
}

impl Routes {
    pub(super) fn new(kernel: &Embedded) -> Self {
        let app = App::new(kernel.site(), answer.with_state(kernel.clone()));
        Self { app: Arc::new(app), kernel: kernel.clone() }
    }
}

impl<B> Service<Request<B>> for Routes
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { app, kernel } = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let arrival = Arrival::behind_a_server(kernel.socket(&parts));
            Ok(app.handle(arrival, Request::from_parts(parts, body)).await)
        })
    }
}

/// The path below the mount, which a router that nests has cut off.
fn below(path: &str) -> &str {
    path.strip_prefix(MOUNT).unwrap_or(path)
}

/// Whether a page posts a form to that path.
pub(super) fn takes_forms(kernel: &Kernel, path: &str) -> bool {
    kernel.routes(below(path)).iter().any(|mounted| mounted.route.form)
}

async fn answer(State(kernel): State<Embedded>, request: Incoming) -> Result<Response<Body>, Failure> {
    let (parts, body) = request.into_parts();
    let received = Received::from_request(Incoming::from_parts(parts.clone(), body), &()).await?;
    let path = below(received.uri.path()).to_owned();
    let mounted = match find(kernel.inner().routes(&path), &received.method) {
        Ok(mounted) => mounted,
        Err(allowed) if allowed.is_empty() => return Err(Problem::NotFound.into()),
        Err(allowed) => return Ok(api::not_allowed(&allowed)),
    };
    let request = received.for_plugin(path.get(1 + mounted.plugin.len()..).unwrap_or_default())?;
    let origin = kernel.origin_of(&parts, received.peer, received.id);
    let ticket = kernel.ticket(&parts).await?;
    let outcome = kernel
        .act(&origin, |call| {
            if let Some(ticket) = &ticket {
                authentication::resolve_caller(call, ticket)?;
            }
            ask(call, mounted, &request)
        })
        .await?;
    let Outcome { mut reply, entry, keep, proven } = outcome;
    if let Some(account) = proven {
        kernel.tell_proven(&account).await?;
    }
    if let Some(entry) = entry {
        let cookies = std::mem::take(&mut reply.cookies);
        reply = Reply { cookies, ..entry.into_reply() };
    }
    let mut issued = match &keep {
        Some(authentication) => kernel.keep(&parts, authentication).await?,
        None => Issued::default(),
    };
    if matches!(reply.cookie, Cookie::Clear) {
        issued = kernel.sessions().end(&parts).await.map_err(unavailable)?;
    }
    issued.cookies.extend(entry::lines(kernel.cookie(), std::mem::take(&mut reply.cookies))?);
    reply.cookie = Cookie::Keep;
    let page = kernel.pages().shown(&parts.headers, reply.page.take())?;
    Ok(entry::respond(reply, issued, page))
}

fn find<'k>(mounted: &'k [Mounted], method: &Method) -> Result<&'k Mounted, Vec<String>> {
    let wanted = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let found = mounted.iter().find(|mounted| mounted.route.method == wanted);
    found.ok_or_else(|| mounted.iter().map(|mounted| mounted.route.method.to_string()).collect())
}

/// What a route has decided, once that is durable.
pub(super) struct Outcome {
    /// Without a body where there is an entry.
    pub(super) reply: Reply,
    /// A login that has begun by it.
    pub(super) entry: Option<Entry>,
    /// Who the application's session is of from now on.
    pub(super) keep: Option<Authentication>,
    /// The account whose mailbox was proven for the first time.
    pub(super) proven: Option<String>,
}

/// Asks a route for whoever is the caller.
pub(super) fn ask(call: &Call<'_>, mounted: &Mounted, request: &Asked<'_>) -> Result<Outcome, Refusal> {
    let Decided { mut reply, granted, sign_in, ended } = decide(call, mounted, request)?;
    if let Some(proven) = sign_in {
        // A first factor that a plugin has seen proven goes the way of a password: through the gate.
        let first = FirstFactor { account: proven.subject, amr: proven.amr, mode: proven.mode };
        let entered = entry::enter(call, &first)?;
        reply.cookies = entered.cookies.into_iter().chain(reply.cookies).collect();
        let keep = entered.entry.to_keep().cloned();
        let proven = entered.proven.then_some(first.account);
        return Ok(Outcome { reply, entry: Some(entered.entry), keep, proven });
    }
    let before = call.caller().cloned();
    let changed =
        granted.is_some() || before.as_ref().is_some_and(|own| call.ended().contains(&own.subject.id));
    let shown = granted.is_some();
    let now = granted.map(|granted| granted.caller).or(before).filter(|_| changed && !ended);
    let keep = now.map(|caller| authentication::issue(call, caller)).transpose()?;
    if let (Some(keep), true) = (&keep, shown) {
        // Whoever has just proven a second factor has one.
        reply.show(keep.caller(), false);
    }
    if ended {
        reply.cookie = Cookie::Clear;
    }
    Ok(Outcome { reply, entry: None, keep, proven: None })
}

//! `/api/auth` over HTTP: finds the operation or the plugin's route, runs it, renders what it replied.
use crate::{
    app::Host,
    auth::{self, Asked, Cookie, Reply, Row},
    http::{self, Call as Http, Credential, Failure, Pattern},
    kernel::{Call, Kernel, Mounted, Origin, matches},
    language, pages, sessions,
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header},
    response::IntoResponse,
};
use countersign_plugin_api::{Problem, Refusal, Secret};
use std::{sync::Arc, time::Duration};

/// Where the API stands.
pub(crate) const MOUNT: &str = "/api/auth";

/// Answers every request to a host. The API and the pages have tables of their own, so there is no router above them.
pub(crate) async fn answer(State(host): State<Arc<Host>>, received: Http) -> Response<Body> {
    let looks = received.method == Method::GET || received.method == Method::HEAD;
    match received.uri.path() {
        "/healthz" | "/readyz" | "/openapi.json" if !looks => not_allowed(&["GET".into(), "HEAD".into()]),
        "/healthz" => healthz(),
        "/readyz" => readyz(&host),
        "/openapi.json" => description(&host),
        path if below(path).len() > 1 => {
            operate(&host, &received).await.unwrap_or_else(IntoResponse::into_response)
        }
        // Twice as large as what an operation needs.
        _ => Box::pin(pages::answer(&host, &received)).await,
    }
}

/// Alive: the event loop answers.
fn healthz() -> Response<Body> {
    let mut response = json(StatusCode::OK, br#"{"status":"ok"}"#.as_slice());
    Pattern::of("/healthz").mark(&mut response);
    response
}

/// Ready: the store answers, and no plugin hangs. Required plugins are loaded, or the host would not have started.
fn readyz(host: &Host) -> Response<Body> {
    let mut response = match host.kernel.readiness() {
        Ok(()) => json(StatusCode::OK, br#"{"status":"ready"}"#.as_slice()),
        Err(refusal) => Failure::from(refusal).into_response(),
    };
    Pattern::of("/readyz").mark(&mut response);
    response
}

/// Whether a page posts a form to that path.
pub(crate) fn takes_forms(host: &Host, path: &str) -> bool {
    match path.strip_prefix(MOUNT) {
        Some(below) => host.kernel.routes(below).iter().any(|mounted| mounted.route.form),
        None => host.pages.stands_at(path),
    }
}

/// The description of the interface: the host's routes and those of its plugins.
fn description(host: &Host) -> Response<Body> {
    match host.description() {
        Some(document) => json(StatusCode::OK, document),
        None => http::refused(&Problem::NotFound.into()),
    }
}

enum Found<'h> {
    /// A row, and what stands for `{id}` in its path.
    Own(&'static Row, String),
    Plugins(&'h Mounted),
}

async fn operate(host: &Host, received: &Http) -> Result<Response<Body>, Failure> {
    let found = match find(host, path(received), &received.method) {
        Ok(found) => found,
        Err(allowed) if allowed.is_empty() => return Err(Problem::NotFound.into()),
        Err(allowed) => return Ok(not_allowed(&allowed)),
    };
    let decided: Result<_, Failure> = async {
        let mut reply = decide(host, received, &found).await?;
        let page = host.pages.shown(&received.headers, reply.page.take())?;
        render(&host.cookie, reply, page)
    }
    .await;
    let mut response = decided.unwrap_or_else(IntoResponse::into_response);
    found.pattern().mark(&mut response);
    Ok(response)
}

impl Found<'_> {
    fn pattern(&self) -> Pattern {
        match self {
            Self::Own(row, _) => Pattern::of([MOUNT, row.path].concat()),
            Self::Plugins(mounted) => {
                Pattern::of([MOUNT, "/", &mounted.plugin, &mounted.route.path].concat())
            }
        }
    }
}

/// The same for a page that asks in the name of its visitor: what is replied, once it is durable.
pub(crate) async fn ask(host: &Host, received: &Http) -> Result<Reply, Refusal> {
    let found = find(host, path(received), &received.method).map_err(|_| Problem::NotFound)?;
    let mut reply = decide(host, received, &found).await?;
    match reply.refusal.take() {
        Some(refusal) => Err(refusal),
        None => Ok(reply),
    }
}

/// Whether a route of that method and path is there.
pub(crate) fn has_route(kernel: &Kernel, method: &str, path: &str) -> bool {
    let own = auth::ROUTES.iter().any(|row| row.method == method && row.path == path);
    own || kernel.routes(path).iter().any(|mounted| mounted.route.method == method)
}

/// What a request shows of who is calling, and where it comes from.
pub(crate) fn caller(host: &Host, received: &Http) -> (Option<Secret<String>>, Origin) {
    let (token, bearer) = match host.cookie.credential(&received.headers) {
        Credential::Bearer(token) => (Some(token), true),
        Credential::Cookie(token) => (Some(token), false),
        Credential::None => (None, false),
    };
    let origin = Origin {
        peer: received.address.to_string(),
        request: received.id.to_string(),
        language: received
            .headers
            .get(header::ACCEPT_LANGUAGE)
            .and_then(|header| header.to_str().ok())
            .map(language::preferences)
            .unwrap_or_default(),
        actor: "anonymous".into(),
        cookies: if bearer { Vec::new() } else { host.cookie.all_beside(&received.headers) },
    };
    (token, origin)
}

fn path(received: &Http) -> &str {
    below(received.uri.path())
}

/// What of a path is below the mount; nothing when it is another.
fn below(path: &str) -> &str {
    path.strip_prefix(MOUNT).filter(|rest| rest.starts_with('/')).unwrap_or_default()
}

async fn decide(host: &Host, received: &Http, found: &Found<'_>) -> Result<Reply, Refusal> {
    let path = path(received);
    let below = match found {
        Found::Own(..) => path,
        Found::Plugins(mounted) => path.get(1 + mounted.plugin.len()..).unwrap_or_default(),
    };
    let request = received.for_plugin(below)?;
    let (token, origin) = caller(host, received);
    let agent =
        received.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let asked = Asked {
        request: &request,
        config: &host.config,
        id: if let Found::Own(_, id) = found { id } else { "" },
        proxied: received.proxied,
        agent,
    };
    let decide = |call: &Call<'_>| {
        if let Some(token) = &token {
            sessions::resolve(call, token.expose())?;
        }
        let mut reply = match found {
            Found::Own(row, _) => (row.run)(call, &asked),
            Found::Plugins(mounted) => auth::plugin::ask(call, mounted, &asked),
        }?;
        reply.cookies.extend(auth::renew_device(call)?);
        Ok(reply)
    };
    host.kernel.run(&origin, decide).await
}

/// The operation of a path and method, or the methods that the path has.
fn find<'h>(host: &'h Host, path: &str, method: &Method) -> Result<Found<'h>, Vec<String>> {
    let wanted = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let own = || auth::ROUTES.iter().filter_map(|row| Some((row, matches(row.path, path)?)));
    if let Some((row, id)) = own().find(|(row, _)| row.method == wanted) {
        return Ok(Found::Own(row, id.into()));
    }
    let allowed: Vec<String> = own().map(|(row, _)| row.method.to_owned()).collect();
    if !allowed.is_empty() {
        return Err(allowed);
    }
    let plugins = host.kernel.routes(path);
    let mounted = plugins.iter().find(|mounted| mounted.route.method == wanted);
    mounted
        .map(Found::Plugins)
        .ok_or_else(|| plugins.iter().map(|mounted| mounted.route.method.to_string()).collect())
}

pub(crate) fn not_allowed(allowed: &[String]) -> Response<Body> {
    let mut response = http::refused(&Problem::MethodNotAllowed.into());
    if let Ok(allow) = HeaderValue::try_from(allowed.join(", ")) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// What an operation or a route replied, with the cookies beside the session's and that of it; as a `page`, if it
/// answered one.
pub(crate) fn render(
    session: &http::Cookie,
    mut reply: Reply,
    page: Option<Response<Body>>,
) -> Result<Response<Body>, Failure> {
    if let Some(refusal) = reply.refusal.take() {
        let mut response = Failure::from(refusal).into_response();
        further(reply.headers, response.headers_mut());
        return Ok(response);
    }
    let status = StatusCode::from_u16(reply.status)
        .map_err(|_| Refusal::new(Problem::PluginFault).because("a status that is none"))?;
    let mut response = match &reply.body {
        Some(body) => {
            let body = serde_json::to_vec(body).map_err(|error| {
                Refusal::new(Problem::PluginFault).because(format_args!("answer: {error}"))
            })?;
            json(status, body)
        }
        None => {
            let mut response = page.unwrap_or_else(|| Response::new(Body::empty()));
            *response.status_mut() = status;
            response
        }
    };
    set_headers(session, reply, response.headers_mut())?;
    Ok(response)
}

/// The cookies of a reply, and its further headers.
pub(crate) fn set_headers(
    session: &http::Cookie,
    reply: Reply,
    headers: &mut HeaderMap,
) -> Result<(), Refusal> {
    match reply.cookie {
        Cookie::Keep => {}
        Cookie::Set(token, secs) => {
            let cookie = session.set(token.expose(), Duration::from_secs(secs))?;
            headers.append(header::SET_COOKIE, cookie);
        }
        Cookie::Clear => {
            headers.append(header::SET_COOKIE, session.remove()?);
        }
    }
    for (name, value, lasts) in reply.cookies {
        let cookie = session.beside(&name);
        let line = if lasts.is_zero() { cookie.remove()? } else { cookie.set(value.expose(), lasts)? };
        headers.append(header::SET_COOKIE, line);
    }
    further(reply.headers, headers);
    Ok(())
}

fn further(said: Vec<(&'static str, String)>, headers: &mut HeaderMap) {
    for (name, value) in said {
        // An address may hold what a header cannot; it is left out rather than the answer refused.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

fn json(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

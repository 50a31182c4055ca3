//! Errors as the client sees them (RFC 9457), with what only the log is told beside them.
use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use countersign_plugin_api::{Problem, Refusal, StoreError};
use serde::Serialize;

/// The media type of every error.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// What a handler fails with: `?` makes it of a [`Refusal`], a [`Problem`] or a [`StoreError`].
#[derive(Debug)]
pub struct Failure(pub Refusal);

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}
impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem.into())
    }
}
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response<Body> {
        let mut response = refused(&self.0);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// What the log line of a request says besides its status; travels beside the response, never in it.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    pub(super) slug: &'static str,
    pub(super) log: String,
}

/// The members of a problem document.
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    violations: &'a [String],
}

/// Says so when trying again later is worth while, and only then.
fn retry_after(refusal: &Refusal) -> Option<u64> {
    matches!(refusal.problem().status(), 429 | 503).then(|| refusal.retry_after_secs().unwrap_or(1))
}

/// The status and the problem document of a refusal.
pub(super) fn document(refusal: &Refusal) -> (StatusCode, String) {
    let problem = refusal.problem();
    let document = Document {
        r#type: &format!("urn:countersign:problem:{}", problem.slug()),
        title: problem.title(),
        status: problem.status(),
        detail: refusal.detail(),
        retry_after: retry_after(refusal),
        violations: refusal.broken_rules(),
    };
    (status(problem.status()), json(&document))
}

fn json(document: &Document<'_>) -> String {
    // Strings and numbers alone: there is nothing in it that could fail.
    serde_json::to_string(document).unwrap_or_default()
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn answer(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110 §15.5.2 demands a challenge; this one makes no browser ask for a password.
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The response to a refused request.
pub fn refused(refusal: &Refusal) -> Response<Body> {
    let (status, body) = document(refusal);
    let mut response = answer(status, body);
    if let Some(secs) = retry_after(refusal) {
        response.headers_mut().insert(header::RETRY_AFTER, secs.into());
    }
    response.extensions_mut().insert(Cause { slug: refusal.problem().slug(), log: refusal.log().into() });
    response
}

/// A problem that HTTP itself has a name for and the contract has none (RFC 9457 §4.2.1).
pub(super) fn blank(status: StatusCode) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Error");
    let (code, r#type) = (status.as_u16(), "about:blank");
    let document =
        Document { r#type, title, status: code, detail: title, retry_after: None, violations: &[] };
    answer(status, json(&document))
}

/// Makes a problem document of an error that is none: the router's own 404 and 405, an extractor's 400. A page is
/// for people, and stays one.
pub(super) fn ensure(response: Response<Body>) -> Response<Body> {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let media = response.headers().get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    if !is_error || media == CONTENT_TYPE.as_bytes() || media.starts_with(b"text/html") {
        return response;
    }
    let problem = match status.as_u16() {
        400 => Some(Problem::Malformed),
        403 => Some(Problem::Forbidden),
        404 => Some(Problem::NotFound),
        405 => Some(Problem::MethodNotAllowed),
        409 => Some(Problem::Conflict),
        413 => Some(Problem::TooLarge),
        415 => Some(Problem::UnsupportedMediaType),
        429 => Some(Problem::RateLimited),
        503 => Some(Problem::Busy),
        _ => None,
    };
    let mut made = problem.map_or_else(|| blank(status), |problem| refused(&problem.into()));
    if let Some(allow) = response.headers().get(header::ALLOW) {
        made.headers_mut().insert(header::ALLOW, allow.clone());
    }
    made
}

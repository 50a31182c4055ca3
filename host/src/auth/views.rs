//! How users and sessions are shown.
use countersign_plugin_api::{Caller, Session, SessionKind, Subject, Time};
use serde_json::{Map, Value, json};

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub(crate) fn user_json(subject: &Subject) -> Map<String, Value> {
    object(json!({
        "id": subject.id,
        "email": subject.email,
        "email_verified": subject.email_verified,
        "role": subject.role,
    }))
}

/// A session; one that ends with the application's own says no time.
pub(crate) fn session_json(session: &Session, enrollment_required: bool) -> Map<String, Value> {
    let kind = match session.kind {
        SessionKind::Pending => "mfa_pending",
        SessionKind::Standard => "standard",
    };
    object(json!({
        "id": session.id,
        "type": kind,
        "authenticated_at": session.authenticated_at.to_string(),
        "mfa_verified_at": session.mfa_verified_at.map(|at| at.to_string()),
        "amr": session.amr,
        "expires_at": (session.expires_at < Time::NEVER).then(|| session.expires_at.to_string()),
        "enrollment_required": enrollment_required,
    }))
}

/// A session with its user.
pub(crate) fn caller_json(caller: &Caller, enrollment_required: bool) -> Map<String, Value> {
    object(json!({
        "user": user_json(&caller.subject),
        "session": session_json(&caller.session, enrollment_required),
    }))
}

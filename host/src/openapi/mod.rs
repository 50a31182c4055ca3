//! The description of the interface (OpenAPI 3.1), made of what the host's routes and those of the plugins say.
//!
//! A route says what it takes, answers and refuses by itself; what the host asks of every request is added here.
mod own;

use crate::{api::MOUNT, kernel::Mounted};
use countersign_plugin_api::{Access, Problem, Route};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What any request can meet, whatever its route.
const ALWAYS: [Problem; 7] = [
    Problem::Malformed,
    Problem::TooLarge,
    Problem::UnsupportedMediaType,
    Problem::HostNotAllowed,
    Problem::StoreUnavailable,
    Problem::PluginFault,
    Problem::Busy,
];

/// The whole document; `cookie` is the name that sessions have.
pub(crate) fn document<'m>(cookie: &str, plugins: impl Iterator<Item = &'m Mounted>) -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in own::routes() {
        add(&mut paths, "", "host", &route);
    }
    for mounted in plugins {
        add(&mut paths, &format!("/{}", mounted.plugin), &mounted.plugin, &mounted.route);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Countersign", "version": env!("CARGO_PKG_VERSION") },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "cookie": { "type": "apiKey", "in": "cookie", "name": cookie },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
            "schemas": schemas(),
        },
    })
}

fn add(paths: &mut BTreeMap<String, Map<String, Value>>, below: &str, tag: &str, route: &Route) {
    let path = format!("{MOUNT}{below}{}", route.path);
    let operation = operation(tag, route);
    paths.entry(path).or_default().insert(route.method.to_lowercase(), operation);
}

fn operation(tag: &str, route: &Route) -> Value {
    let about = &route.about;
    let mut parameters: Vec<Value> = about
        .parameters
        .iter()
        .map(|(name, says)| json!({ "name": name, "in": "query", "description": says, "schema": { "type": "string" } }))
        .collect();
    if route.path.contains("{id}") {
        let id = json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } });
        parameters.push(id);
    }
    let mut operation = json!({
        "tags": [tag],
        "summary": about.summary,
        "parameters": parameters,
        "responses": responses(route),
        "security": security(route.access),
    });
    if !about.body.is_empty() {
        let mut schema = schema(&about.body);
        if schema["type"] == "object" {
            schema["additionalProperties"] = false.into();
        }
        let mut content = json!({ "application/json": { "schema": schema } });
        if route.form {
            content["application/x-www-form-urlencoded"] = json!({ "schema": { "type": "object" } });
        }
        // No body is an empty object.
        let required = schema_requires(&content);
        operation["requestBody"] = json!({ "required": required, "content": content });
    }
    operation
}

fn schema_requires(content: &Value) -> bool {
    content["application/json"]["schema"]["required"].as_array().is_some_and(|fields| !fields.is_empty())
}

/// A session in either form; none needed where anyone may call.
fn security(access: Access) -> Value {
    match access {
        Access::Anyone => json!([{}, { "cookie": [] }, { "bearer": [] }]),
        Access::Enrolling | Access::Session => json!([{ "cookie": [] }, { "bearer": [] }]),
    }
}

/// JSON that its author wrote; that it is JSON was asked when it was registered.
fn schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Bool(true))
}

fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    for answer in &route.about.answers {
        let mut response = json!({ "description": answer.says });
        if !answer.body.is_empty() {
            response["content"] = json!({ "application/json": { "schema": schema(&answer.body) } });
        }
        responses.insert(answer.status.to_string(), response);
    }
    for (status, slugs) in refusals(route) {
        let types: Vec<String> = slugs.iter().map(|slug| format!("urn:countersign:problem:{slug}")).collect();
        let mut problem = json!({ "schema": { "allOf": [
            { "$ref": "#/components/schemas/Problem" },
            { "type": "object", "properties": { "type": { "enum": types } } },
        ] } });
        let slugs: Vec<&str> = slugs.into_iter().collect();
        // A status may have a page beside the problem.
        let kept = responses.get(&status.to_string()).and_then(|page| page["description"].as_str());
        let description = kept.map_or_else(|| slugs.join(", "), Into::into);
        let mut response = json!({ "description": description });
        response["content"]["application/problem+json"] = problem.take();
        if matches!(status, 429 | 503) {
            let seconds = json!({ "description": "Seconds", "schema": { "type": "integer", "minimum": 1 } });
            response["headers"]["Retry-After"] = seconds;
        }
        responses.insert(status.to_string(), response);
    }
    Value::Object(responses)
}

/// The slugs that it may be refused with, by status.
fn refusals(route: &Route) -> BTreeMap<u16, BTreeSet<&'static str>> {
    let by_access: &[Problem] = match route.access {
        Access::Anyone => &[],
        Access::Enrolling => &[Problem::SessionRequired, Problem::MfaRequired],
        Access::Session => &[Problem::SessionRequired, Problem::MfaRequired, Problem::EnrollmentRequired],
    };
    let by_method: &[Problem] = if route.method == "GET" { &[] } else { &[Problem::CrossSite] };
    let itself = |problem: &&Problem| route.about.refusals.iter().any(|slug| slug == problem.slug());
    let own = Problem::ALL.iter().filter(itself);
    let mut all: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
    for problem in ALWAYS.iter().chain(by_access).chain(by_method).chain(own) {
        all.entry(problem.status()).or_default().insert(problem.slug());
    }
    all
}

fn schemas() -> Value {
    let time = || json!({ "type": "string", "format": "date-time" });
    let maybe = || json!({ "type": ["string", "null"], "format": "date-time" });
    let text = || json!({ "type": "string" });
    let user = json!({ "$ref": "#/components/schemas/User" });
    let session = json!({ "$ref": "#/components/schemas/Session" });
    let kind = json!({ "enum": ["mfa_pending", "standard"] });
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    json!({
        "User": {
            "type": "object", "required": ["id", "email", "email_verified", "role"],
            "properties": { "id": text(), "email": text(), "email_verified": { "type": "boolean" }, "role": text() },
        },
        "Session": {
            "type": "object",
            "required": ["id", "type", "authenticated_at", "mfa_verified_at", "amr", "expires_at", "enrollment_required"],
            "properties": {
                "id": text(), "type": kind, "authenticated_at": time(), "mfa_verified_at": maybe(),
                "amr": texts, "expires_at": maybe(), "enrollment_required": { "type": "boolean" },
            },
        },
        "ListedSession": {
            "type": "object", "required": ["id", "type", "created_at", "last_seen_at", "expires_at", "current"],
            "properties": {
                "id": text(), "type": kind, "created_at": time(), "last_seen_at": time(), "expires_at": time(),
                "address": text(), "user_agent": text(), "current": { "type": "boolean" },
            },
        },
        "Authenticated": {
            "type": "object", "required": ["status", "user", "session"],
            "properties": {
                "status": { "const": "authenticated" }, "user": user, "session": session,
                "token": { "type": "string", "description": "In bearer mode alone" },
            },
        },
        "MfaRequired": {
            "type": "object", "required": ["status", "challenge", "expires_at", "methods"],
            "properties": {
                "status": { "const": "mfa_required" }, "challenge": text(), "expires_at": time(), "methods": texts,
            },
        },
        "Problem": {
            "type": "object", "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": text(), "title": text(), "status": { "type": "integer" }, "detail": text(),
                "retry_after": { "type": "integer", "description": "Seconds" }, "violations": texts,
            },
        },
    })
}

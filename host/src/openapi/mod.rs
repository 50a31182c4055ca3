//! The description of the interface (OpenAPI 3.1), made of what the host's routes and those of the plugins say.
//!
//! A route says what it takes, answers and refuses by itself; what the host asks of every request is added here. What
//! several operations have in common is said once, under `components`.
mod own;
mod page;
mod refusals;

pub(crate) use page::{Page, of as page};

use crate::{api::MOUNT, kernel::Mounted};
use countersign_plugin_api::{Access, Content, Problem, Route};
use refusals::Refusals;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What every request has to know, and no single operation says.
const CONVENTIONS: &str = "\
Bodies are JSON objects of at most 16 KiB. What is not listed is refused, and no body is an empty object. Times are \
RFC 3339 in UTC; ids are opaque.

A session travels as a cookie or as `Authorization: Bearer`. A request that changes something must come from this very \
site, or be a program's: JSON without `Origin` and `Sec-Fetch-Site`, or with `Authorization`.

Refusals are problem documents (RFC 9457). Bytes that are no HTTP, and requests that come too slowly, may get a bare 400, \
408 or 431. A method that a path does not have is answered 405 with `Allow`, and `HEAD` is answered wherever `GET` is.";

/// The whole document; `cookie` is the name that sessions have.
pub(crate) fn document<'m>(cookie: &str, plugins: impl Iterator<Item = &'m Mounted>) -> Value {
    let mut all = Operations::default();
    for route in own::beside() {
        all.add("", "host", &route);
    }
    for route in own::routes() {
        let tag = if route.path.starts_with("/admin/") { "admin" } else { "accounts" };
        all.add(MOUNT, tag, &route);
    }
    for Mounted { plugin, route, .. } in plugins {
        all.add(&format!("{MOUNT}/{plugin}"), plugin, route);
    }
    let version = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    let seconds = json!({ "type": "integer", "minimum": 1 });
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Countersign", "version": version, "description": CONVENTIONS },
        "servers": [{ "url": "/" }],
        "tags": all.tags.iter().map(|tag| json!({ "name": tag, "description": about(tag) })).collect::<Value>(),
        "paths": all.paths,
        "components": {
            "securitySchemes": {
                "cookie": { "type": "apiKey", "in": "cookie", "name": cookie },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
            "headers": {
                "Retry-After": { "description": "Seconds until it is worth trying again", "schema": seconds },
                "WWW-Authenticate": { "description": "`Bearer`", "schema": { "type": "string" } },
            },
            "responses": all.refusals.shared(),
            "schemas": parsed(include_str!("schemas.json")),
        },
    })
}

fn about(tag: &str) -> String {
    match tag {
        "host" => "Whether it works, and this description. Metrics are no part of it: where the host has an address for them \
                   (`[metrics] listen`), `GET /metrics` there answers Prometheus' text, to whoever reaches it."
            .into(),
        "accounts" => "Accounts, logins and sessions.".into(),
        "admin" => "For the role `admin`, with a second factor proven just now.".into(),
        plugin => format!("What the plugin `{plugin}` answers."),
    }
}

/// JSON that its author wrote. That it is JSON was asked when it was registered, and of our own by a test.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Bool(true))
}

#[derive(Default)]
struct Operations {
    paths: BTreeMap<String, Map<String, Value>>,
    tags: BTreeSet<String>,
    refusals: Refusals,
}

impl Operations {
    fn add(&mut self, below: &str, tag: &str, route: &Route) {
        let path = format!("{below}{}", route.path);
        let about = &route.about;
        let mut operation = json!({
            "operationId": id(&route.method, &path),
            "tags": [tag],
            "summary": about.summary,
            "responses": self.responses(route),
        });
        let parameters = parameters(route);
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if !about.body.is_empty() {
            operation["requestBody"] = body(route);
        }
        if path.starts_with(MOUNT) {
            operation["security"] = security(route);
        }
        self.tags.insert(tag.into());
        self.paths.entry(path).or_default().insert(route.method.to_lowercase(), operation);
    }

    fn responses(&mut self, route: &Route) -> Map<String, Value> {
        let mut responses: BTreeMap<u16, Value> = BTreeMap::new();
        for answer in &route.about.answers {
            let response = responses.entry(answer.status).or_insert_with(|| json!({ "description": "" }));
            let before = response["description"].as_str().filter(|before| !before.is_empty());
            response["description"] =
                before.map_or(answer.says.to_string(), |before| format!("{before}. {}", answer.says)).into();
            match &answer.content {
                Content::Json(schema) => {
                    response["content"]["application/json"] = json!({ "schema": parsed(schema) });
                }
                Content::Page => {
                    response["content"]["text/html"] = json!({ "schema": { "type": "string" } });
                }
                _ => {}
            }
        }
        for (status, slugs) in refusals::of(route) {
            let has_header = route.about.headers.iter().any(|header| header.status == status);
            let response = match responses.remove(&status) {
                // A status may have a page beside the problem.
                Some(page) => refusals::beside(page, status, &slugs),
                None if has_header => refusals::response(status, &slugs),
                None => self.refusals.share(status, &slugs),
            };
            responses.insert(status, response);
        }
        for header in &route.about.headers {
            if let Some(response) = responses.get_mut(&header.status) {
                let said = json!({ "description": header.says, "schema": { "type": "string" } });
                response["headers"][&*header.name] = said;
            }
        }
        responses.into_iter().map(|(status, response)| (status.to_string(), response)).collect()
    }
}

/// What generators of clients name a function by, and a link its place on a page.
fn id(method: &str, path: &str) -> String {
    let plain = |part: &str| part.trim_matches(['{', '}']).replace('.', "-");
    let below = path.strip_prefix(MOUNT).unwrap_or(path);
    let parts = below.split('/').filter(|part| !part.is_empty()).map(plain);
    [method.to_lowercase()].into_iter().chain(parts).collect::<Vec<_>>().join("-")
}

fn parameters(route: &Route) -> Vec<Value> {
    let text = json!({ "type": "string" });
    let id = json!({ "name": "id", "in": "path", "required": true, "schema": text });
    let ids = route.path.contains("{id}").then_some(id);
    let query = route.about.parameters.iter();
    let query =
        query.map(|(name, says)| json!({ "name": name, "in": "query", "description": says, "schema": text }));
    ids.into_iter().chain(query).collect()
}

fn body(route: &Route) -> Value {
    let mut schema = parsed(&route.about.body);
    if schema["type"] == "object" {
        schema["additionalProperties"] = false.into();
    }
    // No body is an empty object, which will do where no field is asked for.
    let required = schema.get("required").or(schema.get("$ref")).is_some();
    let mut content = json!({ "application/json": { "schema": schema } });
    if route.form {
        content["application/x-www-form-urlencoded"] = json!({ "schema": { "type": "object" } });
    }
    json!({ "required": required, "content": content })
}

/// A session in either form; none is needed where anyone may call. But where it is missed, and nothing else in the
/// request could stand for it, it is needed after all.
fn security(route: &Route) -> Value {
    let about = &route.about;
    let is_missed = about.refusals.contains(&Problem::SessionRequired);
    let could_stand = !about.body.is_empty() || !about.parameters.is_empty();
    if route.access == Access::Anyone && (could_stand || !is_missed) {
        return json!([{}, { "cookie": [] }, { "bearer": [] }]);
    }
    json!([{ "cookie": [] }, { "bearer": [] }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_schemas_are_json() {
        assert!(parsed(include_str!("schemas.json")).is_object());
        for route in own::routes().iter().chain(&own::beside()) {
            assert_eq!(route.about.body.is_empty(), parsed(&route.about.body) == true, "{}", route.path);
            for answer in &route.about.answers {
                assert!(!matches!(&answer.content, Content::Json(schema) if !parsed(schema).is_object()));
            }
        }
    }

    #[test]
    fn an_operation_is_named_by_its_method_and_path() {
        assert_eq!(id("POST", "/api/auth/mfa/totp/verify"), "post-mfa-totp-verify");
        assert_eq!(id("DELETE", "/api/auth/sessions/{id}"), "delete-sessions-id");
        assert_eq!(id("GET", "/openapi.json"), "get-openapi-json");
    }

    #[test]
    fn a_session_is_needed_where_nothing_could_stand_for_it() {
        let optional = |route: Route| security(&route)[0] == json!({});
        let session = || Route::get("/session", Access::Anyone).refuses(&[Problem::SessionRequired]);
        assert!(!optional(session()));
        assert!(optional(session().parameter("challenge", "The handle")));
        assert!(optional(Route::get("/x", Access::Anyone)));
        assert!(!optional(Route::get("/x", Access::Session)));
    }
}

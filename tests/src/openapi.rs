//! The description of the interface as a test reads it: whether an answer is one that it knows.
use countersign_test_kit::{Host, Reply};
use serde_json::{Map, Value};

/// What `/openapi.json` says.
pub struct Description(Value);

impl Description {
    /// That of a host.
    ///
    /// # Panics
    /// When it serves none.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        let reply = host.browser().get("/openapi.json").expect("an answer");
        assert_eq!(reply.header("content-type"), Some("application/json"));
        Self(reply.expect(200))
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.0
    }

    /// Every operation: its method, its path, and what is said of it.
    pub fn operations(&self) -> impl Iterator<Item = (String, &str, &Value)> {
        let paths = self.0["paths"].as_object().into_iter().flatten();
        paths.flat_map(|(path, operations)| {
            let operations = operations.as_object().into_iter().flatten();
            operations.map(|(method, operation)| (method.to_uppercase(), path.as_str(), operation))
        })
    }

    /// What is said of the operation that serves a path, given with its query or without.
    #[must_use]
    pub fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let path = path.split('?').next().unwrap_or_default();
        let all = || self.operations().filter(|(known, _, _)| *known == method);
        let exact = all().find(|(_, template, _)| *template == path);
        let found = exact.or_else(|| all().find(|(_, template, _)| matches(template, path)));
        found.map(|(_, _, operation)| operation)
    }

    /// The response of an operation with that status, followed to where it is said.
    #[must_use]
    pub fn response<'v>(&'v self, operation: &'v Value, status: u16) -> Option<&'v Value> {
        operation["responses"].get(status.to_string()).map(|response| self.followed(response))
    }

    /// The types of problem that an operation may answer, each with its status, as `401 invalid-code`.
    #[must_use]
    pub fn problems(&self, operation: &Value) -> Vec<String> {
        let responses = operation["responses"].as_object().into_iter().flatten();
        let each = responses.flat_map(|(status, response)| {
            let schema = &self.followed(response)["content"]["application/problem+json"]["schema"];
            let types = schema["allOf"][1]["properties"]["type"]["enum"].as_array().into_iter().flatten();
            let slugs = types.filter_map(|kind| kind.as_str()?.strip_prefix("urn:countersign:problem:"));
            slugs.map(move |slug| format!("{status} {slug}"))
        });
        each.collect()
    }

    /// What of an answer is not as it is said; `None` when all of it is.
    #[must_use]
    pub fn objection(&self, method: &str, path: &str, reply: &Reply) -> Option<String> {
        let Some(operation) = self.operation(method, path) else {
            return Some("there is no such operation".into());
        };
        let Some(response) = self.response(operation, reply.status) else {
            return Some(format!("the status {} is not described", reply.status));
        };
        let media = reply.header("content-type").map(|media| media.split(';').next().unwrap_or(media).trim());
        let Some(media) = media.filter(|_| !reply.body.is_empty()) else {
            return (!reply.body.is_empty()).then(|| "a body without a media type".into());
        };
        let Some(said) = response["content"].get(media) else {
            return Some(format!("{} with {media} is not described", reply.status));
        };
        if media == "text/html" {
            return None;
        }
        let value = serde_json::from_slice(&reply.body).unwrap_or_default();
        self.mismatch(&said["schema"], &value, "it")
    }

    /// Why a body is none that an operation takes.
    #[must_use]
    pub fn refuses(&self, operation: &Value, body: &Value) -> Option<String> {
        self.mismatch(&operation["requestBody"]["content"]["application/json"]["schema"], body, "it")
    }

    fn followed<'v>(&'v self, value: &'v Value) -> &'v Value {
        let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        pointer.map_or(value, |pointer| self.0.pointer(pointer).unwrap_or(&Value::Null))
    }

    /// JSON Schema, as far as the document uses it. A keyword that is not known here is an objection.
    fn mismatch(&self, schema: &Value, value: &Value, at: &str) -> Option<String> {
        let schema = self.followed(schema);
        let none = Map::new();
        let keywords = schema.as_object().unwrap_or(&none);
        let differs = |why: String| Some(format!("{at} {why}"));
        for (keyword, wanted) in keywords {
            let objection = match keyword.as_str() {
                "type" => {
                    let kinds = wanted.as_array().map_or(vec![wanted], |kinds| kinds.iter().collect());
                    let is = kinds.into_iter().any(|kind| is_of(value, kind.as_str().unwrap_or_default()));
                    if is { None } else { differs(format!("is no {wanted}: {value}")) }
                }
                "required" => {
                    let names = wanted.as_array().into_iter().flatten().filter_map(Value::as_str);
                    let missing =
                        names.into_iter().find(|name| value.is_object() && value.get(name).is_none());
                    missing.and_then(|name| differs(format!("has no {name}")))
                }
                "properties" => wanted.as_object().into_iter().flatten().find_map(|(name, schema)| {
                    self.mismatch(schema, value.get(name)?, &format!("{at}.{name}"))
                }),
                "additionalProperties" => {
                    let unknown = |name: &&String| keywords["properties"].get(name.as_str()).is_none();
                    let strange = value.as_object().and_then(|fields| fields.keys().find(unknown));
                    strange.and_then(|name| differs(format!("has a {name}")))
                }
                "items" => value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find_map(|item| self.mismatch(wanted, item, &format!("{at}[]"))),
                "enum" => {
                    let is = wanted.as_array().is_some_and(|all| all.contains(value));
                    if is { None } else { differs(format!("is none of {wanted}: {value}")) }
                }
                "const" if wanted != value => differs(format!("is not {wanted}: {value}")),
                "minimum" if value.as_i64() < wanted.as_i64() => differs(format!("is below {wanted}")),
                "allOf" => {
                    wanted.as_array().into_iter().flatten().find_map(|part| self.mismatch(part, value, at))
                }
                "anyOf" => {
                    let mut parts = wanted.as_array().into_iter().flatten();
                    let is = parts.any(|part| self.mismatch(part, value, at).is_none());
                    if is { None } else { differs(format!("is none of several: {value}")) }
                }
                "format" if wanted == "date-time" => {
                    let text = value.as_str().unwrap_or("0000-00-00T00:00:00Z");
                    let is = text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
                    if is { None } else { differs(format!("is no time: {value}")) }
                }
                // Nothing to be held to, or kept, or a limit of what is asked and not of what is answered.
                "description" | "examples" | "format" | "const" | "minimum" | "pattern" | "minLength"
                | "maxLength" => None,
                strange => differs(format!("is described by `{strange}`, which is not known here")),
            };
            if objection.is_some() {
                return objection;
            }
        }
        None
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// Whether a path is one of a template's.
fn matches(template: &str, path: &str) -> bool {
    let (known, asked): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    known.len() == asked.len()
        && known.iter().zip(asked).all(|(known, part)| *known == part || *known == "{id}")
}

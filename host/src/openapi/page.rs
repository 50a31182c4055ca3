//! The description as a page shows it: what is nested in the document is laid out in rows.
use serde::Serialize;
use serde_json::Value;

/// As deep as a body is looked into: a schema of a plugin's may lead back to itself.
const DEEPEST: usize = 6;

/// What the page says.
#[derive(Serialize)]
pub(crate) struct Page {
    conventions: Vec<String>,
    parts: Vec<Part>,
}

/// The operations that have a tag.
#[derive(Serialize)]
struct Part {
    name: String,
    about: String,
    operations: Vec<Operation>,
}

#[derive(Serialize)]
struct Operation {
    id: String,
    method: String,
    path: String,
    summary: String,
    needs_session: bool,
    parameters: Vec<Row>,
    body: Option<Body>,
    answers: Vec<Answer>,
    /// Such as `401 invalid-code`.
    refusals: Vec<String>,
}

#[derive(Serialize)]
struct Answer {
    status: String,
    says: String,
    bodies: Vec<Body>,
    headers: Vec<Row>,
}

#[derive(Serialize)]
struct Body {
    media: String,
    /// One list of members for each form that it can have.
    forms: Vec<Vec<Row>>,
}

/// A parameter, a header, or a member of a body.
#[derive(Serialize, Clone)]
struct Row {
    name: String,
    is: String,
    required: bool,
    says: String,
}

impl Page {
    /// With one of everything that it can have, so that no place of a template goes untried.
    pub(crate) fn of_each() -> Self {
        let x = || "x".to_owned();
        let row = || Row { name: x(), is: x(), required: true, says: x() };
        let body = || Body { media: x(), forms: vec![vec![row()], vec![row()]] };
        let answer = Answer { status: x(), says: x(), bodies: vec![body()], headers: vec![row()] };
        let operation = Operation {
            id: x(),
            method: x(),
            path: x(),
            summary: x(),
            needs_session: true,
            parameters: vec![row()],
            body: Some(body()),
            answers: vec![answer],
            refusals: vec![x()],
        };
        Self {
            conventions: vec![x()],
            parts: vec![Part { name: x(), about: x(), operations: vec![operation] }],
        }
    }
}

/// The page of a document.
pub(crate) fn of(document: &Value) -> Page {
    let reader = Reader(document);
    let part = |tag: &Value| Part {
        name: text(&tag["name"]),
        about: text(&tag["description"]),
        operations: reader.operations(&tag["name"]),
    };
    Page {
        conventions: text(&document["info"]["description"]).split("\n\n").map(Into::into).collect(),
        parts: items(&document["tags"]).map(part).collect(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}
fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

struct Reader<'d>(&'d Value);

impl<'d> Reader<'d> {
    /// What a value says, or what it refers to.
    fn followed(&self, value: &'d Value) -> &'d Value {
        let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        pointer.and_then(|pointer| self.0.pointer(pointer)).unwrap_or(value)
    }

    fn operations(&self, tag: &Value) -> Vec<Operation> {
        let all = members(&self.0["paths"]).flat_map(|(path, methods)| {
            members(methods).map(move |(method, operation)| (path, method, operation))
        });
        all.filter(|(_, _, operation)| operation["tags"][0] == *tag)
            .map(|(path, method, operation)| self.operation(path, method, operation))
            .collect()
    }

    fn operation(&self, path: &str, method: &str, said: &'d Value) -> Operation {
        let responses =
            || members(&said["responses"]).map(|(status, answer)| (status, self.followed(answer)));
        Operation {
            id: text(&said["operationId"]),
            method: method.to_uppercase(),
            path: path.into(),
            summary: text(&said["summary"]),
            needs_session: items(&said["security"])
                .next()
                .is_some_and(|first| first.as_object().is_some_and(|one| !one.is_empty())),
            parameters: items(&said["parameters"])
                .map(|parameter| self.named(&text(&parameter["name"]), parameter))
                .collect(),
            body: self.bodies(&said["requestBody"]).into_iter().next(),
            answers: responses().filter_map(|(status, answer)| self.answer(status, answer)).collect(),
            refusals: responses().flat_map(|(status, answer)| refusals(status, answer)).collect(),
        }
    }

    /// An answer that is more than a refusal.
    fn answer(&self, status: &str, answer: &'d Value) -> Option<Answer> {
        let bodies = self.bodies(answer);
        // Those that every refusal with this status has are said once, for all of them.
        let own = members(&answer["headers"]).filter(|(_, header)| header.get("$ref").is_none());
        let headers: Vec<Row> = own.map(|(name, header)| self.named(name, header)).collect();
        let is_refusal = status.starts_with(['4', '5']);
        let tells = !is_refusal || !bodies.is_empty() || !headers.is_empty();
        tells.then(|| Answer { status: status.into(), says: text(&answer["description"]), bodies, headers })
    }

    /// A parameter or a header.
    fn named(&self, name: &str, said: &'d Value) -> Row {
        let required = said["required"] == true;
        Row { name: name.into(), is: self.kind(&said["schema"]), required, says: text(&said["description"]) }
    }

    fn bodies(&self, said: &'d Value) -> Vec<Body> {
        let all = members(&said["content"]).filter(|(media, _)| media.as_str() != "application/problem+json");
        all.map(|(media, content)| Body { media: media.clone(), forms: self.forms(&content["schema"]) })
            .collect()
    }

    fn forms(&self, schema: &'d Value) -> Vec<Vec<Row>> {
        let schema = self.followed(schema);
        let one = |schema| {
            let mut rows = Vec::new();
            self.rows(schema, "", 0, &mut rows);
            rows
        };
        match schema["anyOf"].as_array() {
            Some(several) => several.iter().map(one).collect(),
            None => vec![one(schema)],
        }
    }

    fn rows(&self, schema: &'d Value, before: &str, depth: usize, rows: &mut Vec<Row>) {
        if depth > DEEPEST {
            return;
        }
        let schema = self.followed(schema);
        items(&schema["allOf"]).for_each(|part| self.rows(part, before, depth + 1, rows));
        for (own, member) in members(&schema["properties"]) {
            let required = items(&schema["required"]).any(|wanted| wanted == own.as_str());
            let name = format!("{before}{own}");
            let says = text(&member["description"]);
            let followed = self.followed(member);
            let says = if says.is_empty() { text(&followed["description"]) } else { says };
            rows.push(Row { name: name.clone(), is: self.kind(member), required, says });
            self.rows(followed, &format!("{name}."), depth + 1, rows);
            self.rows(&followed["items"], &format!("{name}[]."), depth + 1, rows);
        }
    }

    /// A type in words.
    fn kind(&self, schema: &'d Value) -> String {
        let schema = self.followed(schema);
        if let Some(value) = schema.get("const") {
            return value.to_string();
        }
        if schema["enum"].is_array() {
            return items(&schema["enum"]).map(Value::to_string).collect::<Vec<_>>().join(" or ");
        }
        let kinds: Vec<String> = match &schema["type"] {
            Value::Array(several) => several.iter().map(text).collect(),
            one => vec![text(one)],
        };
        let of = |kind: String| match (kind.as_str(), &schema["format"]) {
            ("string", Value::String(format)) => format.clone(),
            ("array", _) => format!("array of {}", self.kind(&schema["items"])),
            _ => kind,
        };
        kinds.into_iter().map(of).collect::<Vec<_>>().join(" or ")
    }
}

fn refusals(status: &str, answer: &Value) -> Vec<String> {
    let of_type = &answer["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["type"];
    let slugs = items(&of_type["enum"]).filter_map(|kind| kind.as_str()?.rsplit(':').next());
    slugs.map(|slug| format!("{status} {slug}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_nested_is_laid_out() {
        let document = json!({ "components": { "schemas": {
            "Inner": { "type": "object", "required": ["at"], "properties": { "at": { "type": "string", "format": "date-time" } } },
        } } });
        let schema = json!({ "anyOf": [
            { "allOf": [{ "$ref": "#/components/schemas/Inner" }] },
            { "type": "object", "properties": {
                "kind": { "enum": ["a", "b"], "description": "Which" },
                "all": { "type": "array", "items": { "$ref": "#/components/schemas/Inner" } },
                "maybe": { "type": ["string", "null"] },
            } },
        ] });
        let forms = Reader(&document).forms(&schema);
        let said: Vec<Vec<String>> = forms
            .iter()
            .map(|rows| {
                rows.iter()
                    .map(|row| format!("{}: {}{}", row.name, row.is, if row.required { "!" } else { "" }))
                    .collect()
            })
            .collect();
        assert_eq!(said[0], ["at: date-time!"]);
        assert_eq!(
            said[1],
            ["all: array of object", "all[].at: date-time!", "kind: \"a\" or \"b\"", "maybe: string or null"]
        );
    }

    #[test]
    fn a_schema_that_leads_back_to_itself_has_an_end() {
        let document = json!({ "components": { "schemas": {
            "Tree": { "type": "object", "properties": { "below": { "$ref": "#/components/schemas/Tree" } } },
        } } });
        let forms = Reader(&document).forms(&document["components"]["schemas"]["Tree"]);
        assert_eq!(forms[0].len(), DEEPEST + 1);
    }
}

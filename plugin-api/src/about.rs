//! What the interface's description (OpenAPI 3.1) says about a route.
use crate::{
    abi::flat::{Flat, Item},
    error::Problem,
    http::Route,
};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Beside the route in its registration. Information: whoever does not know them skips them.
const SUMMARY: u32 = 0x2001;
const BODY: u32 = 0x2002;
const PARAMETER: u32 = 0x2003;
const ANSWER: u32 = 0x2004;
const REFUSAL: u32 = 0x2005;
const HEADER: u32 = 0x2006;

/// What is said about a route. It checks nothing: the handler does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct About {
    /// One line.
    pub summary: Cow<'static, str>,
    /// The JSON Schema of its body; empty where it takes none.
    pub body: Cow<'static, str>,
    /// Query parameters, each with what it is for.
    pub parameters: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// What it answers. One status may have several answers.
    pub answers: Vec<Response>,
    /// Headers of its answers and refusals.
    pub headers: Vec<Header>,
    /// The problems that it refuses with, beside those that its [`Access`](crate::Access) and the host bring.
    pub refusals: Vec<Problem>,
}

/// An answer of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// One line.
    pub says: Cow<'static, str>,
    /// What it consists of.
    pub content: Content,
}

/// What an answer consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Nothing.
    Nothing,
    /// JSON, of that schema.
    Json(Cow<'static, str>),
    /// A page for people.
    Page,
}

/// A header of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The status that it comes with.
    pub status: u16,
    /// Its name.
    pub name: Cow<'static, str>,
    /// One line.
    pub says: Cow<'static, str>,
}

impl About {
    /// Nothing is said.
    pub(crate) const NONE: Self = Self {
        summary: Cow::Borrowed(""),
        body: Cow::Borrowed(""),
        parameters: Vec::new(),
        answers: Vec::new(),
        headers: Vec::new(),
        refusals: Vec::new(),
    };

    pub(crate) fn write(&self, flat: &mut Flat) {
        flat.push(Item::bytes(SUMMARY, self.summary.as_bytes()));
        flat.push(Item::bytes(BODY, self.body.as_bytes()));
        for (name, says) in &self.parameters {
            flat.push(Item { tag: PARAMETER, a: name.as_bytes(), b: says.as_bytes(), ..Item::default() });
        }
        for Response { status, says, content } in &self.answers {
            let (x, schema) = match content {
                Content::Nothing => (0, ""),
                Content::Json(schema) => (1, schema.as_ref()),
                Content::Page => (2, ""),
            };
            let (code, a, b) = (u32::from(*status), says.as_bytes(), schema.as_bytes());
            flat.push(Item { tag: ANSWER, code, x, a, b, ..Item::default() });
        }
        for Header { status, name, says } in &self.headers {
            let (code, a, b) = (u32::from(*status), name.as_bytes(), says.as_bytes());
            flat.push(Item { tag: HEADER, code, a, b, ..Item::default() });
        }
        for problem in &self.refusals {
            flat.push(Item { tag: REFUSAL, code: problem.code(), ..Item::default() });
        }
    }
    pub(crate) fn read(flat: &Flat) -> Self {
        let mut about = Self::NONE;
        for item in flat.iter() {
            let (a, b) = (|| Cow::Owned(item.text().to_owned()), || Cow::Owned(item.text_b().to_owned()));
            let status = u16::try_from(item.code).unwrap_or_default();
            match item.tag {
                SUMMARY => about.summary = a(),
                BODY => about.body = a(),
                PARAMETER => about.parameters.push((a(), b())),
                ANSWER => {
                    let content = match item.x {
                        1 => Content::Json(b()),
                        2 => Content::Page,
                        _ => Content::Nothing,
                    };
                    about.answers.push(Response { status, says: a(), content });
                }
                HEADER => about.headers.push(Header { status, name: a(), says: b() }),
                REFUSAL => about.refusals.push(Problem::from_code(item.code)),
                _ => {}
            }
        }
        about
    }
    /// What in it cannot be written into a description.
    pub(crate) fn flaw(&self) -> Option<String> {
        let of_answers = self.answers.iter().filter_map(|answer| match &answer.content {
            Content::Json(schema) => Some(schema),
            _ => None,
        });
        let of_body = Some(&self.body).filter(|body| !body.is_empty());
        let mut schemas = of_body.into_iter().chain(of_answers);
        let error = schemas.find_map(|schema| serde_json::from_str::<Map<String, Value>>(schema).err())?;
        Some(format!("a schema that describes it is no JSON object: {error}"))
    }
}

/// What a route says about itself, for `/openapi.json`.
///
/// ```
/// # use countersign_plugin_api::{Access, Problem, Route};
/// Route::post("/greeting", Access::Session)
///     .summary("Changes the greeting")
///     .body(r#"{"type":"object","required":["text"],"properties":{"text":{"type":"string"}}}"#)
///     .empty("It is changed")
///     .refuses(&[Problem::Conflict]);
/// ```
///
/// The host adds the problems that come of the route's [`Access`](crate::Access), and those that any request can meet.
/// Schemas are JSON Schema (2020-12), and may refer to `#/components/schemas/User`, `…/Session`, `…/Authenticated` and
/// `…/MfaRequired`.
impl Route {
    /// One line that says what it is for.
    #[must_use]
    pub fn summary(mut self, summary: &'static str) -> Self {
        self.about.summary = summary.into();
        self
    }
    /// The JSON Schema of its body. The host adds to an object that nothing else may stand in it.
    #[must_use]
    pub fn body(mut self, schema: &'static str) -> Self {
        self.about.body = schema.into();
        self
    }
    /// A query parameter.
    #[must_use]
    pub fn parameter(mut self, name: &'static str, says: &'static str) -> Self {
        self.about.parameters.push((name.into(), says.into()));
        self
    }
    /// An answer in JSON, with the schema of its body.
    #[must_use]
    pub fn answer(self, status: u16, says: &'static str, schema: &'static str) -> Self {
        self.response(status, says, Content::Json(schema.into()))
    }
    /// 204, the answer without a body.
    #[must_use]
    pub fn empty(self, says: &'static str) -> Self {
        self.response(204, says, Content::Nothing)
    }
    /// An answer for people: HTML.
    #[must_use]
    pub fn page(self, status: u16, says: &'static str) -> Self {
        self.response(status, says, Content::Page)
    }
    /// Any answer.
    #[must_use]
    pub fn response(mut self, status: u16, says: &'static str, content: Content) -> Self {
        self.about.answers.push(Response { status, says: says.into(), content });
        self
    }
    /// A header that comes with a status, be it an answer's or a refusal's.
    #[must_use]
    pub fn header(mut self, status: u16, name: &'static str, says: &'static str) -> Self {
        self.about.headers.push(Header { status, name: name.into(), says: says.into() });
        self
    }
    /// The problems that it refuses with by itself.
    #[must_use]
    pub fn refuses(mut self, problems: &[Problem]) -> Self {
        self.about.refusals.extend(problems);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Access;

    #[test]
    fn what_is_said_crosses_and_what_is_not_known_is_skipped() {
        let route = Route::post("/x", Access::Session)
            .summary("Does x")
            .body("{}")
            .parameter("after", "Where to go on")
            .answer(200, "Done", "{}")
            .empty("Done before")
            .page(401, "A page")
            .header(200, "Set-Cookie", "A cookie")
            .refuses(&[Problem::Conflict]);
        let mut flat = Flat::with_capacity(1, 64);
        flat.push(Item::bytes(0x2fff, b"from a later release"));
        route.about.write(&mut flat);
        assert_eq!(About::read(&flat), route.about);
        assert_eq!(About::read(&Flat::with_capacity(1, 1)), About::NONE, "a plugin that says nothing");
    }

    #[test]
    fn what_a_later_release_says_is_no_reason_to_refuse_it() {
        let mut flat = Flat::with_capacity(2, 64);
        flat.push(Item { tag: ANSWER, code: 200, x: 77, a: b"By other means", ..Item::default() });
        flat.push(Item { tag: REFUSAL, code: 7_777, ..Item::default() });
        let about = About::read(&flat);
        assert_eq!(about.answers[0].content, Content::Nothing);
        // As this kernel answers such a refusal.
        assert_eq!(about.refusals, [Problem::PluginFault]);
        assert_eq!(about.flaw(), None);
    }

    #[test]
    fn a_schema_is_a_json_object() {
        let route = || Route::get("/x", Access::Anyone);
        assert_eq!(route().answer(200, "Well", "{}").about.flaw(), None);
        for schema in ["{", "", "[]", "true"] {
            let flaw = route().answer(200, "Well", schema).about.flaw();
            assert!(flaw.is_some_and(|why| why.contains("no JSON object")), "{schema}");
        }
        assert!(route().body("{}}").about.flaw().is_some());
    }
}

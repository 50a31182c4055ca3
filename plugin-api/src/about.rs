//! What the interface's description (OpenAPI 3.1) says about a route.
use crate::{
    abi::flat::{Flat, Item},
    error::Problem,
    http::Route,
};
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// Beside the route in its registration. Information: whoever does not know them skips them.
const SUMMARY: u32 = 0x2001;
const BODY: u32 = 0x2002;
const PARAMETER: u32 = 0x2003;
const ANSWER: u32 = 0x2004;
const REFUSAL: u32 = 0x2005;

/// What is said about a route. It checks nothing: the handler does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// One line.
    pub summary: Cow<'static, str>,
    /// The JSON Schema of its body; empty where it takes none.
    pub body: Cow<'static, str>,
    /// Query parameters, each with what it is for.
    pub parameters: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// What it answers.
    pub answers: Vec<Response>,
    /// The slugs of the problems that it refuses with, beside those that its [`Access`](crate::Access) and the
    /// host bring.
    pub refusals: Vec<Cow<'static, str>>,
}

/// An answer of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// One line.
    pub says: Cow<'static, str>,
    /// The JSON Schema of its body; empty where it has none.
    pub body: Cow<'static, str>,
}

impl About {
    /// Nothing is said.
    pub(crate) const NONE: Self = Self {
        summary: Cow::Borrowed(""),
        body: Cow::Borrowed(""),
        parameters: Vec::new(),
        answers: Vec::new(),
        refusals: Vec::new(),
    };

    pub(crate) fn write(&self, flat: &mut Flat) {
        flat.push(Item::bytes(SUMMARY, self.summary.as_bytes()));
        flat.push(Item::bytes(BODY, self.body.as_bytes()));
        for (name, says) in &self.parameters {
            flat.push(Item { tag: PARAMETER, a: name.as_bytes(), b: says.as_bytes(), ..Item::default() });
        }
        for Response { status, says, body } in &self.answers {
            let (a, b) = (says.as_bytes(), body.as_bytes());
            flat.push(Item { tag: ANSWER, code: u32::from(*status), a, b, ..Item::default() });
        }
        self.refusals.iter().for_each(|slug| flat.push(Item::bytes(REFUSAL, slug.as_bytes())));
    }
    pub(crate) fn read(flat: &Flat) -> Self {
        let mut about = Self::NONE;
        for item in flat.iter() {
            let (a, b) = (|| Cow::Owned(item.text().to_owned()), || Cow::Owned(item.text_b().to_owned()));
            match item.tag {
                SUMMARY => about.summary = a(),
                BODY => about.body = a(),
                PARAMETER => about.parameters.push((a(), b())),
                ANSWER => {
                    let status = u16::try_from(item.code).unwrap_or_default();
                    about.answers.push(Response { status, says: a(), body: b() });
                }
                REFUSAL => about.refusals.push(a()),
                _ => {}
            }
        }
        about
    }
    /// What in it cannot be written into a description.
    pub(crate) fn flaw(&self) -> Option<String> {
        let schemas = [&self.body].into_iter().chain(self.answers.iter().map(|answer| &answer.body));
        let broken = schemas
            .filter(|schema| !schema.is_empty())
            .find_map(|schema| serde_json::from_str::<IgnoredAny>(schema).err());
        if let Some(error) = broken {
            return Some(format!("a schema that describes it is not JSON: {error}"));
        }
        let strange = |slug: &&Cow<'_, str>| Problem::ALL.iter().all(|known| known.slug() != slug.as_ref());
        let slug = self.refusals.iter().find(strange)?;
        Some(format!("it describes a refusal with `{slug}`, which is no problem that there is"))
    }
}

/// What a route says about itself, for `/openapi.json`.
///
/// ```
/// # use countersign_plugin_api::{Access, Problem, Route};
/// Route::post("/greeting", Access::Session)
///     .summary("Changes the greeting")
///     .body(r#"{"type":"object","required":["text"],"properties":{"text":{"type":"string"}}}"#)
///     .answer(204, "It is changed", "")
///     .refuses(&[Problem::Conflict]);
/// ```
impl Route {
    /// One line that says what it is for.
    #[must_use]
    pub fn summary(mut self, summary: &'static str) -> Self {
        self.about.summary = summary.into();
        self
    }
    /// The JSON Schema of its body. The host adds to an object that nothing else may stand in it. It may refer to
    /// `#/components/schemas/User` and `…/Session`.
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
    /// An answer, with the JSON Schema of its body; empty where it has none.
    #[must_use]
    pub fn answer(mut self, status: u16, says: &'static str, schema: &'static str) -> Self {
        self.about.answers.push(Response { status, says: says.into(), body: schema.into() });
        self
    }
    /// The problems that it refuses with by itself.
    #[must_use]
    pub fn refuses(mut self, problems: &[Problem]) -> Self {
        self.about.refusals.extend(problems.iter().map(|problem| Cow::Borrowed(problem.slug())));
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
            .answer(204, "Done", "")
            .refuses(&[Problem::Conflict]);
        let mut flat = Flat::with_capacity(1, 64);
        flat.push(Item::bytes(0x2fff, b"from a later release"));
        route.about.write(&mut flat);
        assert_eq!(About::read(&flat), route.about);
        assert_eq!(About::read(&Flat::with_capacity(1, 1)), About::NONE, "a plugin that says nothing");
    }

    #[test]
    fn what_cannot_be_described_is_refused() {
        let route = || Route::get("/x", Access::Anyone);
        assert_eq!(route().answer(200, "Well", "{}").about.flaw(), None);
        assert!(route().answer(200, "Well", "{").about.flaw().is_some_and(|why| why.contains("not JSON")));
        let mut strange = route();
        strange.about.refusals.push("tired".into());
        assert!(strange.about.flaw().is_some_and(|why| why.contains("`tired`")));
    }
}

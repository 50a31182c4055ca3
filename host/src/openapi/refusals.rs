//! The problems that an operation refuses with. Most have the same few in common, so each combination is said once.
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

type Slugs = BTreeSet<&'static str>;

/// Those of a route, by status.
pub(super) fn of(route: &Route) -> BTreeMap<u16, Slugs> {
    let by_access: &[Problem] = match route.access {
        Access::Anyone => &[],
        Access::Enrolling => &[Problem::SessionRequired, Problem::MfaRequired],
        Access::Session => &[Problem::SessionRequired, Problem::MfaRequired, Problem::EnrollmentRequired],
    };
    let by_method: &[Problem] = if route.method == "GET" { &[] } else { &[Problem::CrossSite] };
    let mut all: BTreeMap<u16, Slugs> = BTreeMap::new();
    for problem in ALWAYS.iter().chain(by_access).chain(by_method).chain(&route.about.refusals) {
        all.entry(problem.status()).or_default().insert(problem.slug());
    }
    all
}

/// The refusals that operations share, by name.
#[derive(Default)]
pub(super) struct Refusals(BTreeMap<String, Value>);

impl Refusals {
    /// A reference to the refusals with that status.
    pub(super) fn share(&mut self, status: u16, slugs: &Slugs) -> Value {
        let name = slugs.iter().map(|slug| camel(slug)).collect::<Vec<_>>().join("Or");
        let reference = json!({ "$ref": format!("#/components/responses/{name}") });
        self.0.entry(name).or_insert_with(|| response(status, slugs));
        reference
    }
    /// All of them.
    pub(super) fn shared(self) -> BTreeMap<String, Value> {
        self.0
    }
}

fn camel(slug: &str) -> String {
    let words = slug.split('-').filter_map(|word| word.split_at_checked(1));
    words.map(|(first, rest)| first.to_uppercase() + rest).collect()
}

pub(super) fn response(status: u16, slugs: &Slugs) -> Value {
    let title =
        |slug: &&str| Problem::ALL.iter().find(|known| known.slug() == *slug).map(|known| known.title());
    let titles: Vec<&str> = slugs.iter().filter_map(title).collect();
    beside(json!({ "description": titles.join("; ") }), status, slugs)
}

/// The same beside an answer with that status.
pub(super) fn beside(mut answer: Value, status: u16, slugs: &Slugs) -> Value {
    let types: Vec<String> = slugs.iter().map(|slug| format!("urn:countersign:problem:{slug}")).collect();
    let of_type = json!({ "properties": { "type": { "enum": types } } });
    let schema = json!({ "allOf": [{ "$ref": "#/components/schemas/Problem" }, of_type] });
    answer["content"]["application/problem+json"] = json!({ "schema": schema });
    let headers: Map<String, Value> = match status {
        401 => named("WWW-Authenticate"),
        429 | 503 => named("Retry-After"),
        _ => return answer,
    };
    answer["headers"] = headers.into();
    answer
}

fn named(header: &str) -> Map<String, Value> {
    let reference = json!({ "$ref": format!("#/components/headers/{header}") });
    [(header.to_owned(), reference)].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_combination_is_said_once_under_a_name_of_its_slugs() {
        let mut refusals = Refusals::default();
        let slugs: Slugs = ["mfa-required", "cross-site"].into();
        let name = "#/components/responses/CrossSiteOrMfaRequired";
        for _ in 0..2 {
            assert_eq!(refusals.share(403, &slugs), json!({ "$ref": name }));
        }
        assert_eq!(refusals.shared().len(), 1);
    }
}

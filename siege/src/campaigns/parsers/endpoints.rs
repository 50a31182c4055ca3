//! What there is to ask of a host.
use crate::http::Client;
use anyhow::{Context, Result};
use serde_json::Value;
use std::net::SocketAddr;

/// A form of a page: its name, and its fields.
type Form = (&'static str, &'static [&'static str]);

/// Pages, which the description of the interface leaves out, each with its forms.
const PAGES: [(&str, &[Form]); 11] = [
    ("/", &[("sign-out", &[])]),
    ("/login", &[("login", &["email", "password"]), ("link", &["email"]), ("sign-out", &[])]),
    ("/register", &[("register", &["email", "password"])]),
    (
        "/mfa/challenge",
        &[
            ("totp", &["code", "trust_browser"]),
            ("email", &["code", "trust_browser"]),
            ("recovery", &["code"]),
            ("send", &[]),
            ("cancel", &[]),
        ],
    ),
    ("/step-up", &[("password", &["password"]), ("totp", &["code"]), ("recovery", &["code"])]),
    (
        "/settings/mfa",
        &[
            ("enroll", &["label"]),
            ("activate", &["code", "enrollment", "uri", "secret"]),
            ("disable", &["factor"]),
            ("generate", &[]),
            ("forget", &["id"]),
            ("forget-all", &[]),
        ],
    ),
    ("/settings/sessions", &[("end", &["id"]), ("end-others", &[])]),
    ("/settings/password", &[("change", &["current_password", "new_password"])]),
    ("/password/forgot", &[("forgot", &["email"])]),
    ("/password/reset", &[("reset", &["token", "new_password"])]),
    ("/email/verify", &[("verify", &["token", "password"]), ("choose", &["token", "new_password"])]),
];

/// What a host answers, and how it is asked.
pub(super) struct Endpoint {
    pub(super) method: String,
    /// From the root, with `{id}` where there is one.
    pub(super) path: String,
    /// The names in its query.
    pub(super) query: Vec<String>,
    /// The names in its body.
    pub(super) fields: Vec<String>,
    /// Of a page, what it posts instead.
    pub(super) forms: &'static [Form],
}

impl Endpoint {
    pub(super) fn is_for_administrators(&self) -> bool {
        self.path.contains("/admin/")
    }
    pub(super) fn is_api(&self) -> bool {
        self.path.starts_with("/api/")
    }
    /// Pages, and where a mailed link leads.
    pub(super) fn may_be_a_page(&self) -> bool {
        !self.is_api() || self.path.ends_with("/verify")
    }
}

/// All of them: what the host describes, its pages, and nothing at all.
pub(super) async fn endpoints(to: SocketAddr) -> Result<Vec<Endpoint>> {
    let described = Client::new(to).get("//openapi.json").await?.expect(200)?.json();
    let mut all = Vec::new();
    for (path, methods) in described["paths"].as_object().context("paths")? {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let content = &followed(&described, &operation["requestBody"])["content"];
            let query = operation["parameters"].as_array().into_iter().flatten();
            let query = query.map(|one| followed(&described, one)).filter(|one| one["in"] == "query");
            let body = followed(&described, &content["application/json"]["schema"]);
            let fields = body["properties"].as_object().into_iter().flatten();
            all.push(Endpoint {
                method: method.to_uppercase(),
                path: path.clone(),
                query: query.filter_map(|one| one["name"].as_str().map(str::to_owned)).collect(),
                fields: fields.map(|(name, _)| name.clone()).collect(),
                forms: &[],
            });
        }
    }
    anyhow::ensure!(all.len() > 30, "the description names {} operations", all.len());
    let bare = |method: &str, path: &str, query: &[&str], forms| Endpoint {
        method: method.into(),
        path: path.into(),
        query: query.iter().map(|&name| name.to_owned()).collect(),
        fields: Vec::new(),
        forms,
    };
    for (path, forms) in PAGES {
        all.push(bare("GET", path, &["next", "token", "method"], &[]));
        all.push(bare("POST", path, &[], forms));
    }
    all.push(bare("GET", "/nothing", &["next"], &[]));
    Ok(all)
}

/// What stands where a reference leads.
fn followed<'v>(described: &'v Value, value: &'v Value) -> &'v Value {
    let place = value["$ref"].as_str().and_then(|place| described.pointer(place.trim_start_matches('#')));
    place.unwrap_or(value)
}

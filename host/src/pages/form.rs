//! What a form posts, and the call of the API that it stands for.
use super::file::{Field, Form};
use crate::http::decode;
use countersign_plugin_api::{Refusal, Secret};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What every form may have beside its own fields: its name, and where its visitor was going.
const NAME: &str = "form";
const NEXT: &str = "next";
/// More fields than any form has.
const MAX_FIELDS: usize = 32;

/// A body that was posted, decoded.
pub(super) struct Posted {
    fields: BTreeMap<String, Secret<String>>,
}

impl Posted {
    /// Reads `application/x-www-form-urlencoded`; a field that comes twice is refused.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let broken = || Refusal::malformed("the form does not decode");
        let body = std::str::from_utf8(body).map_err(|_| broken())?;
        let mut fields = BTreeMap::new();
        for pair in body.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(broken)?;
            let value = Secret::new(decode(value).ok_or_else(broken)?);
            if fields.insert(name, value).is_some() || fields.len() > MAX_FIELDS {
                return Err(Refusal::malformed("the form has a field twice, or too many"));
            }
        }
        Ok(Self { fields })
    }

    /// Which form of the page it is.
    pub(super) fn name(&self) -> &str {
        self.text(NAME)
    }
    /// Where its visitor was going, not yet looked at.
    pub(super) fn next(&self) -> Option<&str> {
        self.fields.get(NEXT).map(|next| next.expose().as_str())
    }
    fn text(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.expose().as_str())
    }

    /// The call of the API: the path with its `{id}`, and the body. A field that the form does not have is
    /// refused, as the API refuses members that it does not know.
    pub(super) fn call(&self, form: &Form, path: &str) -> Result<(String, Secret<String>), Refusal> {
        let own = |name: &str| [NAME, NEXT].contains(&name) || form.fields.contains_key(name);
        if !self.fields.keys().all(|name| own(name)) {
            return Err(Refusal::malformed("the form has a field that is not known"));
        }
        let (mut path, mut body) = (path.to_owned(), Map::new());
        for (name, kind) in &form.fields {
            let Some(value) = self.fields.get(name) else { continue };
            let value = value.expose();
            let member = match kind {
                Field::Optional if value.trim().is_empty() => continue,
                Field::Text | Field::Optional | Field::Secret => Value::from(value.as_str()),
                Field::Code => Value::from(code(value)),
                Field::Flag => Value::from(true),
                Field::Keep => continue,
                Field::Path if is_id(value) => {
                    path = path.replace("{id}", value);
                    continue;
                }
                Field::Path => return Err(Refusal::malformed("the form names nothing there is")),
            };
            body.insert(name.clone(), member);
        }
        if path.contains('{') {
            return Err(Refusal::malformed("the form names nothing there is"));
        }
        let body = Secret::new(Value::Object(body).to_string());
        Ok((path, body))
    }

    /// What is shown again when there was a problem: all that the form has, so that no template stumbles over a field
    /// that nobody sent. A box that was not ticked is one that is not there.
    pub(super) fn values<'a>(&'a self, form: &'a Form) -> BTreeMap<&'a str, &'a str> {
        let shown = |kind: Field| !matches!(kind, Field::Secret | Field::Path);
        let fields = form.fields.iter().filter(|(_, kind)| shown(**kind));
        fields
            .filter(|(name, kind)| **kind != Field::Flag || self.fields.contains_key(*name))
            .map(|(name, _)| (name.as_str(), self.text(name)))
            .collect()
    }
}

/// Without the spaces and dashes that people put between digits.
fn code(text: &str) -> String {
    text.chars().filter(|character| !character.is_whitespace() && *character != '-').collect()
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        toml::from_str(text).expect("a form")
    }

    #[test]
    fn fields_become_members_each_in_its_kind() {
        let form = form(
            "post = \"/x/{id}\"\nfields = { email = \"text\", label = \"optional\", password = \"secret\", code = \"code\", trust = \"flag\", id = \"path\", uri = \"keep\" }",
        );
        let body = "form=a&next=%2F&email=a%40b&label=+&password=p+%26&code=12-3+456&trust=on&id=a_b-1&uri=u";
        let posted = Posted::read(body.as_bytes()).expect("a form");
        assert_eq!((posted.name(), posted.next()), ("a", Some("/")));
        let (path, json) = posted.call(&form, "/x/{id}").expect("a call");
        assert_eq!(path, "/x/a_b-1");
        assert_eq!(json.expose(), r#"{"code":"123456","email":"a@b","password":"p &","trust":true}"#);
        let shown: Vec<&str> = posted.values(&form).into_keys().collect();
        assert_eq!(shown, ["code", "email", "label", "trust", "uri"], "no secret is shown again");
        let bare = Posted::read(b"form=a&email=a%40b").expect("a form");
        let bare: Vec<_> = bare.values(&form).into_iter().collect();
        assert_eq!(bare, [("code", ""), ("email", "a@b"), ("label", ""), ("uri", "")]);
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        let form = form("post = \"/x/{id}\"\nfields = { id = \"path\", a = \"text\" }");
        for body in ["id=x&b=1", "id=..%2Fy", "id=", "a=1", "id=x%2Fy", "id=%7Bid%7D"] {
            let posted = Posted::read(body.as_bytes()).expect("a form");
            assert!(posted.call(&form, "/x/{id}").is_err(), "{body}");
        }
        for body in ["a=1&a=2", "a=%", "a=%ff", "%zz=1"] {
            assert!(Posted::read(body.as_bytes()).is_err(), "{body}");
        }
        let many: Vec<String> = (0..=MAX_FIELDS).map(|n| format!("f{n}=")).collect();
        assert!(Posted::read(many.join("&").as_bytes()).is_err());
    }
}

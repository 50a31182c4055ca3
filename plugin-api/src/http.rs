//! Requests and routes, without an HTTP library.
use crate::{
    abi::flat::{Flat, Item},
    about::About,
    context::Context,
    decision::Decision,
    error::Refusal,
};
use serde::de::DeserializeOwned;
use std::borrow::Cow;

const HEAD: u32 = 1;
const HEADER: u32 = 2;
const BODY: u32 = 3;
const QUERY: u32 = 4;
const PEER: u32 = 5;

/// A request, borrowed from the kernel for the length of the call. Its body is at most 16 KiB.
#[derive(Clone)]
pub struct Request<'a> {
    flat: Cow<'a, Flat>,
}

impl<'a> Request<'a> {
    /// A request with a method, a path below the plugin's mount, and a body.
    pub fn new(method: &str, path: &str, body: &[u8]) -> Self {
        let mut flat = Flat::with_capacity(8, 512 + body.len());
        flat.push(Item { tag: HEAD, a: method.as_bytes(), b: path.as_bytes(), ..Item::default() });
        flat.push(Item::bytes(BODY, body));
        Self { flat: Cow::Owned(flat) }
    }
    /// Adds a header; names are lower case.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &[u8]) -> Self {
        self.flat.to_mut().push(Item { tag: HEADER, a: name.as_bytes(), b: value, ..Item::default() });
        self
    }
    /// Adds a decoded query parameter.
    #[must_use]
    pub fn with_query(mut self, name: &str, value: &str) -> Self {
        let item = Item { tag: QUERY, a: name.as_bytes(), b: value.as_bytes(), ..Item::default() };
        self.flat.to_mut().push(item);
        self
    }
    /// Sets the address of the client.
    #[must_use]
    pub fn with_peer(mut self, peer: &str) -> Self {
        self.flat.to_mut().push(Item::bytes(PEER, peer.as_bytes()));
        self
    }

    pub(crate) fn borrowed(flat: &'a Flat) -> Self {
        Self { flat: Cow::Borrowed(flat) }
    }
    pub(crate) fn flat(&self) -> &Flat {
        &self.flat
    }

    /// `GET`, `POST`, …
    pub fn method(&self) -> &str {
        self.flat.find(HEAD).map_or("", |item| item.text())
    }
    /// The path below the plugin's mount, such as `/totp/verify`.
    pub fn path(&self) -> &str {
        self.flat.find(HEAD).map_or("", |item| item.text_b())
    }
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.flat.iter().find(|i| i.tag == HEADER && i.a == name.as_bytes()).map(|i| i.b)
    }
    /// The first query parameter of that name, decoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.flat.iter().find(|i| i.tag == QUERY && i.a == name.as_bytes()).map(|i| i.text_b())
    }
    /// The client's address, as far as it can be trusted; empty when there is none.
    pub fn peer(&self) -> &str {
        self.flat.find(PEER).map_or("", |item| item.text())
    }
    /// The body.
    pub fn body(&self) -> &[u8] {
        self.flat.find(BODY).map_or(&[], |item| item.a)
    }
    /// Whether the body is a form's fields: what a page posts without scripts.
    pub fn is_form(&self) -> bool {
        let media = self.header("content-type").and_then(|value| value.split(|byte| *byte == b';').next());
        media.is_some_and(|media| {
            media.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
        })
    }
    /// The body as JSON; an empty body is an empty object. Give the type `deny_unknown_fields`: unknown and
    /// duplicate keys and wrong types are 400. The error names the place and never repeats a value.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let body = self.body();
        let body = if body.is_empty() { b"{}" } else { body };
        // serde fills a struct from an array as well, by the order of its fields.
        if body.trim_ascii_start().starts_with(b"[") {
            return Err(Refusal::malformed("the body is not a JSON object"));
        }
        serde_json::from_slice(body).map_err(|e| Refusal::malformed(describe(&e)))
    }
}

/// serde_json's messages repeat values (`invalid type: string "123456"`), and a value may be a code.
fn describe(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let safe = ["unknown field", "missing field", "duplicate field"];
    match safe.iter().find(|start| text.starts_with(**start)) {
        Some(_) => text,
        None if error.is_data() => {
            format!("a value has the wrong type or form at line {line} column {column}")
        }
        None => format!("the body is not JSON at line {line} column {column}"),
    }
}

/// Who may call a route. Checked by the kernel before the handler is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone, with a session of any kind or none; the handler looks at [`Context::caller`].
    Anyone,
    /// A standard session, also one that must enrol a second factor first.
    Enrolling,
    /// A standard session that policy is content with.
    Session,
}

/// A route below the plugin's mount (`/api/auth/<plugin>`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `GET`, `POST` or `DELETE`.
    pub method: Cow<'static, str>,
    /// Such as `/totp/verify`; one part may be `{id}`, which stands for any one part.
    pub path: Cow<'static, str>,
    /// Who may call it.
    pub access: Access,
    /// Whether it takes the form of a page of its own beside JSON (`application/x-www-form-urlencoded`). Forms are
    /// refused everywhere else.
    pub form: bool,
    /// What the interface's description says about it.
    pub about: About,
}

impl Route {
    /// A `GET` route.
    pub const fn get(path: &'static str, access: Access) -> Self {
        Self::new("GET", path, access)
    }
    /// A `POST` route.
    pub const fn post(path: &'static str, access: Access) -> Self {
        Self::new("POST", path, access)
    }
    /// A `DELETE` route.
    pub const fn delete(path: &'static str, access: Access) -> Self {
        Self::new("DELETE", path, access)
    }
    const fn new(method: &'static str, path: &'static str, access: Access) -> Self {
        Self {
            method: Cow::Borrowed(method),
            path: Cow::Borrowed(path),
            access,
            form: false,
            about: About::NONE,
        }
    }
    /// The same, which also takes the form of a page of its own. The host has seen by then that no other site
    /// sent it.
    #[must_use]
    pub const fn with_form(mut self) -> Self {
        self.form = true;
        self
    }

    pub(crate) fn item(&self, tag: u32) -> Item<'_> {
        let code = match self.access {
            Access::Anyone => 0,
            Access::Enrolling => 1,
            Access::Session => 2,
        };
        Item { tag, code, x: self.form.into(), y: 0, a: self.method.as_bytes(), b: self.path.as_bytes() }
    }
    pub(crate) fn read(item: &Item<'_>) -> Self {
        Self {
            method: item.text().to_owned().into(),
            path: item.text_b().to_owned().into(),
            access: match item.code {
                0 => Access::Anyone,
                1 => Access::Enrolling,
                // Also what a newer plugin might ask for: the strictest of what is known.
                _ => Access::Session,
            },
            form: item.x != 0,
            about: About::NONE,
        }
    }
}

/// Answers the requests of a route.
pub trait Handler: Send + Sync + 'static {
    /// Reads and decides; performs nothing.
    ///
    /// What it returns depends on the request and on what `context` answers, and on nothing else: the kernel
    /// calls it again when a record that it read has changed meanwhile, or when a hash it asked for is
    /// ready, and hands it the same random bytes each time. It runs on an event loop and must not block.
    fn handle(&self, request: &Request<'_>, context: &dyn Context) -> Result<Decision, Refusal>;
}

impl<F> Handler for F
where
    F: Fn(&Request<'_>, &dyn Context) -> Result<Decision, Refusal> + Send + Sync + 'static,
{
    fn handle(&self, request: &Request<'_>, context: &dyn Context) -> Result<Decision, Refusal> {
        self(request, context)
    }
}

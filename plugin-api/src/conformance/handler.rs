//! The contract of handlers, clause by clause, as far as it shows without knowing what a handler is for.
//!
//! ```no_run
//! # use countersign_plugin_api::{Context, Decision, Handler, Refusal, Request, conformance::handler};
//! # fn hello(_: &Request<'_>, _: &dyn Context) -> Result<Decision, Refusal> { Ok(Decision::empty()) }
//! let asked = handler::Asked::new("GET", "/hello", handler::across(hello));
//! assert_eq!(handler::check_all(&asked), Ok(()));
//! ```
//!
//! The clauses ask over and over, as nobody, with a pending session and with a standard one, in a context without any
//! record. Nothing is carried out. What no kit can show is that a decision is the right one.
use super::bare::{Bare, callers};
pub use super::store::Broken;
use crate::{
    Act, Answer, Decision, Handler, MAX_VALUE, Problem, Refusal, Request,
    abi::objects::decider_object,
    bridge::{ExportedHandler, ImportedHandler},
};
use std::{fmt, sync::Arc};

/// A handler, and what it is registered for.
pub struct Asked {
    handler: Arc<dyn Handler>,
    method: String,
    path: String,
}

impl Asked {
    /// A handler of a route. An operation is asked by `POST` under its name.
    pub fn new(method: &str, path: &str, handler: Arc<dyn Handler>) -> Self {
        Self { handler, method: method.into(), path: path.into() }
    }

    /// What strangers send, with a name for each.
    fn requests(&self) -> Vec<(String, Request<'static>)> {
        let nested = format!("{}{}", "[".repeat(120), "]".repeat(120));
        let long = format!("{{\"x\":\"{}\"}}", "x".repeat(16_000));
        let bodies: [&[u8]; 11] = [
            b"",
            b"{}",
            b"null",
            b"[]",
            b"{",
            b"{\"x\":1}",
            b"{\"id\":\"\",\"code\":\"123456\",\"text\":\"\\u0000\"}",
            b"\xff\xfe",
            b"a=b&a=c&%zz",
            nested.as_bytes(),
            long.as_bytes(),
        ];
        let ids = ["x", "..", "%00", "\u{202e}", &"9".repeat(400)];
        let paths = ids.map(|id| self.path.replace("{id}", id));
        let of = |path: &String, body: &[u8]| {
            let request = Request::new(&self.method, path, body).with_peer("192.0.2.1");
            let request =
                request.with_header("content-type", b"application/json").with_query("x", "\u{1f511}");
            (format!("{} {path} with {} bytes", self.method, body.len()), request)
        };
        let mut all: Vec<_> = bodies.iter().map(|body| of(&paths[0], body)).collect();
        all.extend(paths.iter().skip(1).filter(|path| **path != paths[0]).map(|path| of(path, b"{}")));
        all
    }
}

/// One clause, run on a handler.
pub type Clause = fn(&Asked) -> Result<(), Broken>;

/// Every clause, by name.
pub const CLAUSES: &[(&str, Clause)] = &[
    ("hostile_requests_are_no_panic", hostile_requests_are_no_panic),
    ("decisions_can_be_carried_out", decisions_can_be_carried_out),
    ("the_same_call_is_the_same_decision", the_same_call_is_the_same_decision),
    ("what_cannot_be_read_is_refused", what_cannot_be_read_is_refused),
];

/// Runs every clause and answers all that are broken.
pub fn check_all(asked: &Asked) -> Result<(), Vec<Broken>> {
    let broken: Vec<Broken> = CLAUSES.iter().filter_map(|(_, clause)| clause(asked).err()).collect();
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}

/// A handler as a host sees it: through the boundary between libraries, where a panic becomes an answer.
pub fn across(handler: impl Handler) -> Arc<dyn Handler> {
    Arc::new(ImportedHandler(decider_object(ExportedHandler(handler))))
}

/// Whatever is asked, by whomever, the answer is an answer.
pub fn hostile_requests_are_no_panic(asked: &Asked) -> Result<(), Broken> {
    each(asked, |name, request, context| {
        let outcome = asked.handler.handle(request, context);
        let panicked = outcome.as_ref().is_err_and(is_panic);
        holds("hostile_requests_are_no_panic", "an answer", !panicked, format_args!("a panic for {name}"))
    })
}

/// The kernel understands the answer and every act; what is written was read, and inside the bounds. An answer is
/// 200, 201, 202 or 204 and a JSON object, a page, or a refusal.
pub fn decisions_can_be_carried_out(asked: &Asked) -> Result<(), Broken> {
    each(asked, |name, request, context| {
        let Ok(decision) = asked.handler.handle(request, context) else { return Ok(()) };
        let fault = fault(&decision, context);
        let seen = format_args!("{} for {name}", fault.unwrap_or_default());
        holds("decisions_can_be_carried_out", "what a kernel can do", fault.is_none(), seen)
    })
}

/// A handler is a function of the request and of what the context answers: the kernel asks it again when a record has
/// changed meanwhile, and must get the same.
pub fn the_same_call_is_the_same_decision(asked: &Asked) -> Result<(), Broken> {
    each(asked, |name, request, context| {
        let first = asked.handler.handle(request, context);
        let second = asked.handler.handle(request, &context.again());
        let same = match (first, second) {
            (Ok(first), Ok(second)) => is_same(first, second),
            (Err(first), Err(second)) => first == second,
            _ => false,
        };
        holds(
            "the_same_call_is_the_same_decision",
            "the same decision",
            same,
            format_args!("another for {name}"),
        )
    })
}

/// "There is none" and "it could not be read" are different answers: when a read is refused, so is the request.
pub fn what_cannot_be_read_is_refused(asked: &Asked) -> Result<(), Broken> {
    each(asked, |name, request, context| {
        let context = context.unreadable();
        let outcome = asked.handler.handle(request, &context);
        let granted = |decision: &Decision| !matches!(decision.answer(), Some(Answer::Refusal(_)));
        let fell_back = context.was_refused() && outcome.as_ref().is_ok_and(granted);
        let seen = format_args!("an answer as if there were none for {name}");
        holds("what_cannot_be_read_is_refused", "a refusal", !fell_back, seen)
    })
}

fn each(
    asked: &Asked,
    clause: impl Fn(&str, &Request<'_>, &Bare) -> Result<(), Broken>,
) -> Result<(), Broken> {
    for (who, caller) in callers() {
        for (what, request) in asked.requests() {
            clause(&format!("{what}, {who}"), &request, &Bare::new(caller.clone()))?;
        }
    }
    Ok(())
}

pub(super) fn holds(
    clause: &'static str,
    expected: &str,
    truth: bool,
    seen: impl fmt::Display,
) -> Result<(), Broken> {
    if truth { Ok(()) } else { Err(Broken { clause, expected: expected.into(), seen: seen.to_string() }) }
}

/// Item by item: a decision is data.
pub(super) fn is_same(first: Decision, second: Decision) -> bool {
    let (first, second) = (first.into_flat(), second.into_flat());
    first.len() == second.len()
        && first
            .iter()
            .zip(second.iter())
            .all(|(a, b)| (a.tag, a.code, a.x, a.y, a.a, a.b) == (b.tag, b.code, b.x, b.y, b.a, b.b))
}

pub(super) fn is_panic(refusal: &Refusal) -> bool {
    refusal.problem() == Problem::PluginFault && refusal.log().ends_with("panicked")
}

/// Why a kernel could not carry it out.
pub(super) fn fault(decision: &Decision, context: &Bare) -> Option<&'static str> {
    match decision.answer() {
        None => return Some("no answer that is understood"),
        Some(Answer::Json { status, body }) => {
            if ![200, 201, 202].contains(&status) {
                return Some("a status that is not 200, 201 or 202");
            }
            if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body).is_err() {
                return Some("a body that is no JSON object");
            }
        }
        Some(Answer::Page { values, .. })
            if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(values).is_err() =>
        {
            return Some("a page whose values are no JSON object");
        }
        Some(_) => {}
    }
    decision.acts().find_map(|act| match act {
        None => Some("an act that is not understood"),
        Some(Act::Put { name, blind: false, .. } | Act::Delete { name }) if !context.has_read(name) => {
            Some("a change to a record that was not read")
        }
        Some(Act::Put { value, .. }) if value.len() > MAX_VALUE => Some("a record of more than 64 KiB"),
        Some(Act::Put { name, .. } | Act::Delete { name }) if name.name.len() > 256 => {
            Some("a record whose name has more than 256 bytes")
        }
        Some(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, Name, Time};
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    /// The clauses that such a handler breaks.
    fn broken(handler: impl Handler) -> Vec<&'static str> {
        let asked = Asked::new("POST", "/notes/{id}", across(handler));
        check_all(&asked).err().into_iter().flatten().map(|broken| broken.clause).collect()
    }

    const NOTE: Name<'static> = Name::of("user", "note");

    fn sound(request: &Request<'_>, context: &dyn Context) -> Result<Decision, Refusal> {
        let _: serde_json::Value = request.json()?;
        let caller = context.caller().ok_or(Problem::SessionRequired)?;
        let note = Name::of(&caller.subject.id, "note");
        context.read(note)?;
        Ok(Decision::empty().put(note, b"x", Time::NEVER))
    }

    #[test]
    fn a_sound_handler_keeps_every_clause() {
        assert_eq!(broken(sound), [""; 0]);
    }

    #[test]
    fn every_fault_is_noticed() {
        let panics = |request: &Request<'_>, _: &dyn Context| {
            assert!(request.body() != b"null");
            Ok(Decision::empty())
        };
        assert_eq!(broken(panics), ["hostile_requests_are_no_panic"]);
        let blind = |_: &Request<'_>, _: &dyn Context| Ok(Decision::empty().put(NOTE, b"x", Time::NEVER));
        assert_eq!(broken(blind), ["decisions_can_be_carried_out"]);
        let list = |_: &Request<'_>, _: &dyn Context| Decision::json(200, &["a"]);
        assert_eq!(broken(list), ["decisions_can_be_carried_out"]);
        let count = AtomicU32::new(0);
        let counts = move |_: &Request<'_>, _: &dyn Context| {
            Decision::json(200, &serde_json::json!({ "count": count.fetch_add(1, Relaxed) }))
        };
        assert_eq!(broken(counts), ["the_same_call_is_the_same_decision"]);
        let falls_back = |_: &Request<'_>, context: &dyn Context| {
            let _ = context.read(NOTE);
            Ok(Decision::empty())
        };
        assert_eq!(broken(falls_back), ["what_cannot_be_read_is_refused"]);
    }
}

//! Forms as no browser of ours sends them: every form that there is, bare, empty, with a field missing and with one too
//! many.
use super::{look, send};
use countersign_test_kit::project;
use countersign_tests::{Client, Host};
use std::{collections::BTreeMap, fs};
use toml_edit::DocumentMut;

/// The page and the name of every form, and its fields.
fn forms() -> BTreeMap<(String, String), Vec<String>> {
    let mut forms = BTreeMap::new();
    for dir in ["host/src/pages/built-in", "plugin-mfa/src/pages"] {
        for file in fs::read_dir(project::root().join(dir)).expect("pages") {
            let text = fs::read_to_string(file.expect("a file").path()).expect("text");
            let Some((head, _)) = text.strip_prefix("---\n").and_then(|text| text.split_once("\n---\n"))
            else {
                continue;
            };
            let head: DocumentMut = head.parse().expect("a head in TOML");
            let page = head.get("path").or_else(|| head.get("part_of")).and_then(|path| path.as_str());
            let (Some(page), Some(named)) = (page, head.get("form").and_then(|form| form.as_table())) else {
                continue;
            };
            for (name, form) in named {
                let fields = form.get("fields").and_then(|fields| fields.as_table_like());
                let fields = fields.into_iter().flat_map(|fields| fields.iter());
                let fields = fields.map(|(field, _)| field.to_owned()).collect();
                forms.insert((page.to_owned(), name.to_owned()), fields);
            }
        }
    }
    forms
}

/// What is posted of a form: the bare one comes last, because it may be all that it takes to sign out.
fn shapes<'a>(name: &'a str, fields: &'a [String]) -> Vec<Vec<(&'a str, &'a str)>> {
    let form = ("form", name);
    let all = |value: &'a str| fields.iter().map(move |field| (field.as_str(), value));
    let mut shapes = vec![
        [form, ("unknown", "x")].into_iter().chain(all("x")).collect(),
        [form].into_iter().chain(all("")).collect(),
        [("form", "unknown")].into_iter().chain(all("x")).collect(),
        all("x").collect(),
    ];
    shapes.extend(fields.iter().map(|missing| {
        let others = all("x").filter(|(field, _)| field != missing);
        [form].into_iter().chain(others).collect()
    }));
    shapes.push(vec![form]);
    shapes
}

#[test]
fn every_form_is_answered_by_a_page_whatever_is_missing() {
    let host = Host::start();
    let plain = host.user_fixture("plain@example.org");
    let mut enrolled = host.user_fixture("ann@example.org");
    let mut pending = host.user_fixture("bob@example.org");
    let fresh = host.setup_totp(&mut enrolled);
    host.setup_totp(&mut pending);
    let mut visitors = [host.browser(), host.mfa_pending_session(&pending), host.signed_in(&plain), fresh];
    let ends = |name: &str| ["cancel", "sign-out"].contains(&name);
    let forms = forms();
    assert!(forms.len() > 20 && forms.contains_key(&("/login".into(), "link".into())), "{forms:?}");
    let (last, first): (Vec<_>, Vec<_>) = forms.iter().partition(|((_, name), _)| ends(name));
    for ((page, name), fields) in first {
        visitors.iter_mut().for_each(|visitor| answered(visitor, page, name, fields));
    }
    // All of it was said by who they are.
    for (visitor, page) in
        [(1, "/mfa/challenge"), (2, "/settings/sessions"), (3, "/settings/sessions"), (3, "/settings/mfa")]
    {
        assert_eq!(look(&mut visitors[visitor], page).status, 200, "{page}");
    }
    for ((page, name), fields) in last {
        visitors.iter_mut().for_each(|visitor| answered(visitor, page, name, fields));
    }
    host.stop();
}

/// A page that says what is wrong, or the way on.
#[track_caller]
fn answered(visitor: &mut Client, page: &str, name: &str, fields: &[String]) {
    for shape in shapes(name, fields) {
        let reply = send(visitor, page, &shape);
        let (status, text) = (reply.status, reply.text());
        let sensible = match status {
            303 => reply.header("location").is_some_and(|way| way.starts_with('/')),
            200 | 400..=499 => {
                let says = text.contains("<title>Problem: ") || text.contains("role=\"alert\"");
                let is_page = reply.header("content-type") == Some("text/html; charset=utf-8");
                is_page && text.contains("<h1") && (status == 200 || says)
            }
            _ => false,
        };
        assert!(sensible, "{page} {shape:?}: {status} {text}");
    }
}

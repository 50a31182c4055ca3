//! Every page is rendered once before the host starts, with everything there and with nothing there: a name, a
//! filter or a text that does not exist is met by the operator, and not by a visitor.
use super::{
    Fault,
    table::{Page, Pages, REFERENCE},
    texts::ENGLISH,
};
use crate::openapi;
use minijinja::{
    Value,
    value::{Enumerator, Object},
};
use std::{fmt, sync::Arc};

/// What is wrong with a page, or with what it includes.
pub(super) fn of(pages: &Pages, page: &Page) -> Vec<String> {
    let with = |there: bool| {
        let anything = || Value::from_object(Anything(there));
        let reads = page.reads.iter().map(|(name, _)| name.as_str());
        let names = reads.chain(["visitor", "posted", "query", "next", "said", "answer"]);
        Value::from_pairs(names.map(|name| (name, anything())).chain(pages.fixed(page, ENGLISH)))
    };
    let render = |there| pages.templates.get_template(&page.template)?.render(with(there));
    let failed = [true, false].into_iter().filter_map(|there| render(there).err());
    failed.map(|error| Fault::of_template(&page.template, &error).to_string()).collect()
}

/// What is wrong with the page of the description, tried with one of everything.
pub(super) fn of_reference(pages: &Pages, locale: &str) -> Option<String> {
    let names = Value::from_pairs(pages.described(locale, &openapi::Page::of_each()));
    let rendered = pages.templates.get_template(REFERENCE).and_then(|template| template.render(names));
    rendered.err().map(|error| Fault::of_template(REFERENCE, &error).to_string())
}

impl Fault {
    /// Where an error of the template engine stands: in what was included, if it came from there.
    pub(super) fn of_template(name: &str, error: &minijinja::Error) -> Self {
        let mut innermost = error;
        while let Some(cause) =
            std::error::Error::source(innermost).and_then(|cause| cause.downcast_ref::<minijinja::Error>())
        {
            innermost = cause;
        }
        let why = match innermost.detail() {
            Some(detail) => format!("{}: {detail}", innermost.kind()),
            None => innermost.kind().to_string(),
        };
        Self::new(innermost.name().unwrap_or(name), innermost.line().unwrap_or(1), &why)
    }
}

/// A value that has every member, all of them alike.
#[derive(Debug)]
struct Anything(bool);

impl Object for Anything {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Value::from_object(Self(self.0)))
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        if self.0 { Enumerator::Values(vec![Value::from_object(Self(true))]) } else { Enumerator::Empty }
    }
    fn is_true(self: &Arc<Self>) -> bool {
        self.0
    }
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("x")
    }
}

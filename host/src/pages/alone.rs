//! Pages that stand at no path: what a route answers with, and what is shown where no page could be. They carry their
//! style, so they look the same under any name, in an application that serves none of our files, and to whoever opens
//! a mailed link, whose page loads nothing that could tell where it was opened.
use super::{flow::Visitor, serve::page, table::Pages};
use crate::{
    api,
    app::Host,
    auth::{self, Shown},
    http::{Refuse, refused},
};
use axum::{
    body::Body,
    http::{HeaderMap, Response, header, request::Parts},
};
use countersign_plugin_api::{Problem, Refusal};
use minijinja::{Value, value::Serde};
use serde_json::json;
use std::sync::Arc;

/// How refusals are shown to whoever looks for a page, whatever refuses: a browser that asks the API is a program's.
pub(crate) fn for_people(host: &Arc<Host>, request: &Parts) -> Option<Refuse> {
    let is_api = request.uri.path().starts_with(api::MOUNT);
    if is_api || !host.config.pages.enabled || !auth::wants_html(&request.headers) {
        return None;
    }
    let (host, locale) = (host.clone(), host.pages.locale(&request.headers).to_owned());
    Some(Box::new(move |refusal| host.pages.error(&locale, refusal)))
}

impl Pages {
    /// The locale that suits whoever sends these headers.
    pub(super) fn locale(&self, asked: &HeaderMap) -> &str {
        let wanted = asked.get(header::ACCEPT_LANGUAGE).and_then(|wanted| wanted.to_str().ok());
        self.texts.choose(wanted.unwrap_or_default())
    }

    /// The page that a route has answered with, if it has.
    pub(crate) fn shown(
        &self,
        asked: &HeaderMap,
        shown: Option<Shown>,
    ) -> Result<Option<Response<Body>>, Refusal> {
        let Some(Shown { name, values }) = shown else { return Ok(None) };
        let (locale, template) = (self.locale(asked), format!("{name}.html"));
        self.stands_alone(locale, &template, Value::from(Serde(values)), None).map(Some)
    }

    /// A page about what went wrong, where no other page could be shown.
    pub(super) fn error(&self, locale: &str, refusal: &Refusal) -> Response<Body> {
        let shown = self.stands_alone(locale, "error.html", Value::from(()), Some(refusal));
        shown.unwrap_or_else(|broken| refused(&broken))
    }

    fn stands_alone(
        &self,
        locale: &str,
        template: &str,
        answer: Value,
        refusal: Option<&Refusal>,
    ) -> Result<Response<Body>, Refusal> {
        let unknown =
            || Refusal::new(Problem::PluginFault).because(format_args!("no page {template} stands alone"));
        let known = self.alone(template).ok_or_else(unknown)?;
        let problem = refusal.map(|refusal| self.problem(locale, "error", "", refusal, None));
        let posted = json!({ "form": "", "values": {}, "problem": problem, "result": null });
        let mut names: Vec<(&str, Value)> = self.fixed(known, locale).into();
        names.extend([
            ("visitor", Value::from(Serde(Visitor::default()))),
            ("posted", Value::from(Serde(posted))),
            ("answer", answer),
            ("query", Value::from_pairs(std::iter::empty::<(&str, &str)>())),
            ("next", Value::from(())),
            ("said", Value::from(())),
        ]);
        let html = self.html(template, names)?;
        let style = format!(" '{}'", self.style_hash);
        Ok(page(html, refusal, None, &style))
    }
}

//! A request for a page: who looks, what it reads or posts, what is shown.
use super::{
    file::{Access, Form},
    flow::{Admission, CHALLENGE, ENROL, HOME, LOGIN, STEP_UP, Visitor, admit, encoded, location},
    form::Posted,
    table::{Page, Pages},
    texts::filled,
};
use crate::{
    api,
    app::Host,
    auth::{self, Reply},
    http::{Call as Http, Pattern, refused},
    openapi, sessions,
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header},
};
use countersign_plugin_api::{Problem, Refusal, SessionKind};
use minijinja::{Value, value::Serde};
use serde_json::json;
use std::collections::BTreeMap;

/// Where the description of the API stands for people.
const REFERENCE: &str = "/openapi";

/// Answers whatever is not the API: a page, a file that pages load, or that there is nothing.
pub(crate) async fn answer(host: &Host, http: &Http) -> Response<Body> {
    let pages = &host.pages;
    let locale = pages.locale(&http.headers);
    let looks = http.method == Method::GET || http.method == Method::HEAD;
    if let Some(asset) = pages.asset(http.uri.path()).filter(|_| looks) {
        let mut response = asset.response();
        Pattern::of("files of pages").mark(&mut response);
        return response;
    }
    if looks
        && http.uri.path() == REFERENCE
        && let Some(html) = pages.reference(locale, || openapi::page(&host.document()))
    {
        return html.map_or_else(|refusal| pages.error(locale, &refusal), reference);
    }
    let Some(page) = pages.page(http.uri.path()) else {
        let wants_page = looks && host.config.pages.enabled && auth::wants_html(&http.headers);
        let refusal = Problem::NotFound.into();
        return if wants_page { pages.error(locale, &refusal) } else { refused(&refusal) };
    };
    let request = Showing { host, pages, page, http, locale };
    let answer = match http.method {
        Method::GET | Method::HEAD => request.show().await,
        Method::POST => request.post().await,
        _ => Err(Problem::MethodNotAllowed.into()),
    };
    let mut response = answer.unwrap_or_else(|refusal| {
        let mut response = pages.error(locale, &refusal);
        if refusal.problem() == Problem::MethodNotAllowed {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        }
        response
    });
    Pattern::of(page.path.as_str()).mark(&mut response);
    response
}

/// One request for one page.
struct Showing<'a> {
    host: &'a Host,
    pages: &'a Pages,
    page: &'a Page,
    http: &'a Http,
    locale: &'a str,
}

/// What a form came to, for the page that shows it.
#[derive(Default)]
struct Outcome<'a> {
    form: &'a str,
    values: BTreeMap<&'a str, &'a str>,
    refusal: Option<(&'a Form, &'a str, Refusal)>,
    result: Option<serde_json::Value>,
}

impl Showing<'_> {
    async fn show(&self) -> Result<Response<Body>, Refusal> {
        let query = self.http.query()?;
        let asked = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let next = self.next(asked("next"));
        let said = asked("said").and_then(|key| self.pages.said(self.locale, key));
        self.render(&query, next, said, &Outcome::default()).await
    }

    async fn post(&self) -> Result<Response<Body>, Refusal> {
        let media = self.http.headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
        let media = media.and_then(|media| media.split(';').next()).unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let refusal = Refusal::new(Problem::UnsupportedMediaType);
            return Err(refusal.saying("A page takes application/x-www-form-urlencoded"));
        }
        let posted = Posted::read(&self.http.body)?;
        let next = self.next(posted.next());
        let unknown = || Refusal::malformed("the page has no such form");
        let (form, base) = self.page.forms.get(posted.name()).ok_or_else(unknown)?;
        let (method, path) = form.route().ok_or_else(unknown)?;
        let (path, body) = posted.call(form, path)?;
        let body = Bytes::copy_from_slice(body.expose().as_bytes());
        let outcome = Outcome { form: posted.name(), values: posted.values(form), ..Outcome::default() };
        match self.ask(method, &path, body).await {
            Ok(mut reply) => {
                let answer = serde_json::Value::Object(reply.body.take().unwrap_or_default());
                let mut response = if form.show.as_ref().is_some_and(|member| answer.get(member).is_some()) {
                    let shown = Outcome { result: Some(answer), ..outcome };
                    self.render(&[], next, None, &shown).await?
                } else {
                    see_other(&self.after(form, &answer, next))
                };
                api::set_headers(&self.host.cookie, reply, response.headers_mut())?;
                Ok(response)
            }
            Err(refusal) => match self.way_on(&refusal, next) {
                Some(location) => Ok(see_other(&location)),
                None => {
                    let shown = Outcome { refusal: Some((form, base, refusal)), ..outcome };
                    self.render(&[], next, None, &shown).await
                }
            },
        }
    }

    /// Asks the API as the browser would that sent this request.
    async fn ask(&self, method: &str, path: &str, body: Bytes) -> Result<Reply, Refusal> {
        let broken = |_| Refusal::new(Problem::PluginFault).because("a page asks for what is no path");
        let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
        let uri = Uri::try_from(format!("{}{path}", api::MOUNT)).map_err(broken)?;
        let mut headers = self.http.headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let Http { peer, proxied, id, .. } = *self.http;
        let address = self.http.address.clone();
        let call = Http { method, uri, headers, body, peer, address, proxied, id };
        api::ask(self.host, &call).await
    }

    async fn visitor(&self) -> Result<Visitor, Refusal> {
        let (token, origin) = api::caller(self.host, self.http);
        let look = |call: &crate::kernel::Call<'_>| {
            if let Some(token) = &token {
                sessions::resolve(call, token.expose())?;
            }
            let Some(caller) = call.caller() else { return Ok(Visitor::default()) };
            let (email, amr) = (caller.subject.email.clone(), caller.session.amr.clone());
            if caller.session.kind == SessionKind::Pending {
                return Ok(Visitor { pending: true, email, amr, ..Visitor::default() });
            }
            let standing = self.host.kernel.standing(call)?;
            Ok(Visitor {
                signed_in: true,
                pending: false,
                email,
                role: caller.subject.role.clone(),
                amr,
                enrolled: standing.is_some_and(|standing| standing.enrolled),
                enrollment_required: standing.is_some_and(|standing| standing.enrollment_required),
                stepped_up: standing.is_none_or(|standing| standing.stepped_up),
            })
        };
        self.host.kernel.run(&origin, look).await
    }

    /// Where a visitor may be sent in the end; anything else counts for nothing.
    fn next<'n>(&self, wanted: Option<&'n str>) -> Option<&'n str> {
        wanted.filter(|next| auth::may_follow(next, &self.host.config))
    }

    /// Where a form that was carried out leads.
    fn after(&self, form: &Form, answer: &serde_json::Value, next: Option<&str>) -> String {
        let say = form.say.as_deref();
        match form.then.as_deref() {
            None => location(&self.page.path, next, say),
            Some("next") if answer["status"] == "mfa_required" => location(CHALLENGE, next, None),
            Some("next") if answer["status"] == "verification_required" => location(LOGIN, next, say),
            Some("next") if answer["session"]["enrollment_required"] == true => location(ENROL, next, None),
            Some("next") => next.unwrap_or(HOME).to_owned(),
            Some(path) => location(path, next, say),
        }
    }

    /// The page that helps with a refusal; `None` when this one does.
    fn way_on(&self, refusal: &Refusal, next: Option<&str>) -> Option<String> {
        let page = match refusal.problem() {
            Problem::SessionRequired => LOGIN,
            Problem::MfaRequired => CHALLENGE,
            Problem::StepUpRequired => STEP_UP,
            _ => return None,
        };
        (page != self.page.path).then(|| self.via(page, next))
    }

    /// To a page that comes first. From a page of its own it leads back there; one that is itself only on the way
    /// is not come back to.
    fn via(&self, first: &str, next: Option<&str>) -> String {
        match self.page.access {
            Access::Enrolling | Access::Session => {
                location(first, Some(&location(&self.page.path, next, None)), None)
            }
            Access::Anyone | Access::SignedOut | Access::Pending => location(first, next, None),
        }
    }

    async fn render(
        &self,
        query: &[(String, String)],
        next: Option<&str>,
        said: Option<&str>,
        outcome: &Outcome<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let visitor = self.visitor().await?;
        match admit(&visitor, self.page.access, self.page.fresh) {
            Admission::Show => {}
            Admission::On => return Ok(see_other(next.unwrap_or(HOME))),
            Admission::Via(first) => return Ok(see_other(&self.via(first, next))),
        }
        let mut names: Vec<(&str, Value)> = self.pages.fixed(self.page, self.locale).into();
        // A form that was posted carries on what the page was opened with.
        let opened_with = |name: &str| {
            let asked = query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            asked.or_else(|| outcome.values.get(name).copied()).unwrap_or_default()
        };
        for (name, path) in &self.page.reads {
            let path = filled(path, |name| Some(encoded(opened_with(name))));
            let read = match self.ask("GET", &path, Bytes::new()).await {
                Ok(reply) => Value::from(Serde(reply.body)),
                // What this visitor may not see is not there; what could not be read is no page.
                Err(refusal) if refusal.problem().status() < 500 => Value::from(()),
                Err(refusal) => return Err(refusal),
            };
            names.push((name, read));
        }
        let asked = |name: &String| (name.clone(), Value::from(opened_with(name)));
        let problem = outcome.refusal.as_ref().map(|(form, base, refusal)| {
            let slug = refusal.problem().slug();
            self.pages.problem(self.locale, base, outcome.form, refusal, form.blame.get(slug))
        });
        let posted = json!({
            "form": outcome.form, "values": outcome.values, "problem": problem, "result": outcome.result,
        });
        names.extend([
            ("visitor", Value::from(Serde(&visitor))),
            ("query", Value::from_pairs(self.page.query.iter().map(asked))),
            ("next", Value::from(next)),
            ("said", Value::from(said)),
            ("posted", Value::from(Serde(posted))),
        ]);
        let html = self.pages.html(&self.page.template, names)?;
        let refusal = outcome.refusal.as_ref().map(|(_, _, refusal)| refusal);
        Ok(page(html, refusal, next, ""))
    }
}

impl Pages {
    pub(super) fn html(&self, template: &str, names: Vec<(&str, Value)>) -> Result<String, Refusal> {
        let rendered =
            self.templates.get_template(template).and_then(|page| page.render(Value::from_pairs(names)));
        rendered.map(|html| html.trim_start().to_owned()).map_err(|error| {
            // The error's own text may quote what it failed to render.
            let (kind, line) = (error.kind(), error.line().unwrap_or_default());
            Refusal::new(Problem::PluginFault).because(format_args!("template {template}:{line}: {kind}"))
        })
    }

    /// A problem in words: those of the form, of the page, or of all pages.
    pub(super) fn problem(
        &self,
        locale: &str,
        base: &str,
        form: &str,
        refusal: &Refusal,
        field: Option<&String>,
    ) -> serde_json::Value {
        let slug = refusal.problem().slug();
        let text = |key: String| self.texts.get(locale, &key);
        let own = text(format!("{base}.problem.{form}.{slug}"))
            .or_else(|| text(format!("{base}.problem.{slug}")))
            .or_else(|| text(format!("problem.{slug}")));
        let minutes = refusal.retry_after_secs().map(|secs| secs.div_ceil(60).max(1).to_string());
        let said =
            filled(
                own.unwrap_or(refusal.detail()),
                |place| {
                    if place == "minutes" { minutes.clone() } else { None }
                },
            );
        let rules = refusal.broken_rules().iter();
        let points: Vec<&str> = rules.map(|rule| text(format!("rule.{rule}")).unwrap_or(rule)).collect();
        json!({ "slug": slug, "text": said, "field": field, "points": points })
    }
}

/// A page that is read and nothing else: it runs no script and posts nothing.
fn reference(html: Bytes) -> Response<Body> {
    const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'none'; \
                          frame-ancestors 'none'; base-uri 'none'";
    let mut response = Response::new(Body::from(html));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

fn see_other(location: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    match HeaderValue::try_from(location) {
        Ok(location) => {
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        Err(_) => refused(&Refusal::new(Problem::PluginFault).because("a location that is no header")),
    }
}

/// A page that loads our own files and nothing else, beside a `style` of its own. Its forms lead to this site, and, for browsers hold
/// redirects to the same rule, to where they were told to go on to.
pub(super) fn page(
    html: String,
    refusal: Option<&Refusal>,
    next: Option<&str>,
    style: &str,
) -> Response<Body> {
    let elsewhere = next.filter(|next| next.starts_with("https://")).map(|next| {
        let end =
            next["https://".len()..].find(['/', '?', '#']).map_or(next.len(), |at| at + "https://".len());
        format!(" {}", &next[..end])
    });
    let policy = format!(
        "default-src 'none'; style-src 'self'{style}; script-src 'self'; img-src 'self' data:; form-action 'self'{}; \
         frame-ancestors 'none'; base-uri 'none'",
        elsewhere.unwrap_or_default()
    );
    // The refusal's own response has what belongs to its status, and what the log is told.
    let mut response = refusal.map_or_else(|| Response::new(Body::empty()), refused);
    *response.body_mut() = Body::from(html);
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

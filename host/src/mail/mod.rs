//! Mails: a text template each, whose first line is the subject; the HTML part is made of the text.
//!
//! ```text
//! catalog    every mail, what it must carry and what its template may use; English is built in
//! directory  `[mail] templates`: other languages and wordings, each file tried before the host starts
//! ```
//!
//! A name that a template does not have is an error, not an empty place. Subject and text are rendered apart, so that
//! nothing in a text can become a header.
mod catalog;
mod check;
mod directory;
#[cfg(test)]
mod tests;

use crate::{
    config::{Config, Problem as Fault, Problems},
    kernel::Letter,
    language,
};
use catalog::{Carries, MAILS, Mail};
use countersign_plugin_api::{Draft, Problem, Refusal};
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, Value};

/// The language of what is built in, and of whoever has named none that there is.
const ENGLISH: &str = "en";
/// Where the built-in templates lie among those of a directory.
const BUILT_IN: &str = "";
/// Whom a mail to nobody is rendered for (RFC 2606 section 2).
pub(crate) const NOBODY: &str = "nobody@example.invalid";
const LAYOUT: &str = "layout.html";

/// Renders mails.
pub(crate) struct Mails {
    templates: Environment<'static>,
    /// The languages of the directory.
    locales: Vec<String>,
    origin: String,
}

impl Mails {
    /// The templates that a configuration names, over the built-in ones; or everything that is wrong with them.
    pub(crate) fn load(config: &Config) -> Result<Self, Problems> {
        let mut mails = Self::built_in(config.public_url.origin())
            .map_err(|error| Fault::of_file(&config.file, None, &format!("a built-in mail: {error}")))?;
        match &config.mail_templates {
            Some(folder) => directory::add(&mut mails, folder).none_or(mails),
            None => Ok(mails),
        }
    }

    /// English alone.
    fn built_in(origin: &str) -> Result<Self, Error> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_auto_escape_callback(|name| {
            let html = name.rsplit_once('.').is_some_and(|(_, kind)| kind == "html");
            if html { AutoEscape::Html } else { AutoEscape::None }
        });
        // What people choose, such as a label, stays text.
        templates.remove_filter("safe");
        let mut mails = Self { templates, locales: Vec::new(), origin: origin.into() };
        for mail in MAILS {
            mails.add(BUILT_IN, mail.name, mail.english)?;
        }
        mails.add_html(BUILT_IN, LAYOUT, include_str!("layout.html"))?;
        Ok(mails)
    }

    /// Adds a template: its first line is the subject.
    fn add(&mut self, locale: &str, name: &str, source: &str) -> Result<(), Error> {
        let (subject, text) = source.split_once('\n').unwrap_or((source, ""));
        self.templates.add_template_owned(format!("{locale}/{name}.subject"), subject.trim().to_owned())?;
        // An empty line in the subject's place, so that errors name the line of the file.
        self.templates.add_template_owned(format!("{locale}/{name}.txt"), format!("\n{text}"))
    }
    fn add_html(&mut self, locale: &str, file: &str, source: &str) -> Result<(), Error> {
        self.templates.add_template_owned(format!("{locale}/{file}"), source.to_owned())
    }
    fn has(&self, locale: &str, file: &str) -> bool {
        self.templates.get_template(&format!("{locale}/{file}")).is_ok()
    }

    /// A draft as a letter to `to`, in the first of the languages that there is.
    pub(crate) fn render(&self, draft: &Draft<'_>, to: &str, preferences: &str) -> Result<Letter, Refusal> {
        let broken = |why: &dyn std::fmt::Display| {
            Refusal::new(Problem::DeliveryUnavailable)
                .because(format_args!("the mail template `{}`: {why}", draft.template))
        };
        let mail = Mail::named(draft.template).ok_or_else(|| broken(&"there is none of that name"))?;
        let mut fields: Vec<(&str, String)> = Vec::new();
        for (name, value) in &draft.fields {
            match (mail.carries, *name) {
                (Carries::Link(path), "token") => {
                    fields.push(("link", format!("{}{path}?token={value}", self.origin)));
                }
                _ => fields.push((name, (*value).to_owned())),
            }
        }
        let available: Vec<&str> = self.locales.iter().map(String::as_str).chain([ENGLISH]).collect();
        let wanted = language::lookup(preferences, &available).unwrap_or(ENGLISH);
        // The error's own text may quote what it failed to render.
        self.write(mail, wanted, to, &fields).map_err(|error| broken(&error.kind()))
    }

    /// A mail in a language, or in English where that language does not have it.
    fn write(&self, mail: &Mail, wanted: &str, to: &str, fields: &[(&str, String)]) -> Result<Letter, Error> {
        let text_file = format!("{}.txt", mail.name);
        let found = [wanted, ENGLISH].into_iter().find(|locale| self.has(locale, &text_file));
        let (folder, locale) = found.map_or((BUILT_IN, ENGLISH), |locale| (locale, locale));
        let common = [("email", to), ("origin", &self.origin), ("locale", locale)];
        let common = common.map(|(name, value)| (name, Value::from(value)));
        let own = fields.iter().map(|(name, value)| (*name, Value::from(value.as_str())));
        let values: Vec<(&str, Value)> = own.chain(common).collect();
        let render = |file: &str, values: &[(&str, Value)]| {
            let values = Value::from_pairs(values.iter().cloned());
            self.templates.get_template(file)?.render(values)
        };
        // One line, whatever stands in what people choose.
        let subject = render(&format!("{folder}/{}.subject", mail.name), &values)?;
        let subject = subject.replace(char::is_control, " ").trim().to_owned();
        let text = render(&format!("{folder}/{text_file}"), &values)?;
        let text = text.strip_prefix('\n').unwrap_or(&text).to_owned();

        let html_file = format!("{}.html", mail.name);
        let html = if self.has(folder, &html_file) {
            format!("{folder}/{html_file}")
        } else {
            let own = [locale, ENGLISH].into_iter().find(|locale| self.has(locale, LAYOUT));
            format!("{}/{LAYOUT}", own.unwrap_or(BUILT_IN))
        };
        let lines: Vec<Value> = text.lines().filter(|line| !line.is_empty()).map(line).collect();
        let mut values = values;
        values.extend([("subject", Value::from(subject.as_str())), ("lines", Value::from(lines))]);
        let html = render(&html, &values)?;
        Ok(Letter { to: to.into(), subject, text, html: Some(html) })
    }
}

/// A line of the text, as the HTML part shows it.
fn line(text: &str) -> Value {
    let link = text.starts_with("https://") || text.starts_with("http://");
    let code = text.bytes().all(|byte| byte.is_ascii_digit());
    Value::from_pairs([("text", Value::from(text)), ("link", Value::from(link)), ("code", Value::from(code))])
}

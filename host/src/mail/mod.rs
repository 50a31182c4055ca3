//! Mails: a text template each, whose first line is the subject; the HTML part is made of the text.
//!
//! A template may use `email` (whom it is for), `origin` (`public_url`), and the fields of its draft. A name
//! that it does not have is an error, not an empty place.
use crate::kernel::Letter;
use countersign_plugin_api::{Draft, Problem, Refusal};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        /// Every mail there is, in English.
        const BUILT_IN: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("templates/", $name, ".txt"))),)*];
    };
}
built_in![
    "account-deleted",
    "browser-trusted",
    "email-code",
    "email-verify",
    "guesses",
    "locked",
    "magic-link",
    "mfa-reset",
    "password-changed",
    "password-reset",
    "recovery-generated",
    "recovery-used",
    "registration",
    "registration-known",
    "role-changed",
    "sessions-ended",
    "totp-added",
    "totp-removed",
    "unlocked",
];

const LAYOUT: &str = "layout.html";

/// Renders mails.
pub(crate) struct Mails {
    templates: Environment<'static>,
    origin: String,
}

impl Mails {
    /// The built-in templates, for a host at `origin`.
    pub(crate) fn new(origin: &str) -> Result<Self, String> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_auto_escape_callback(
            |name| {
                if name == LAYOUT { AutoEscape::Html } else { AutoEscape::None }
            },
        );
        let all = BUILT_IN.iter().copied().chain([(LAYOUT, include_str!("layout.html"))]);
        for (name, source) in all {
            templates
                .add_template(name, source)
                .map_err(|error| format!("the mail template `{name}`: {error}"))?;
        }
        Ok(Self { templates, origin: origin.into() })
    }

    /// A draft as a letter to `to`.
    pub(crate) fn render(&self, draft: &Draft<'_>, to: &str) -> Result<Letter, Refusal> {
        let broken = |error: minijinja::Error| {
            // The error's own text may quote what it failed to render.
            let kind = error.kind();
            Refusal::new(Problem::DeliveryUnavailable)
                .because(format_args!("the mail template `{}`: {kind}", draft.template))
        };
        let host = [("email", to), ("origin", &self.origin)];
        let values = Value::from_pairs(draft.fields.iter().copied().chain(host));
        let text =
            self.templates.get_template(draft.template).and_then(|t| t.render(values)).map_err(broken)?;
        let (subject, text) = text.split_once('\n').unwrap_or((&text, ""));
        let lines: Vec<Value> = text.lines().filter(|line| !line.is_empty()).map(line).collect();
        let values = [("subject", Value::from(subject)), ("lines", Value::from(lines))];
        let html = self.templates.get_template(LAYOUT).map_err(broken)?;
        let html = html.render(Value::from_pairs(values)).map_err(broken)?;
        Ok(Letter { to: to.into(), subject: subject.into(), text: text.into(), html: Some(html) })
    }
}

/// A line of the text, as the HTML part shows it.
fn line(text: &str) -> Value {
    let link = text.starts_with("https://") || text.starts_with("http://");
    let code = text.bytes().all(|byte| byte.is_ascii_digit());
    Value::from_pairs([("text", Value::from(text)), ("link", Value::from(link)), ("code", Value::from(code))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_plugin_api::Time;

    fn draft<'a>(template: &'a str, fields: &[(&'a str, &'a str)]) -> Draft<'a> {
        fields
            .iter()
            .fold(Draft::new(template, "id", Time::NEVER), |draft, (key, value)| draft.with(key, value))
    }

    const ALL: &[(&str, &str)] = &[
        ("code", "123456"),
        ("minutes", "5"),
        ("token", "v1.a.b.c"),
        ("label", "phone"),
        ("remaining", "7"),
        ("days", "30"),
        ("role", "admin"),
    ];

    #[test]
    fn every_template_renders_with_a_subject_of_one_line() {
        let mails = Mails::new("https://auth.example.org").unwrap();
        for (name, _) in BUILT_IN {
            let letter = mails.render(&draft(name, ALL), "ann@example.org").unwrap();
            assert!(!letter.subject.is_empty() && !letter.subject.contains(['{', '\r']), "{name}");
            assert!(letter.text.contains("ann@example.org"), "{name}");
            assert!(letter.html.is_some_and(|html| html.contains("ann@example.org")), "{name}");
        }
    }

    #[test]
    fn a_code_stands_alone_on_its_line_and_is_the_only_number_of_six_digits() {
        let mails = Mails::new("https://auth.example.org").unwrap();
        let text = mails.render(&draft("email-code", ALL), "ann@example.org").unwrap().text;
        assert_eq!(text.lines().filter(|line| *line == "123456").count(), 1);
        let six = |word: &&str| word.len() == 6 && word.bytes().all(|b| b.is_ascii_digit());
        assert_eq!(text.split(|c: char| !c.is_ascii_alphanumeric()).filter(six).count(), 1);
    }

    #[test]
    fn what_users_choose_is_escaped_in_html_and_cannot_open_a_template() {
        let mails = Mails::new("https://auth.example.org").unwrap();
        let hostile = "<img src=x>{{ origin }}{% for x in y %}";
        let letter = mails.render(&draft("totp-added", &[("label", hostile)]), "ann@example.org").unwrap();
        assert!(letter.text.contains(hostile));
        let html = letter.html.unwrap();
        assert!(html.contains("&lt;img src=x&gt;{{ origin }}"), "{html}");
        assert!(!html.contains("<img"));
    }

    #[test]
    fn a_missing_field_and_an_unknown_template_are_errors_that_show_nothing() {
        let mails = Mails::new("https://auth.example.org").unwrap();
        for bad in [draft("email-code", &[("code", "123456")]), draft("no-such", ALL)] {
            let refusal = mails.render(&bad, "ann@example.org").err().expect("an error");
            assert_eq!(refusal.problem(), Problem::DeliveryUnavailable);
            assert!(!format!("{refusal:?}").contains("123456"));
        }
    }
}

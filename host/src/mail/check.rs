//! What a template must keep, tried by rendering it: a mail that arrives without its code helps nobody.
use super::{
    Mails,
    catalog::{COMMON, Carries, Mail},
};
use crate::kernel::Letter;
use minijinja::Error;

/// What the HTML of a mail may use beside its text.
pub(super) const IN_HTML: [&str; 2] = ["subject", "lines"];
/// More than any client shows of one.
const LONGEST_SUBJECT: usize = 150;

/// A sentence, and the word of the template that it is about.
pub(super) struct Fault {
    pub(super) why: String,
    pub(super) word: Option<String>,
    pub(super) line: Option<usize>,
}

impl Fault {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), word: None, line: None }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let why = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        Self { line: error.line(), ..Self::new(why) }
    }
}

/// The names that a template uses and does not have.
pub(super) fn unknown_names(mails: &Mails, template: &str, mail: Option<&Mail>, html: bool) -> Vec<Fault> {
    let Ok(template) = mails.templates.get_template(template) else { return Vec::new() };
    let fields = mail.into_iter().flat_map(|mail| mail.fields.iter().map(|(name, _)| *name));
    let in_html = IN_HTML.into_iter().filter(|_| html);
    let known: Vec<&str> = COMMON.into_iter().chain(fields).chain(in_html).collect();
    let mut used: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    used.sort();
    used.retain(|name| !known.contains(&name.as_str()));
    let fault = |name: String| {
        let list: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        let why = format!("`{name}` is not known here; there are {}", list.join(", "));
        Fault { word: Some(name), ..Fault::new(why) }
    };
    used.into_iter().map(fault).collect()
}

/// Renders a mail in a language with values made up for it, and says what is missing.
pub(super) fn tried(mails: &Mails, mail: &Mail, locale: &str) -> Result<(), Fault> {
    for secret in ["918273", "004170"] {
        let link = match mail.carries {
            Carries::Link(path) => format!("{}{path}?token=v1.kid.{secret}payload.mac", mails.origin),
            _ => String::new(),
        };
        let value = |name: &str, sample: &str| match name {
            "code" => secret.to_owned(),
            "link" => link.clone(),
            _ => sample.to_owned(),
        };
        let fields: Vec<(&str, String)> =
            mail.fields.iter().map(|(name, sample)| (*name, value(name, sample))).collect();
        let letter = mails.write(mail, locale, "ann@example.org", &fields)?;
        complete(mail, &letter, secret, &link).map_err(Fault::new)?;
    }
    Ok(())
}

fn complete(mail: &Mail, letter: &Letter, code: &str, link: &str) -> Result<(), String> {
    let (subject, text) = (&letter.subject, &letter.text);
    let html = letter.html.as_deref().map(unescaped).unwrap_or_default();
    if subject.is_empty() || subject.chars().count() > LONGEST_SUBJECT {
        return Err(format!("its first line is the subject: from 1 to {LONGEST_SUBJECT} characters"));
    }
    if text.trim().is_empty() {
        return Err("it has no text after the subject".into());
    }
    let alone = |what: &str| text.lines().filter(|line| line.trim() == what).count();
    let numbers = sixes(subject) + sixes(text);
    match mail.carries {
        Carries::Code if alone(code) != 1 => Err("`{{ code }}` must stand alone on one line".into()),
        Carries::Code if numbers != 1 => {
            Err("the code must be the only number of six digits, in subject and text".into())
        }
        Carries::Code if !html.contains(code) => Err("its HTML does not show the code".into()),
        Carries::Link(_) if alone(link) != 1 => Err("`{{ link }}` must stand alone on one line".into()),
        Carries::Link(_) if subject.contains("token=") || text.matches("token=").count() != 1 => {
            Err("the link must stand there once, and not in the subject".into())
        }
        Carries::Link(_) if !html.contains(link) => Err("its HTML does not have the link".into()),
        Carries::Nothing if [subject, text, &html].iter().any(|part| part.contains("token=")) => {
            Err("news carry no link with a token".into())
        }
        Carries::Nothing if numbers > 0 => {
            Err("news carry no number of six digits: it reads as a code".into())
        }
        _ => Ok(()),
    }
}

/// How many numbers of six digits stand in a text.
fn sixes(text: &str) -> usize {
    text.split(|letter: char| !letter.is_ascii_digit()).filter(|digits| digits.len() == 6).count()
}

/// What a browser reads where HTML has escapes.
fn unescaped(html: &str) -> String {
    html.replace("&#x2f;", "/").replace("&#x27;", "'").replace("&amp;", "&")
}

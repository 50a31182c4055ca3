//! Every built-in mail, and directories that are right, wrong and hostile.
use super::{catalog::COMMON, *};
use countersign_plugin_api::Time;
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

const ORIGIN: &str = "https://auth.example.org";

fn draft<'a>(template: &'a str, fields: &[(&'a str, &'a str)]) -> Draft<'a> {
    fields.iter().fold(Draft::new(template, "id", Time::NEVER), |draft, (key, value)| draft.with(key, value))
}

const ALL: &[(&str, &str)] = &[
    ("code", "123456"),
    ("minutes", "5"),
    ("token", "v1.a.b.c"),
    ("label", "phone"),
    ("remaining", "7"),
    ("days", "30"),
    ("role", "admin"),
    ("failures", "3"),
    ("until", "2026-11-21T09:30:00Z"),
    ("browser", "Firefox"),
    ("address", "192.0.2.1"),
];

fn english() -> Mails {
    Mails::built_in(ORIGIN).unwrap()
}

/// The mails of a directory of such files; or what is said about them, one line each.
fn mails(files: &[(&str, &str)]) -> Result<Mails, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        for folder in path.parent().unwrap().ancestors().take_while(|above| *above != folder.path()) {
            fs::create_dir_all(folder).unwrap();
            fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(&path, text).unwrap();
        let mode = if name.contains("loose") { 0o666 } else { 0o644 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    let mut mails = english();
    let problems = directory::add(&mut mails, folder.path());
    let here = format!("{}/", folder.path().display());
    let said: Vec<String> = problems.iter().map(|problem| problem.to_string().replace(&here, "")).collect();
    if said.is_empty() { Ok(mails) } else { Err(said.join("\n")) }
}

fn letter(mails: &Mails, name: &str, language: &str) -> Letter {
    mails.render(&draft(name, ALL), "ann@example.org", language).unwrap()
}

#[test]
fn every_built_in_mail_keeps_what_directories_must_keep() {
    let mails = english();
    for mail in MAILS {
        if let Err(fault) = check::tried(&mails, mail, ENGLISH) {
            panic!("{}: {}", mail.name, fault.why);
        }
        for part in ["subject", "txt"] {
            let unknown = check::unknown_names(&mails, &format!("/{}.{part}", mail.name), Some(mail), false);
            assert!(unknown.is_empty(), "{}: {}", mail.name, unknown[0].why);
        }
        let field = |(name, sample): &(&'static str, &'static str)| match *name {
            "link" => ("token", "v1.a.b.c"),
            name => (name, *sample),
        };
        let fields: Vec<(&str, &str)> = mail.fields.iter().map(field).collect();
        let letter = mails.render(&draft(mail.name, &fields), "ann@example.org", "").unwrap();
        assert!(letter.text.contains("ann@example.org"), "{}", mail.name);
        assert!(letter.html.is_some_and(|html| html.contains("ann@example.org")), "{}", mail.name);
    }
}

#[test]
fn what_users_choose_is_escaped_in_html_stays_in_its_line_and_cannot_open_a_template() {
    let hostile = "<img src=x>{{ origin }}{% for x in y %}";
    let letter =
        english().render(&draft("totp-added", &[("label", hostile)]), "ann@example.org", "").unwrap();
    assert!(letter.text.contains(hostile));
    let html = letter.html.unwrap();
    assert!(html.contains("&lt;img src=x&gt;{{ origin }}"), "{html}");
    assert!(!html.contains("<img"));

    let mails = mails(&[("en/totp-added.txt", "{{ label }} was added\nTo {{ email }}.")]).unwrap();
    let hostile = "phone\r\nBcc: eve@example.org\n\nhello";
    let letter = mails.render(&draft("totp-added", &[("label", hostile)]), "ann@example.org", "").unwrap();
    assert_eq!(letter.subject, "phone  Bcc: eve@example.org  hello was added");
    assert_eq!(letter.text, "To ann@example.org.");
}

#[test]
fn a_missing_field_and_an_unknown_template_are_errors_that_show_nothing() {
    for bad in [draft("email-code", &[("code", "123456")]), draft("no-such", ALL)] {
        let refusal = english().render(&bad, "ann@example.org", "").err().expect("an error");
        assert_eq!(refusal.problem(), Problem::DeliveryUnavailable);
        assert!(!format!("{refusal:?}").contains("123456"));
    }
}

const GERMAN: &str =
    "Ihr Anmeldecode\nDer Code für {{ email }}:\n\n{{ code }}\n\nEr gilt {{ minutes }} Minuten.\n";

#[test]
fn the_best_language_that_there_is_and_english_for_what_it_lacks() {
    let mails = mails(&[
        ("de/email-code.txt", GERMAN),
        ("en/password-changed.txt", "New password\nFor {{ email }}, as of now.\n"),
        ("pt-BR/unlocked.txt", "Desbloqueado\nPara {{ email }}.\n"),
        ("README.md", "not a template"),
    ])
    .unwrap();
    let subject = |name, language| letter(&mails, name, language).subject;
    for (language, expected) in [
        ("de-AT,en", "Ihr Anmeldecode"),
        ("fr,de", "Ihr Anmeldecode"),
        ("en,de", "Your sign-in code"),
        ("fr", "Your sign-in code"),
        ("", "Your sign-in code"),
    ] {
        assert_eq!(subject("email-code", language), expected, "{language}");
    }
    assert_eq!(subject("unlocked", "pt-br"), "Desbloqueado");
    assert_eq!(subject("unlocked", "de"), "Sign-ins are unlocked", "German has none, and nobody reworded it");
    assert_eq!(subject("password-changed", "de"), "New password", "the wording of the directory comes first");
    let german = letter(&mails, "email-code", "de");
    assert!(german.text.lines().any(|line| line == "123456"), "{}", german.text);
    let html = german.html.unwrap();
    assert!(html.contains("<html lang=\"de\">") && html.contains("letter-spacing"), "{html}");
    assert!(letter(&mails, "unlocked", "de").html.unwrap().contains("<html lang=\"en\">"));
}

#[test]
fn html_of_its_own_and_a_layout_of_its_own() {
    let mails = mails(&[
        ("de/email-code.txt", GERMAN),
        ("de/email-code.html", "<title>{{ subject }}</title><b>{{ code }}</b>"),
        ("de/layout.html", "<main>{% for line in lines %}<p>{{ line.text }}</p>{% endfor %}</main>"),
        ("de/unlocked.txt", "Entsperrt\nFür {{ email }}."),
    ])
    .unwrap();
    let html = |name| letter(&mails, name, "de").html.unwrap();
    assert_eq!(html("email-code"), "<title>Ihr Anmeldecode</title><b>123456</b>");
    assert_eq!(html("unlocked"), "<main><p>Für ann@example.org.</p></main>");
    assert!(html("locked").starts_with("<!doctype html>"), "English keeps its own");
}

#[test]
fn what_is_broken_is_told_with_file_line_and_reason() {
    for (file, text, said) in [
        ("de/email-code.txt", "Code\n\n{{ code }\n", "de/email-code.txt:3:1: "),
        ("de/email-code.txt", "Code\n{% if code %}\n{{ code }}\n", "de/email-code.txt:"),
        ("de/email-code.txt", "{{ code\nx\n{{ code }}\n", "de/email-code.txt:1:1: "),
        (
            "de/email-code.txt",
            "Code\nfor {{ name }}\n{{ code }}\n",
            "de/email-code.txt:2:1: `name` is not known here; there are `email`, `origin`, `locale`, `code`, `minutes`",
        ),
        ("de/email-code.txt", "Code\n{{ code | shout }}\n", "shout"),
        ("de/email-code.txt", "Code\n<p>{{ code | safe }}</p>\n", "safe"),
        ("de/email-code.txt", "Code\nThe code is on its way.\n", "`{{ code }}` must stand alone on one line"),
        ("de/email-code.txt", "Code\nIt is {{ code }}.\n", "`{{ code }}` must stand alone on one line"),
        ("de/email-code.txt", "Code\n{{ code }}\n{{ code }}\n", "`{{ code }}` must stand alone on one line"),
        ("de/email-code.txt", "Code\n{{ code }}\nCall 123456.\n", "the only number of six digits"),
        ("de/email-code.txt", "{{ code }} is it\n{{ code }}\n", "the only number of six digits"),
        ("de/email-code.txt", "\n{{ code }}\n", "its first line is the subject"),
        ("de/email-code.txt", "Code\n", "it has no text after the subject"),
        ("de/email-code.txt", "", "its first line is the subject"),
        ("de/magic-link.txt", "Link\nNo link.\n", "`{{ link }}` must stand alone on one line"),
        ("de/magic-link.txt", "Link\n{{ token }}\n", "`token` is not known here"),
        ("de/magic-link.txt", "Link\nOpen {{ link }}.\n", "`{{ link }}` must stand alone on one line"),
        ("de/magic-link.txt", "{{ link }}\n{{ link }}\n", "and not in the subject"),
        ("de/unlocked.txt", "News\nhttps://x/?token=1\n", "news carry no link with a token"),
        ("de/unlocked.txt", "News\nCall 123456.\n", "news carry no number of six digits"),
        ("de/unlocked.txt", "News\n{{ code }}\n", "`code` is not known here"),
        ("de/unlockt.txt", "News\nx\n", "there is no mail `unlockt`; did you mean `unlocked`?"),
        ("de/hello.html", "x", "there is no mail `hello`"),
        ("de/unlocked.html", "x", "there is no unlocked.txt beside it"),
        (
            "en/layout.html",
            "<p>{{ subject }}</p>",
            "en/layout.html: its HTML does not show the code (tried as `email-code`)",
        ),
        ("de/layout.html", "{{ code }}", "de/layout.html:1:1: `code` is not known here"),
        ("unlocked.txt", "News\nx\n", "unlocked.txt: it lies beside the languages"),
        ("german!/unlocked.txt", "News\nx\n", "german!: its name is no language"),
        ("de/loose/../unlocked.txt", "News\nx\n", "others than its owner may write to it (mode 0666)"),
    ] {
        let why = mails(&[(file, text)]).err().unwrap_or_else(|| panic!("{file} was accepted: {text}"));
        assert!(why.contains(said), "{file}: {text:?}: {why}");
        assert!(!why.contains("918273"), "{why}");
    }
    let twice = mails(&[("de/unlocked.txt", "A\nx\n"), ("DE/unlocked.txt", "A\nx\n")]).err().unwrap();
    assert!(twice.contains("it is the language `DE` again"), "{twice}");
    let all = mails(&[("de/unlocked.txt", "A\n"), ("fr/locked.txt", "A\n{{ x }}")]).err().unwrap();
    assert!(all.contains("de/unlocked.txt") && all.contains("fr/locked.txt:2"), "both are told: {all}");
}

#[test]
fn html_that_forgets_the_code_or_the_link_is_refused() {
    for (name, text) in [("email-code", "Code\n{{ code }}\n"), ("magic-link", "Link\n{{ link }}\n")] {
        let files = [(format!("de/{name}.txt"), text), (format!("de/{name}.html"), "<p>Hello</p>")];
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        let why = mails(&files).err().expect("it is refused");
        assert!(why.contains(&format!("de/{name}.html: its HTML")), "{why}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_a_problem() {
    let mut mails = english();
    let problems = directory::add(&mut mails, Path::new("/nowhere/at/all")).to_string();
    assert!(problems.contains("/nowhere/at/all: it cannot be read"), "{problems}");
}

/// The page's table and what templates can use are one.
#[test]
fn the_page_about_templates_tells_of_every_mail() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mail-templates.md");
    let page = fs::read_to_string(page).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), MAILS.len(), "a row for each mail");
    for (row, mail) in rows.iter().zip(MAILS) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let carries = match mail.carries {
            Carries::Code => "a code",
            Carries::Link(_) => "a link",
            Carries::Nothing => "news",
        };
        let fields: Vec<String> = mail.fields.iter().map(|(name, _)| format!("`{name}`")).collect();
        let expected = [format!("`{}`", mail.name), carries.to_owned(), fields.join(", ")];
        assert_eq!(cells[1..4], expected.each_ref().map(String::as_str), "{row}");
    }
    for name in COMMON.into_iter().chain(check::IN_HTML) {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}

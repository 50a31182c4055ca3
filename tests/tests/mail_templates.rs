//! Mails in other languages, from a folder: chosen by the browser, and refused before the host starts when one is
//! broken.
use countersign_tests::{Client, Site, api, smtp::Options};
use serde_json::{Value, json};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    thread::sleep,
    time::{Duration, Instant},
};
use toml_edit::{Item, Table, value};

const GERMAN: &str = "Neues Passwort für {{ email }}\nÖffnen Sie diesen Link:\n\n{{ link }}\n\nEr gilt {{ minutes }} Minuten.\n";

/// A site with templates, that sends through a relay.
fn site(relay: &str, templates: &[(&str, &str)]) -> Site {
    let site = Site::with_store("sqlite");
    let writable = |mode| Permissions::from_mode(mode);
    for (name, text) in templates {
        let file = site.path("mails").join(name);
        let folder = file.parent().expect("a language");
        fs::create_dir_all(folder).expect("a folder");
        fs::write(&file, text).expect("a template");
        for path in [&site.path("mails"), folder] {
            fs::set_permissions(path, writable(0o755)).expect("its mode");
        }
        fs::set_permissions(&file, writable(0o644)).expect("its mode");
    }
    site.edit(|config| {
        let mut smtp = Table::new();
        smtp["url"] = value(relay);
        smtp["from"] = value("Countersign <no-reply@example.org>");
        let mut delivery = Table::new();
        delivery["use"] = value("smtp");
        delivery["smtp"] = Item::Table(smtp);
        config["delivery"] = Item::Table(delivery);
        let mut mail = Table::new();
        mail["templates"] = value("mails");
        config["mail"] = Item::Table(mail);
    });
    site
}

/// Posts JSON as a browser that reads such languages.
fn post(browser: &mut Client, path: &str, languages: Option<&str>, body: &Value) -> u16 {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(languages.map(|languages| ("accept-language", languages)));
    browser.send("POST", &api(path), &headers, Some(body.to_string().as_bytes())).expect("an answer").status
}

fn register(browser: &mut Client, email: &str, languages: Option<&str>) {
    let account = json!({ "email": email, "password": "correct horse battery staple" });
    assert_eq!(post(browser, "/register", languages, &account), 201);
}

fn forget(browser: &mut Client, email: &str, languages: Option<&str>) {
    assert_eq!(post(browser, "/password/reset", languages, &json!({ "email": email })), 202);
}

#[test]
fn a_mail_is_in_the_language_of_the_sign_up_and_else_of_the_browser_that_asks() {
    let relay = Options::default().start();
    let site = site(&format!("smtp://{}", relay.address()), &[("de/password-reset.txt", GERMAN)]);
    let mut add = site.command(&["user", "add", "cleo@example.org", "--password-stdin"]);
    let input = site.path("password");
    fs::write(&input, "correct horse battery staple").expect("a file");
    add.stdin(fs::File::open(&input).expect("a file"));
    assert!(add.status().expect("it starts").success());

    let host = site.start();
    let german = Some("fr;q=0.1, de-AT, en;q=0.5");
    register(&mut host.browser(), "ann@example.org", german);
    register(&mut host.browser(), "bob@example.org", None);
    forget(&mut host.browser(), "ann@example.org", Some("en"));
    forget(&mut host.browser(), "bob@example.org", None);
    forget(&mut host.browser(), "cleo@example.org", german);

    let give_up = Instant::now() + Duration::from_secs(30);
    let mails = loop {
        let mails = relay.seen().messages;
        if mails.len() == 3 {
            break mails;
        }
        assert!(Instant::now() < give_up, "{mails:?}");
        sleep(Duration::from_millis(50));
    };
    for (to, subject) in [
        ("ann@example.org", "Neues Passwort für ann@example.org"),
        ("bob@example.org", "Set a new password"),
        ("cleo@example.org", "Neues Passwort für cleo@example.org"),
    ] {
        let mail = mails.iter().find(|mail| mail.to == [to]).expect("a mail");
        assert_eq!(mail.header("Subject"), subject);
        assert!(mail.text.contains("/password/reset?token="), "{}", mail.text);
        assert_eq!(mail.defects, Vec::<String>::new());
    }
}

#[test]
fn a_broken_template_is_refused_by_the_check_and_at_the_start() {
    let broken = "Neues Passwort\n\nÖffnen Sie {{ lnik }}\n";
    let site = site("smtp://127.0.0.1:2525", &[("de/password-reset.txt", broken)]);
    let output = site.run(&["config", "check"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for said in [said, site.refuses()] {
        assert!(said.contains("mails/de/password-reset.txt:3:1: `lnik` is not known here"), "{said}");
    }
}

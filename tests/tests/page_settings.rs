//! What an operator makes of the pages: other templates, texts and looks, or none at all.
use countersign_tests::{Client, Reply, Site};
use std::fs;

const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml");

/// Looks at a page as a browser does.
fn look(client: &mut Client, path: &str) -> Reply {
    client.send("GET", path, &[HTML], None).expect("an answer")
}

#[test]
fn an_operator_replaces_templates_texts_and_the_look() {
    let site = Site::with_store("memory").with("pages.templates", "pages").with("pages.name", "Ann & Co");
    let folder = site.path("pages");
    fs::create_dir_all(folder.join("mfa")).expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file");
    // What is wrong is refused with its place, by `config check` as far as it can know, and by a start.
    for (name, text, says, checked) in [
        ("login.html", "<p>\n{% if %}", "login.html:2", true),
        ("login.html", "\n{{ nobody_knows }}", "login.html:2", true),
        ("login.html", "{{ t('no.such') }}", "no catalogue has the text `no.such`", true),
        ("login.html", "---\npath = \"/x\"\n---\n", "a replacement has no head", true),
        ("logn.html", "", "did you mean `login.html`?", true),
        ("de.toml", "[login]\ntitel = \"x\"", "did you mean `login.title`?", true),
        ("de.toml", "[home]\nlead = \"{mail}\"", "a place `{mail}`", true),
        ("x.toml", "", "its name is no language", true),
        ("mfa/challange.html", "", "did you mean `mfa/challenge.html`?", false),
        ("de.toml", "[mfa.challenge]\ntitel = \"x\"", "did you mean `mfa.challenge.title`?", false),
    ] {
        write(name, text);
        let check = site.run(&["config", "check"]);
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        assert_eq!(said.contains(says), checked, "{name}: {said}");
        let said = site.refuses();
        assert!(said.contains(says), "{name}: {said}");
        fs::remove_file(folder.join(name)).expect("it was there");
    }
    write("de.toml", "[login]\ntitle = \"Anmelden\"\n[mfa.challenge]\ntitle = \"Zweiter Schritt\"\n");
    write("password-forgot.html", "<h1>{{ t(\"password-forgot.title\") }} at {{ site.name }}</h1>\n");
    fs::write(site.path("logo.svg"), "<svg xmlns=\"http://www.w3.org/2000/svg\"/>").expect("a file");
    let host = site.with("pages.logo", "logo.svg").with("pages.accent", "#ffff00").start();
    let german = |path: &str| {
        let headers = [HTML, ("accept-language", "fr, de-AT;q=0.9, en;q=0.1")];
        host.browser().send("GET", path, &headers, None).expect("an answer").text()
    };
    let page = german("/login");
    for part in ["<html lang=\"de\">", "<h1>Anmelden</h1>", "Ann &amp; Co", "E-mail address", "logo."] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(look(&mut host.browser(), "/login").text().contains("<h1>Sign in</h1>"));
    assert_eq!(german("/password/forgot").trim(), "<h1>Forgotten password at Ann &amp; Co</h1>");
    host.stop();
}

#[test]
fn without_pages_the_host_is_an_api() {
    let host = Site::with_store("memory").with("pages.enabled", false).start();
    let mut browser = host.browser();
    for path in ["/", "/login", "/settings/mfa"] {
        let reply = look(&mut browser, path);
        assert_eq!((reply.status, reply.problem().as_deref()), (404, Some("not-found")), "{path}");
    }
    // What a mailed link opens is there all the same, and loads nothing that is not.
    let opened = look(&mut browser, "/api/auth/mfa/magic-link/verify?token=v1.a.b.c");
    let text = opened.text();
    assert!(opened.status == 401 && text.contains("<style>"), "{text}");
    assert!(!text.contains("href=\"/login\"") && !text.contains("assets"), "{text}");
    let asked = look(&mut browser, "/api/auth/verify?next=%2F");
    assert_eq!((asked.status, asked.problem().as_deref()), (401, Some("session-required")));
    host.stop();
}

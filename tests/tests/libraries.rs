//! Libraries that a host must not load, or must survive: each a real one.
use countersign_tests::{Site, api, damage::Damage, fixture};
use std::{fs, path::Path};
use toml_edit::value;

/// A fixture, and what the sentence about it says.
const REFUSED: [(&str, &str); 8] = [
    ("not-a-plugin", "no manifest"),
    ("no-symbol", "does not export the symbol of a plugin"),
    ("wrong-abi", "built for interface 9.0.0"),
    ("wrong-layout", "does not fit this host"),
    ("panic-abort", "panic = \"abort\""),
    ("lying-name", "its manifest names it `honest-name`, and its code `lying-name`"),
    ("panics-in-register", "panicked while registering"),
    ("registers-twice", "GET /twice is registered twice"),
];

fn file_name(library: &Path) -> String {
    library.file_name().expect("a library has a name").to_string_lossy().into_owned()
}

/// Exactly one line of what was said names the file, and it says why, in one line.
fn assert_sentence(said: &str, file: &str, cause: &str) {
    let lines: Vec<&str> = said.lines().filter(|line| line.contains(file) && line.contains(cause)).collect();
    assert!(lines.len() == 1, "one line should name {file} and say {cause:?}:\n{said}");
    assert!(lines[0].len() < 500, "a sentence, not a report: {}", lines[0]);
}

#[test]
fn a_bad_library_stops_the_start_by_name_and_cause() {
    for (name, cause) in REFUSED {
        let site = Site::new();
        site.add_plugin(&fixture(name));
        assert_sentence(&site.refuses(), &file_name(&fixture(name)), cause);
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let site = Site::new();
    // What is found without opening anything. Only when all of that is well is anything opened.
    let early = ["not-a-plugin", "wrong-abi", "panic-abort"];
    for name in early {
        site.add_plugin(&fixture(name));
    }
    let said = site.refuses();
    for (name, cause) in REFUSED.iter().filter(|(name, _)| early.contains(name)) {
        assert_sentence(&said, &file_name(&fixture(name)), cause);
    }
}

#[test]
fn what_is_not_required_is_left_out_and_the_host_lives() {
    let site = Site::new();
    for (name, _) in REFUSED {
        site.add_plugin(&fixture(name));
    }
    site.edit(|config| {
        let plugins = config["plugin"].as_array_of_tables_mut().expect("[[plugin]]");
        for entry in plugins.iter_mut() {
            let file = entry["file"].as_str().expect("a file").to_owned();
            if REFUSED.iter().any(|(name, _)| file == file_name(&fixture(name))) {
                entry["required"] = value(false);
            }
        }
    });
    let host = site.start();
    assert_eq!(host.browser().get(&api("/me")).expect("an answer").status, 401);
    for (name, cause) in REFUSED {
        let file = file_name(&fixture(name));
        let told =
            host.log().lines().any(|line| line.contains(&file) && line.contains(&cause.replace('"', "\\\"")));
        assert!(told, "{file} was left out in silence:\n{}", host.log());
    }
}

#[test]
fn damaged_libraries_are_refused_before_they_are_opened() {
    for damage in Damage::ALL {
        let site = Site::new();
        let broken = site.path("libbroken.so");
        damage.inflict(&fixture("hello-delivery"), &broken);
        site.add_plugin(&broken);
        let said = site.refuses();
        assert!(said.contains("libbroken.so: "), "{damage:?}: {said}");
    }
}

#[test]
fn a_library_that_is_missing_is_named() {
    let site = Site::new();
    site.add_plugin(&fixture("hello-delivery"));
    fs::remove_file(site.path("plugins/libhello_delivery.so")).expect("removed");
    assert_sentence(&site.refuses(), "libhello_delivery.so", "there is no such file");
}

#[test]
fn nothing_of_a_library_runs_unless_its_pin_is_right() {
    let marker = tempfile::tempdir().expect("a directory");
    let marker = marker.path().join("marker");
    let site = Site::new().with_variable("COUNTERSIGN_TEST_MARKER", &marker);
    site.add_plugin(&fixture("constructor-marker"));
    let pinned = fs::read_to_string(site.config()).expect("a configuration");

    site.edit(|config| {
        let plugins = config["plugin"].as_array_of_tables_mut().expect("[[plugin]]");
        let last = plugins.iter_mut().last().expect("the one that was added");
        last["sha256"] = value("0".repeat(64));
    });
    assert_sentence(&site.refuses(), "libconstructor_marker.so", "SHA-256");
    assert!(!marker.exists(), "a library with a wrong pin was opened");

    // With its own pin it runs, so the mark would have been seen.
    fs::write(site.config(), pinned).expect("a configuration");
    let host = site.start();
    assert!(marker.exists(), "the library was not opened at all");
    host.stop();
}

#[test]
fn a_name_that_two_plugins_register_is_a_conflict() {
    let site = Site::new();
    site.add_plugin(&fixture("hello-delivery"));
    site.add_plugin(&fixture("constructor-marker"));
    site.edit(|config| {
        config["delivery"]["use"] = value("stderr");
        config["delivery"]["stderr"]["prefix"] = value("mail");
    });
    let said = site.refuses();
    assert!(said.contains("`stderr`") && said.contains("constructor-marker"), "{said}");
}

#[test]
fn a_panic_in_a_handler_is_an_answer() {
    let site = Site::new();
    site.add_plugin(&fixture("panics-in-handler"));
    let host = site.start();
    let mut browser = host.browser();
    for _ in 0..100 {
        let reply = browser.get(&api("/panics-in-handler/panic")).expect("an answer");
        assert_eq!((reply.status, reply.problem().as_deref()), (503, Some("plugin-fault")));
        assert!(!reply.text().contains("in a handler"), "the client is told what panicked");
    }
    assert_eq!(browser.get(&api("/panics-in-handler/well")).expect("an answer").status, 204);
    assert!(host.log().contains("panic"), "the log is not told");
    // Its handlers panic once more as they are dropped.
    host.stop();
}

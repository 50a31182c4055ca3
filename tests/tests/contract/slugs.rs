//! Every kind of refusal is provoked somewhere; and what any row answers when a part of the host fails.
use crate::{Stage, rows::ROWS};
use countersign_plugin_api::Problem;
use countersign_tests::{NONE, PASSWORD, Reply, Site, fixture};
use serde_json::json;
use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};
use xtask::project::root;

/// A case names its answer as `401 invalid-code`, and a refusal inside one as `refused(401, "invalid-code")`; both
/// fail when it is not the answer. So a kind that is named here is a kind that is produced.
#[test]
fn every_slug_is_provoked_with_its_status() {
    let files = fs::read_dir(root().join("tests/tests/contract")).expect("a folder");
    let all: String =
        files.map(|file| fs::read_to_string(file.expect("a file").path()).expect("a text")).collect();
    assert_eq!(Problem::ALL.len(), 24);
    for problem in Problem::ALL {
        let (status, slug) = (problem.status(), problem.slug());
        let forms = [format!("\"{status} {slug}\""), format!("refused({status}, \"{slug}\")")];
        assert!(forms.iter().any(|form| all.contains(form)), "{status} {slug} is provoked nowhere");
    }
}

#[test]
fn without_its_store_every_row_is_refused_and_nothing_is_lost() {
    let site = Site::new();
    site.add_plugin(&fixture("store-faulty"));
    let armed = site.path("armed");
    site.set("store.use", "faulty");
    site.set("store.faulty.fault", "unavailable");
    site.set("store.faulty.armed_by", armed.to_str().expect("a path of text"));
    let stage = Stage::on(site);
    let (mut browser, user) = stage.somebody();
    fs::write(&armed, "").expect("armed");
    for row in ROWS {
        let body = if row.name.starts_with("POST") { json!({}) } else { NONE };
        let mut client = browser.clone();
        let reply = client.ask(&row.name.replace("{id}", "x"), body);
        assert_eq!(reply.status, 503, "{}: {}", row.name, reply.text());
        reply.refused(503, "store-unavailable");
        stage.described(row.name, &reply);
        assert_eq!(reply.header("set-cookie"), None, "{}", row.name);
    }
    stage.browser().ask("POST /login", user.credentials()).refused(503, "store-unavailable");
    ready(&stage, 503).refused(503, "store-unavailable");
    assert_eq!(stage.program().get("/healthz").expect("an answer").status, 200);
    fs::remove_file(&armed).expect("disarmed");
    browser.ask("GET /me", NONE).expect(200);
    ready(&stage, 200);
}

/// What is asked of the store by itself now and then is known soon.
fn ready(stage: &Stage, status: u16) -> Reply {
    let give_up = Instant::now() + Duration::from_mins(1);
    loop {
        let reply = stage.program().get("/readyz").expect("an answer");
        if reply.status == status {
            return reply;
        }
        assert!(Instant::now() < give_up, "/readyz answers {}", reply.status);
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_plugin_that_panics_is_a_fault_of_one_request() {
    let site = Site::with_store("memory");
    site.add_plugin(&fixture("panics-in-handler"));
    let stage = Stage::on(site);
    for _ in 0..20 {
        stage.program().ask("GET /panics-in-handler/panic", NONE).refused(503, "plugin-fault");
    }
    stage.somebody().0.ask("POST /reauthenticate", json!({ "password": PASSWORD })).expect(200);
}

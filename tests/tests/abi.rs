//! The promise of the interface: inside a series, whoever is older or newer, and however a library was built.
use countersign_host::kernel::Candidate;
use countersign_plugin_api::kernel::{Collected, LogSink};
use countersign_tests::{Artifacts, Future, fixture};
use serde_json::{Value, json};
use std::path::Path;

/// Loads as this host does.
fn registered(library: &Path, table: &Value) -> Collected {
    let shown = library.display();
    let candidate = Candidate::read(library, None).unwrap_or_else(|why| panic!("{shown}: {why}"));
    let loaded = candidate.open().unwrap_or_else(|why| panic!("{shown}: {why}"));
    let sink = LogSink::new(|_, _, _| ());
    loaded.register(&table.to_string(), Path::new("/"), sink).unwrap_or_else(|why| panic!("{shown}: {why}"))
}

fn in_memory() -> Value {
    json!({ "volatile": true })
}

#[test]
fn a_newer_plugin_works_in_an_older_host() {
    let future = Future::get();
    let delivery = registered(&future.plugin("hello-delivery"), &json!({ "prefix": "mail" }));
    assert_eq!(delivery.deliveries[0].0, "stderr");
    let store = registered(&future.plugin("store-memory"), &in_memory());
    assert_eq!(store.stores[0].1.usage().expect("it answers").records, 0);
}

#[test]
fn an_older_plugin_works_in_a_newer_host() {
    let future = Future::get();
    let memory = in_memory();
    for (library, table, has) in [
        (fixture("hello-delivery"), json!({ "prefix": "mail" }), "delivery stderr false\nroutes 0 gates 0"),
        (Artifacts::get().plugin("store-memory"), memory, "store memory 0\nroutes 0 gates 0"),
        (Artifacts::get().plugin("plugin-mfa"), json!({}), "gates 1"),
    ] {
        let output = future.host().arg(&library).arg(table.to_string()).output().expect("it starts");
        let (said, complaint) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.contains(has), "{}: {said}{complaint}", library.display());
    }
}

#[test]
fn one_that_breaks_the_promise_is_refused_in_a_sentence_that_names_what_differs() {
    let broken = Candidate::read(&fixture("wrong-layout"), None).expect("its manifest is sound").open();
    let why = broken.err().expect("it is refused");
    assert!(why.contains("does not fit this host") && why.contains("fields where"), "{why}");
    assert!(why.len() < 200 && !why.contains('\n'), "{why}");
    let other = Candidate::read(&fixture("wrong-abi"), None).err().expect("it is refused");
    assert!(other.contains("built for interface 9.0.0") && !other.contains('\n'), "{other}");
}

/// Everything else here is built for debugging; this is a release with other optimisation, link-time optimisation
/// and no symbols.
#[test]
fn libraries_load_alike_however_they_were_built() {
    let library = Future::get().small("hello-delivery");
    let delivery = registered(&library, &json!({ "prefix": "mail" }));
    assert_eq!(delivery.deliveries[0].0, "stderr");
    let loaded = Candidate::read(&library, None).expect("sound").open().expect("it opens");
    let refused = loaded.check("{}", Path::new("/")).expect_err("the table has no prefix").to_string();
    assert!(refused.contains("prefix"), "{refused}");
}

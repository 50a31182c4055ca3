//! `GET /metrics`: everything at one moment.
use super::{
    catalog::ALL,
    family::{head, labels, sample},
    process,
};
use crate::{
    http::{App, Pattern, Site},
    kernel::{Kernel, PluginState},
    serving::Serving,
};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderValue, Response, header},
    routing::get,
};
use std::{fmt::Display, sync::Arc};

/// The only path of its listener.
const PATH: &str = "/metrics";
/// The text format that every Prometheus reads.
const MEDIA: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What answers on the listener of metrics: this, whatever name it is asked by, and nothing else.
pub(crate) fn app(serving: &Arc<Serving>) -> App {
    App::new(Site::by_any_name(), Router::new().route(PATH, get(answer)).with_state(serving.clone()))
}

async fn answer(State(serving): State<Arc<Serving>>) -> Response<Body> {
    let mut response = Response::new(Body::from(text(&serving.host().kernel)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA));
    Pattern::of(PATH).mark(&mut response);
    response
}

fn text(kernel: &Kernel) -> String {
    let mut out = String::with_capacity(32 << 10);
    let version = labels([("version", env!("CARGO_PKG_VERSION"))]);
    gauge(&mut out, "countersign_build_info", "The version that runs.", &version, Some(1));
    ALL.iter().for_each(|family| family.write(&mut out));
    let ready = u8::from(kernel.readiness().is_ok());
    gauge(&mut out, "countersign_ready", "Whether requests can be served, as /readyz says.", "", Some(ready));
    let waiting = kernel.hashes_waiting();
    gauge(
        &mut out,
        "countersign_hashes_waiting",
        "Password hashes that wait for their turn.",
        "",
        Some(waiting),
    );
    store(&mut out, kernel);
    outbox(&mut out, kernel);
    plugins(&mut out, &kernel.plugin_states());
    process::write(&mut out);
    out
}

fn gauge(out: &mut String, name: &str, help: &str, labels: &str, value: Option<impl Display>) {
    head(out, name, help, "gauge");
    if let Some(value) = value {
        sample(out, name, labels, value);
    }
}

/// Limits that there are not are left out.
fn store(out: &mut String, kernel: &Kernel) {
    let usage = kernel.usage().ok();
    let limit = |most: u64| Some(most).filter(|most| *most > 0);
    let mut one = |name: &str, help: &str, value: Option<u64>| gauge(out, name, help, "", value);
    one("countersign_store_records", "Records in the store.", usage.map(|usage| usage.records));
    one(
        "countersign_store_records_limit",
        "How many it holds at the most.",
        usage.and_then(|usage| limit(usage.max_records)),
    );
    one("countersign_store_bytes", "Bytes that they take.", usage.map(|usage| usage.bytes));
    one(
        "countersign_store_bytes_limit",
        "How many they may take.",
        usage.and_then(|usage| limit(usage.max_bytes)),
    );
}

fn outbox(out: &mut String, kernel: &Kernel) {
    let (messages, oldest) = kernel.outbox_level();
    gauge(out, "countersign_outbox_messages", "Messages that wait to be sent.", "", Some(messages));
    let help = "How long the oldest of them has waited; 0 when none waits.";
    gauge(out, "countersign_outbox_oldest_seconds", help, "", Some(oldest.as_secs()));
}

fn plugins(out: &mut String, plugins: &[PluginState]) {
    let mut each = |name: &str, kind: &str, help: &str, of: fn(&PluginState) -> u64| {
        head(out, name, help, kind);
        for plugin in plugins {
            sample(out, name, &labels([("plugin", &plugin.name)]), of(plugin));
        }
    };
    each(
        "countersign_plugin_quarantined",
        "gauge",
        "Whether a plugin is asked nothing more, because calls into it hang.",
        |plugin| u64::from(plugin.is_quarantined),
    );
    each("countersign_plugin_calls_hanging", "gauge", "Calls that have not come back in time.", |plugin| {
        plugin.hanging.into()
    });
    each(
        "countersign_plugin_calls_overdue_total",
        "counter",
        "Calls that did not come back in two seconds.",
        |plugin| plugin.overdue,
    );
    each(
        "countersign_plugin_faults_total",
        "counter",
        "Calls in which a plugin panicked, or answered what no plugin may.",
        |plugin| plugin.faults,
    );
}

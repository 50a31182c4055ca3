//! What is counted while it happens. What can be asked for at any time is in [`super::scrape`].
use super::family::{Count, Exposed, Family, Level, Times, labels};
use countersign_plugin_api::StoreError;

pub(crate) static REQUESTS: Family<Count> =
    Family::new("countersign_http_requests_total", "Requests that were answered.", &[]);

pub(crate) static REQUEST_SECONDS: Family<Times> = Family::new(
    "countersign_http_request_duration_seconds",
    "From the head of a request to its answer.",
    &[],
);

pub(crate) static PROBLEMS: Family<Count> =
    Family::new("countersign_http_problems_total", "Answers that are an error, by its slug.", &[]);

pub(crate) static BROKEN_OFF: Family<Count> = Family::new(
    "countersign_http_requests_broken_off_total",
    "Requests that were given up without an answer.",
    &[""],
);

pub(crate) static CONNECTIONS: Family<Level> =
    Family::new("countersign_http_connections", "Connections that are open.", &[""]);

pub(crate) static CONNECTIONS_REFUSED: Family<Count> = Family::new(
    "countersign_http_connections_refused_total",
    "Connections for which there was no room.",
    &[""],
);

/// A trusted proxy that names no client.
pub(crate) const SILENT: &str = "kind=\"no-client\"";
/// Somebody who names one and is not trusted.
pub(crate) const UNTRUSTED: &str = "kind=\"untrusted\"";

pub(crate) static FORWARDING: Family<Count> = Family::new(
    "countersign_http_forwarding_mistakes_total",
    "Requests of a trusted proxy that name no client, and forwarded headers of whom trusted_proxies does not name.",
    &[SILENT, UNTRUSTED],
);

pub(crate) static OTHER_HOSTS: Family<Count> = Family::new(
    "countersign_http_other_hosts_total",
    "Requests for a host that is not ours, but for /healthz and /readyz.",
    &[""],
);

pub(crate) static EVENTS: Family<Count> = Family::new(
    "countersign_events_total",
    "What happened, as the audit record names it: logins, factors, locks, mails.",
    &[],
);

pub(crate) static AUDIT_ROWS: Family<Count> =
    Family::new("countersign_audit_rows_total", "Rows of the audit record that are durable.", &[""]);

/// A session that waits for its second factor.
pub(crate) const PENDING: &str = "kind=\"pending\"";
/// A session that was standard from the start.
pub(crate) const STANDARD: &str = "kind=\"standard\"";
/// A pending session that became standard.
pub(crate) const ELEVATED: &str = "kind=\"elevated\"";

pub(crate) static SESSIONS: Family<Count> = Family::new(
    "countersign_sessions_total",
    "Sessions that were made, and those that a second factor completed.",
    &[PENDING, STANDARD, ELEVATED],
);

pub(crate) static HASH_WAIT: Family<Times> =
    Family::new("countersign_hash_wait_seconds", "How long a password hash waited for its turn.", &[""]);

pub(crate) static HASH_SECONDS: Family<Times> =
    Family::new("countersign_hash_seconds", "How long hashes took that were asked for together.", &[""]);

pub(crate) static HASHES_REFUSED: Family<Count> = Family::new(
    "countersign_hashes_refused_total",
    "Password hashes that were refused, because too many waited or for too long.",
    &[""],
);

pub(crate) const GET: &str = "operation=\"get\"";
pub(crate) const APPLY: &str = "operation=\"apply\"";
pub(crate) const SCAN: &str = "operation=\"scan\"";

pub(crate) static STORE_SECONDS: Family<Times> = Family::new(
    "countersign_store_seconds",
    "How long the store took: to read, and until a batch was durable.",
    &[GET, APPLY, SCAN],
);

pub(crate) static STORE_ERRORS: Family<Count> =
    Family::new("countersign_store_errors_total", "Calls that the store did not carry out.", &[]);

/// Counts what the store did not carry out. A conflict is how writers meet, and no error.
pub(crate) fn failed(operation: &str, outcome: Result<(), StoreError>) {
    let error = match outcome {
        Ok(()) | Err(StoreError::Conflict) => return,
        Err(StoreError::Unavailable) => "unavailable",
        Err(StoreError::Unknown) => "unknown",
        Err(StoreError::Full) => "full",
        Err(StoreError::Corrupt) => "corrupt",
    };
    STORE_ERRORS.count(&labels([("operation", operation), ("error", error)]));
}

pub(crate) static CONFLICTS: Family<Count> = Family::new(
    "countersign_store_conflicts_total",
    "Batches that were refused because a record had changed, and decided anew.",
    &[""],
);

pub(crate) static DELIVERY_SECONDS: Family<Times> =
    Family::new("countersign_delivery_seconds", "How long a try to send a message took.", &[""]);

pub(crate) static DELIVERIES: Family<Count> = Family::new(
    "countersign_delivery_tries_total",
    "Tries to send a message, by what came of them.",
    &["result=\"sent\"", "result=\"later\"", "result=\"never\"", "result=\"unknown\""],
);

pub(crate) const DONE: &str = "result=\"done\"";
pub(crate) const REFUSED: &str = "result=\"refused\"";

pub(crate) static RELOADS: Family<Count> = Family::new(
    "countersign_reloads_total",
    "Times that configuration, keys and plugins were to be taken over.",
    &[DONE, REFUSED],
);

pub(crate) static LOG_LINES: Family<Count> = Family::new(
    "countersign_log_lines_total",
    "Lines of the log that were written.",
    &["level=\"error\"", "level=\"warn\"", "level=\"info\"", "level=\"debug\"", "level=\"trace\""],
);

pub(super) static ALL: [&dyn Exposed; 21] = [
    &REQUESTS,
    &REQUEST_SECONDS,
    &PROBLEMS,
    &BROKEN_OFF,
    &CONNECTIONS,
    &CONNECTIONS_REFUSED,
    &FORWARDING,
    &OTHER_HOSTS,
    &EVENTS,
    &AUDIT_ROWS,
    &SESSIONS,
    &HASH_WAIT,
    &HASH_SECONDS,
    &HASHES_REFUSED,
    &STORE_SECONDS,
    &STORE_ERRORS,
    &CONFLICTS,
    &DELIVERY_SECONDS,
    &DELIVERIES,
    &RELOADS,
    &LOG_LINES,
];

//! The HTTP contract against the real binary: every row, each answer that it can give, and how it comes about.
//!
//! A case is data: a row, the answer, and what provokes it. What holds for all rows (who may call, what a body must
//! be, which hosts and sites are answered) is asked of all of them in [`rows`]; the rest stands by what it is about.
mod accounts;
mod budget;
mod codes;
mod cookies;
mod details;
mod factors;
mod links;
mod rows;
mod slugs;
mod stage;
mod trust;

use countersign_tests::Reply;
use stage::Stage;

/// A row of the contract, an answer that it gives (`200`, or a problem: `401 invalid-code`), and what provokes it.
type Case = (&'static str, &'static str, fn(&Stage) -> Reply);

/// Provokes every answer of a table.
fn provoke(stage: &Stage, cases: &[Case]) {
    for (row, answer, provoke) in cases {
        // A failed assertion inside tells the place; this tells the row.
        stage.asking(row);
        let reply = provoke(stage);
        let problem = reply.problem();
        let got =
            problem.as_ref().map_or(reply.status.to_string(), |slug| format!("{} {slug}", reply.status));
        assert_eq!(got, *answer, "{row}: {}", reply.text());
        if let Some(slug) = problem {
            reply.refused(reply.status, &slug);
        }
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{row}");
        stage.described(row, &reply);
        assert!(rows::ROWS.iter().any(|known| known.name == *row), "{row} is no row");
    }
}

//! Whether what several threads saw, they could have seen one after the other.
//!
//! As Wing and Gong did it (1993), with the memory of Lowe (2017): an operation may be taken next if none of those that
//! are left was over before it began; what was tried with the same rest on the same state is not tried again.
use super::{Event, Expected, KEYS, Operation, Outcome, Write};
use std::collections::HashSet;

type State = [Option<Write>; KEYS];

pub(super) fn is_linearizable(history: &[Event]) -> bool {
    let mut tried = HashSet::new();
    search(history, 0, [None; KEYS], &mut tried)
}

fn search(history: &[Event], taken: u32, state: State, tried: &mut HashSet<(u32, State)>) -> bool {
    if taken.count_ones() as usize == history.len() {
        return true;
    }
    if !tried.insert((taken, state)) {
        return false;
    }
    let left = || history.iter().enumerate().filter(|(at, _)| taken & 1 << at == 0);
    let first_end = left().map(|(_, event)| event.ended).min().unwrap_or(u64::MAX);
    left().filter(|(_, event)| event.began < first_end).any(|(at, event)| {
        let taken = taken | 1 << at;
        possible(event, &state).into_iter().any(|next| search(history, taken, next, tried))
    })
}

/// The states that an event may lead to from this one; none if it cannot have happened here.
fn possible(event: &Event, state: &State) -> Vec<State> {
    let Operation::Change(changes) = &event.operation else {
        let fits = matches!(&event.outcome, Outcome::Saw(seen) if seen == state);
        return if fits { vec![*state] } else { Vec::new() };
    };
    let holds = changes.iter().all(|(at, expected, _)| match expected {
        Expected::Any => true,
        Expected::Absent => state[*at].is_none(),
        Expected::This(write) => state[*at] == Some(*write),
        Expected::Never => false,
    });
    let mut next = *state;
    for (at, _, to) in changes {
        if *to != Some(0) {
            next[*at] = *to;
        }
    }
    match (&event.outcome, holds) {
        (Outcome::Wrote, true) => vec![next],
        (Outcome::Unsure, true) => vec![next, *state],
        (Outcome::Conflicted | Outcome::Unsure, false) => vec![*state],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(operation: Operation, outcome: Outcome, began: u64, ended: u64) -> Event {
        Event { operation, outcome, began, ended }
    }
    fn put(expected: Expected, write: Write, outcome: Outcome, began: u64, ended: u64) -> Event {
        event(Operation::Change(vec![(0, expected, Some(write))]), outcome, began, ended)
    }
    fn saw(write: Option<Write>, began: u64, ended: u64) -> Event {
        event(Operation::Look, Outcome::Saw(vec![write, None, None]), began, ended)
    }

    #[test]
    fn histories_that_one_thread_could_have_made_are_told_from_those_that_none_could() {
        let wrote = || put(Expected::Any, 1, Outcome::Wrote, 0, 1);
        let cases: [(&str, bool, Vec<Event>); 7] = [
            ("read after write", true, vec![wrote(), saw(Some(1), 2, 3)]),
            ("stale read", false, vec![wrote(), saw(None, 2, 3)]),
            (
                "either, at once",
                true,
                vec![put(Expected::Any, 1, Outcome::Wrote, 0, 9), saw(None, 1, 2), saw(Some(1), 3, 4)],
            ),
            (
                "back in time",
                false,
                vec![put(Expected::Any, 1, Outcome::Wrote, 0, 9), saw(Some(1), 1, 2), saw(None, 3, 4)],
            ),
            (
                "two that create",
                false,
                vec![
                    put(Expected::Absent, 1, Outcome::Wrote, 0, 9),
                    put(Expected::Absent, 2, Outcome::Wrote, 1, 8),
                ],
            ),
            ("a conflict with nobody", false, vec![put(Expected::Absent, 1, Outcome::Conflicted, 0, 1)]),
            (
                "lost update",
                false,
                vec![
                    wrote(),
                    put(Expected::This(1), 2, Outcome::Wrote, 2, 9),
                    put(Expected::This(1), 3, Outcome::Wrote, 3, 8),
                ],
            ),
        ];
        for (what, is, history) in cases {
            assert_eq!(is_linearizable(&history), is, "{what}");
        }
    }
}

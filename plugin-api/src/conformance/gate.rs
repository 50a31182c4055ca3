//! The contract of a gate, clause by clause, as far as it shows without knowing its policy.
//!
//! The clauses ask about logins and sessions of an account that has no record. Nothing is carried out.
pub use super::store::Broken;
use super::{
    bare::{Bare, callers},
    handler::{fault, holds, is_panic, is_same},
};
use crate::{
    Answer, Caller, Gate, Login, Name, Refusal, Secret, Verdict,
    abi::objects::decider_object,
    bridge::{ExportedGate, ImportedGate},
};
use std::sync::Arc;

/// A gate, and the record that it is registered with.
pub struct Asked {
    gate: Arc<dyn Gate>,
    record: String,
}

impl Asked {
    /// A gate that reads `record` of whom it is asked about.
    pub fn new(record: &str, gate: Arc<dyn Gate>) -> Self {
        Self { gate, record: record.into() }
    }
}

/// One clause, run on a gate.
pub type Clause = fn(&Asked) -> Result<(), Broken>;

/// Every clause, by name.
pub const CLAUSES: &[(&str, Clause)] = &[
    ("questions_are_no_panic", questions_are_no_panic),
    ("logins_get_a_verdict", logins_get_a_verdict),
    ("the_same_login_is_the_same_verdict", the_same_login_is_the_same_verdict),
    ("what_cannot_be_read_does_not_proceed", what_cannot_be_read_does_not_proceed),
    ("standing_reads_its_record_alone", standing_reads_its_record_alone),
];

/// Runs every clause and answers all that are broken.
pub fn check_all(asked: &Asked) -> Result<(), Vec<Broken>> {
    let broken: Vec<Broken> = CLAUSES.iter().filter_map(|(_, clause)| clause(asked).err()).collect();
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}

/// A gate as a host sees it: through the boundary between libraries, where a panic becomes an answer.
pub fn across(gate: impl Gate) -> Arc<dyn Gate> {
    Arc::new(ImportedGate(decider_object(ExportedGate(gate))))
}

/// Whoever signs in, whatever password is chosen: the answer is an answer.
pub fn questions_are_no_panic(asked: &Asked) -> Result<(), Broken> {
    let fine = |what: &str, panicked: bool| {
        holds("questions_are_no_panic", "an answer", !panicked, format_args!("a panic for {what}"))
    };
    for (what, login, context) in logins() {
        fine(&what, panicked(&asked.gate.after_primary(&login, &context)))?;
    }
    for (what, caller, context) in sessions() {
        fine(&what, panicked(&asked.gate.standing(&caller, &context)))?;
    }
    let long = "x".repeat(16_000);
    for password in ["", " ", "\0", "\u{1f511}\u{202e}", "correct horse battery staple", &long] {
        for words in [&[][..], &[""], &["ann@example.org", "\u{df}"]] {
            let outcome = asked.gate.password_violations(&Secret::new(password), words);
            fine("a password", panicked(&outcome))?;
        }
    }
    Ok(())
}

/// The answer about a login is a verdict that the kernel can carry out, or a refusal.
pub fn logins_get_a_verdict(asked: &Asked) -> Result<(), Broken> {
    for (what, login, context) in logins() {
        let Ok(decision) = asked.gate.after_primary(&login, &context) else { continue };
        let is_verdict = matches!(decision.answer(), Some(Answer::Verdict(_)));
        let fault =
            if is_verdict { fault(&decision, &context) } else { Some("an answer that is no verdict") };
        let seen = format_args!("{} for {what}", fault.unwrap_or_default());
        holds("logins_get_a_verdict", "a verdict", fault.is_none(), seen)?;
    }
    Ok(())
}

/// A gate is a function of the login and of what the context answers.
pub fn the_same_login_is_the_same_verdict(asked: &Asked) -> Result<(), Broken> {
    for (what, login, context) in logins() {
        let first = asked.gate.after_primary(&login, &context);
        let second = asked.gate.after_primary(&login, &context.again());
        let same = match (first, second) {
            (Ok(first), Ok(second)) => is_same(first, second),
            (Err(first), Err(second)) => first == second,
            _ => false,
        };
        let seen = format_args!("another for {what}");
        holds("the_same_login_is_the_same_verdict", "the same verdict", same, seen)?;
    }
    Ok(())
}

/// A gate that cannot read stays shut: no login proceeds, and no session is in good standing.
pub fn what_cannot_be_read_does_not_proceed(asked: &Asked) -> Result<(), Broken> {
    const CLAUSE: &str = "what_cannot_be_read_does_not_proceed";
    for (what, login, context) in logins() {
        let context = context.unreadable();
        let outcome = asked.gate.after_primary(&login, &context);
        let proceeds = outcome.is_ok_and(|d| matches!(d.answer(), Some(Answer::Verdict(Verdict::Proceed))));
        let open = context.was_refused() && proceeds;
        holds(CLAUSE, "a refusal", !open, format_args!("Proceed for {what}"))?;
    }
    for (what, caller, context) in sessions() {
        let context = context.unreadable();
        let open = asked.gate.standing(&caller, &context).is_ok() && context.was_refused();
        holds(CLAUSE, "a refusal", !open, format_args!("a standing for {what}"))?;
    }
    Ok(())
}

/// The kernel reads the record that was named along with the session: another one would be a read for every request.
pub fn standing_reads_its_record_alone(asked: &Asked) -> Result<(), Broken> {
    for (what, caller, context) in sessions() {
        // What it answers is not looked at here.
        let _ = asked.gate.standing(&caller, &context);
        let named = Name::of(&caller.subject.id, &asked.record);
        let strays = context.has_read_beside(named);
        let seen = format_args!("a read beside it for {what}");
        holds("standing_reads_its_record_alone", "the record that was registered", !strays, seen)?;
    }
    Ok(())
}

fn panicked<T>(outcome: &Result<T, Refusal>) -> bool {
    outcome.as_ref().is_err_and(is_panic)
}

fn sessions() -> impl Iterator<Item = (String, Caller, Bare)> {
    callers().into_iter().filter_map(|(who, caller)| {
        let context = Bare::new(caller.clone());
        Some((format!("a request {who}"), caller?, context))
    })
}

fn logins() -> impl Iterator<Item = (String, Login, Bare)> {
    let amrs = [&["pwd"][..], &["email", "link"], &[]];
    sessions().zip(amrs.into_iter().cycle()).map(|((who, caller, _), amr)| {
        let Caller { subject, session } = caller;
        let amr = amr.iter().map(|method| (*method).to_owned()).collect();
        (who, Login { subject, session: session.id, mode: session.mode, amr }, Bare::new(None))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, Decision, Standing};

    #[derive(Clone, Copy, PartialEq)]
    enum Fault {
        None,
        Panics,
        AnswersJson,
        ProceedsBlindly,
        ReadsMore,
    }

    struct Toy(Fault);

    impl Gate for Toy {
        fn after_primary(&self, login: &Login, context: &dyn Context) -> Result<Decision, Refusal> {
            assert!(self.0 != Fault::Panics);
            let read = context.read(Name::of(&login.subject.id, "state"));
            if self.0 != Fault::ProceedsBlindly {
                read?;
            }
            if self.0 == Fault::AnswersJson {
                Ok(Decision::empty())
            } else {
                Ok(Decision::verdict(&Verdict::Proceed))
            }
        }
        fn standing(&self, caller: &Caller, context: &dyn Context) -> Result<Standing, Refusal> {
            context.read(Name::of(&caller.subject.id, "state"))?;
            if self.0 == Fault::ReadsMore {
                context.read(Name::of(&caller.subject.id, "more"))?;
            }
            Ok(Standing { enrolled: false, enrollment_required: false, stepped_up: true })
        }
        fn password_violations(&self, _: &Secret<&str>, _: &[&str]) -> Result<Vec<String>, Refusal> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn every_fault_is_noticed_and_nothing_else() {
        for (fault, clause) in [
            (Fault::None, None),
            (Fault::Panics, Some("questions_are_no_panic")),
            (Fault::AnswersJson, Some("logins_get_a_verdict")),
            (Fault::ProceedsBlindly, Some("what_cannot_be_read_does_not_proceed")),
            (Fault::ReadsMore, Some("standing_reads_its_record_alone")),
        ] {
            let broken = check_all(&Asked::new("state", across(Toy(fault)))).err().unwrap_or_default();
            let broken: Vec<&str> = broken.iter().map(|broken| broken.clause).collect();
            assert_eq!(broken, clause.into_iter().collect::<Vec<_>>());
        }
    }
}

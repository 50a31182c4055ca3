//! Whether answers, or the time they take, tell a known address from an unknown one.
use super::Run;
use crate::{
    http::{Client, Reply},
    people::{Person, address},
    place::{STORES, host},
    report::{ms, quantile},
};
use anyhow::Result;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::json;
use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

/// So many wrong passwords an account takes before it is locked.
const TRIES: usize = 4;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let mut random = StdRng::seed_from_u64(run.seed);
    STORES.iter().try_for_each(|store| on(run, store, &mut random))
}

fn on(run: &mut Run<'_>, store: &str, random: &mut StdRng) -> Result<()> {
    let samples = run.scale.of(2000, 80);
    let host = host(store);
    let to = host.address();
    for path in ["/login", "/mfa/magic-link/send", "/password/reset"] {
        let (known, unknown) = run.runtime.block_on(sample(to, path, samples / 2, random))?;
        let at = ("timing", "R44");
        let shapes = |replies: &[Reply]| replies.iter().map(shape).collect::<BTreeSet<_>>();
        let (a, b) = (shapes(&known), shapes(&unknown));
        run.report.check(
            at,
            format!("{store}: {path}: status, headers and length are the same"),
            if a == b { format!("{} each", a.len()) } else { format!("{a:?} and {b:?}") },
            a == b,
        );
        let times = |replies: &[Reply]| replies.iter().map(|reply| reply.took).collect::<Vec<_>>();
        let (known, unknown) = (times(&known), times(&unknown));
        let (x, y) = (quantile(&known, 0.5), quantile(&unknown, 0.5));
        let apart = x.abs_diff(y);
        let bound = Duration::from_millis(2).max(x.min(y).mul_f64(0.03));
        let judged = run.scale.judges_time();
        run.report.timed(
            at,
            judged,
            format!("{store}: {path}: medians at most 2 ms or 3 % apart"),
            format!("{} and {}", ms(x), ms(y)),
            apart <= bound,
        );
        // Whoever asks for a mail is answered a while after asking, whatever had to be done.
        if path != "/login" {
            run.report.check(
                at,
                format!("{store}: {path}: nobody is answered sooner than in 20 ms (median)"),
                ms(x.min(y)),
                x.min(y) >= Duration::from_millis(19),
            );
        }
        let auc = auc(&known, &unknown);
        // Few samples and a busy machine blur it; work that is done for one kind alone they do not.
        let bound = if judged { 0.55 } else { 0.9 };
        let measured = format!("{auc:.3} of {samples} samples");
        let figure = format!("{store}: {path}: a classifier by time has an AUC of at most {bound}");
        run.report.check(at, figure, measured, auc <= bound);
    }
    host.stop();
    Ok(())
}

/// Interleaved in a random order, over one connection.
async fn sample(
    to: SocketAddr,
    path: &str,
    each: usize,
    random: &mut StdRng,
) -> Result<(Vec<Reply>, Vec<Reply>)> {
    let mut order = Vec::new();
    let mut person = Person::register(to, "known").await?;
    for n in 0..each {
        if n % TRIES == TRIES - 1 {
            person = Person::register(to, "known").await?;
        }
        order.push((true, person.email.clone()));
        order.push((false, address("nobody")));
    }
    order.shuffle(random);
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    let mut client = Client::new(to);
    for (is_known, email) in order {
        let body = match path {
            "/login" => json!({ "email": email, "password": "a wrong canary phrase" }),
            _ => json!({ "email": email }),
        };
        let reply = client.post(path, &body).await?;
        client.cookies.clear();
        if is_known { known.push(reply) } else { unknown.push(reply) }
    }
    Ok((known, unknown))
}

/// What of an answer could tell, apart from its time.
fn shape(reply: &Reply) -> (u16, Vec<String>, usize) {
    let value = |name: &str, value: &str| match name {
        "date" | "x-request-id" => name.to_owned(),
        "set-cookie" => {
            format!("{name}: {} of {} bytes", value.split('=').next().unwrap_or_default(), value.len())
        }
        _ => format!("{name}: {value}"),
    };
    (reply.status, reply.headers.iter().map(|(n, v)| value(n, v)).collect(), reply.body.len())
}

/// How often one of these is slower than one of those, folded to 0.5 and above.
#[expect(clippy::cast_precision_loss, reason = "counts")]
fn auc(these: &[Duration], those: &[Duration]) -> f64 {
    let mut won = 0.0;
    for a in these {
        for b in those {
            won += match a.cmp(b) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    let share = won / (these.len() * those.len()).max(1) as f64;
    share.max(1.0 - share)
}

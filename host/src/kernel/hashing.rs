//! Argon2id on threads of its own: as many as configured, each with a buffer that it reuses.
mod lanes;

pub(crate) use lanes::Lane;

use crate::metrics::{HASH_SECONDS, HASH_WAIT, HASHES_REFUSED};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use countersign_plugin_api::Secret;
use lanes::Lanes;
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// How long a job may wait before it is refused: with the hash itself, and whatever follows it, 2 seconds (R62).
const PATIENCE: Duration = Duration::from_millis(1800);

/// How many of a kind may wait for each thread: what it works off, on a slow core, in the second after which clients that
/// are turned away come back. All that waits is a request that is under way, and takes memory.
const WAITING: usize = 40;

/// How many clients that nobody knows may have a hash computed, or wait for one.
pub(crate) fn strangers(threads: usize) -> usize {
    threads.max(1) * (WAITING + 1)
}

/// The cost of one hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// KiB.
    pub(crate) memory: u32,
    pub(crate) iterations: u32,
    pub(crate) parallelism: u32,
}

impl Cost {
    /// What plugins get: OWASP's minimum for Argon2id. Fixed, because what they have hashed must stay
    /// checkable when the operator changes the cost of passwords.
    pub(crate) const PLUGINS: Self = Self { memory: 19 * 1024, iterations: 2, parallelism: 1 };
}

/// Several secrets under one salt and one cost, hashed one after the other.
pub(crate) struct Job {
    pub(crate) secrets: Vec<Secret<Vec<u8>>>,
    pub(crate) salt: Vec<u8>,
    pub(crate) cost: Cost,
    /// Whom it is for.
    pub(crate) lane: Lane,
}

/// Too many wait already, or this one has waited too long.
#[derive(Debug)]
pub(crate) struct Busy;

type Hashes = Vec<[u8; 32]>;
struct Waiting {
    job: Arc<Job>,
    since: Instant,
    reply: oneshot::Sender<Result<Hashes, Busy>>,
}

struct Queue {
    jobs: Mutex<Jobs>,
    filled: Condvar,
}

struct Jobs {
    waiting: Lanes<Waiting>,
    closed: bool,
}

pub(super) struct Pool {
    queue: Arc<Queue>,
    workers: usize,
}

impl Pool {
    pub(super) fn new(workers: usize) -> std::io::Result<Self> {
        let workers = workers.max(1);
        let jobs = Mutex::new(Jobs { waiting: Lanes::new(workers * WAITING), closed: false });
        let queue = Arc::new(Queue { jobs, filled: Condvar::new() });
        for _ in 0..workers {
            let queue = queue.clone();
            std::thread::Builder::new().name("hashing".into()).spawn(move || work(&queue))?;
        }
        Ok(Self { queue, workers })
    }

    /// How many were asked for.
    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// How many jobs wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.jobs.lock().waiting.len()
    }

    pub(super) async fn hash(&self, job: Arc<Job>) -> Result<Hashes, Busy> {
        let (reply, answer) = oneshot::channel();
        let (lane, waiting) = (job.lane.clone(), Waiting { job, since: Instant::now(), reply });
        let gives_way = self.queue.jobs.lock().waiting.push(lane, waiting);
        if gives_way.is_some() {
            HASHES_REFUSED.count("");
        }
        self.queue.filled.notify_one();
        // Whoever waits for that one is told by its end.
        drop(gives_way);
        answer.await.unwrap_or(Err(Busy))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.jobs.lock().closed = true;
        self.queue.filled.notify_all();
    }
}

fn work(queue: &Queue) {
    let mut buffer = Vec::new();
    loop {
        let waiting = {
            let mut jobs = queue.jobs.lock();
            loop {
                if let Some(waiting) = jobs.waiting.pop() {
                    break waiting;
                }
                if jobs.closed {
                    return;
                }
                queue.filled.wait(&mut jobs);
            }
        };
        // Nobody waits any more, or for too long: the work would be wasted.
        if waiting.reply.is_closed() {
            continue;
        }
        let waited = waiting.since.elapsed();
        HASH_WAIT.took("", waited);
        let outcome = if waited > PATIENCE {
            HASHES_REFUSED.count("");
            Err(Busy)
        } else {
            HASH_SECONDS.time("", || hash(&waiting.job, &mut buffer)).ok_or(Busy)
        };
        let _ = waiting.reply.send(outcome);
    }
}

fn hash(job: &Job, buffer: &mut Vec<Block>) -> Option<Hashes> {
    let params = Params::new(job.cost.memory, job.cost.iterations, job.cost.parallelism, Some(32)).ok()?;
    let blocks = params.block_count();
    if buffer.len() < blocks {
        buffer.resize(blocks, Block::default());
    }
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    job.secrets
        .iter()
        .map(|secret| {
            let mut out = [0; 32];
            argon2
                .hash_password_into_with_memory(secret.expose(), &job.salt, &mut out, &mut buffer[..blocks])
                .ok()
                .map(|()| out)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vector of the reference implementation (phc-winner-argon2, test.c): version 0x13, t = 2,
    /// m = 2^16 KiB, p = 1, "password", "somesalt".
    #[test]
    fn the_reference_vector_also_in_a_buffer_that_was_larger() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let pool = Pool::new(1).unwrap();
        let job = |memory| {
            Arc::new(Job {
                secrets: vec![Secret::new(b"password".to_vec())],
                salt: b"somesalt".to_vec(),
                cost: Cost { memory, iterations: 2, parallelism: 1 },
                lane: Lane::Stranger(None),
            })
        };
        let vectors = [
            (1 << 16, "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"),
            (1 << 8, "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"),
            (1 << 16, "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"),
        ];
        for (memory, expected) in vectors {
            let hashes = runtime.block_on(pool.hash(job(memory))).unwrap();
            assert_eq!(crate::kernel::loader::hex(&hashes[0]), expected);
        }
    }
}

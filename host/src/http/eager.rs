//! Goes on at once with what has woken itself.
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicU8,
            Ordering::{AcqRel, Acquire},
        },
    },
    task::{Context, Poll, Wake, Waker},
};

/// How often in one go. Then others have their turn.
const POLLS: usize = 8;

/// A future that is polled again at once when it was woken while it was polled.
///
/// The HTTP library wakes itself to hand over a body. Left to the event loop, it would go on after all that is ready by
/// then: of a crowd, everybody's request would be begun before anybody's is answered, and all of them held at once.
pub(super) struct Eager<F> {
    inner: F,
    bell: Option<Arc<Bell>>,
}

/// What wakes: the task, unless it is being polled.
struct Bell {
    state: AtomicU8,
    task: Waker,
}

/// The task is not polled.
const AWAY: u8 = 0;
/// The task is being polled.
const THERE: u8 = 1;
/// It was woken.
const RUNG: u8 = 2;

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RUNG, AcqRel) == AWAY {
            self.task.wake_by_ref();
        }
    }
}

impl<F> Eager<F> {
    pub(super) fn new(inner: F) -> Self {
        Self { inner, bell: None }
    }
    pub(super) fn inner(&mut self) -> Pin<&mut F>
    where
        F: Unpin,
    {
        Pin::new(&mut self.inner)
    }
    pub(super) fn into_inner(self) -> F {
        self.inner
    }
}

impl<F: Future + Unpin> Future for Eager<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let bell = match self.bell.take() {
            Some(bell) if bell.task.will_wake(cx.waker()) => bell,
            _ => Arc::new(Bell { state: AtomicU8::new(AWAY), task: cx.waker().clone() }),
        };
        self.bell = Some(bell.clone());
        let waker = Waker::from(bell.clone());
        for _ in 0..POLLS {
            bell.state.swap(THERE, AcqRel);
            if let Poll::Ready(done) = self.inner().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(done);
            }
            if bell.state.compare_exchange(THERE, AWAY, AcqRel, Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        bell.task.wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::poll_fn,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
    };

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// A future that wakes itself in its first `times` polls, and never ends. It counts them, and keeps its last waker.
    struct Restless {
        times: usize,
        polls: usize,
        waker: Option<Waker>,
    }

    impl Future for Restless {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            self.polls += 1;
            if self.polls <= self.times {
                cx.waker().wake_by_ref();
            }
            self.waker = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    /// How often it is polled at once, how often its task is woken by that, and what it is by then.
    fn polled(times: usize) -> (usize, Arc<Woken>, Eager<Restless>) {
        let task = Arc::new(Woken::default());
        let mut eager = Eager::new(Restless { times, polls: 0, waker: None });
        let waker = Waker::from(task.clone());
        assert!(Pin::new(&mut eager).poll(&mut Context::from_waker(&waker)).is_pending());
        (eager.inner.polls, task, eager)
    }

    #[test]
    fn what_wakes_itself_goes_on_at_once_and_not_for_ever() {
        for (times, polls, wakes) in [(0, 1, 0), (1, 2, 0), (7, 8, 0), (8, 8, 1), (1000, 8, 1)] {
            let (polled, task, _) = polled(times);
            assert_eq!((polled, task.0.load(SeqCst)), (polls, wakes), "{times}");
        }
    }

    #[test]
    fn what_is_woken_from_elsewhere_wakes_its_task_once_until_it_is_polled() {
        let (_, task, mut eager) = polled(3);
        let rings = |eager: &Eager<Restless>| eager.inner.waker.as_ref().unwrap().wake_by_ref();
        rings(&eager);
        rings(&eager);
        assert_eq!(task.0.load(SeqCst), 1);
        let waker = Waker::from(task.clone());
        assert!(Pin::new(&mut eager).poll(&mut Context::from_waker(&waker)).is_pending());
        rings(&eager);
        assert_eq!(task.0.load(SeqCst), 2);
        let other = Arc::new(Woken::default());
        let waker = Waker::from(other.clone());
        assert!(Pin::new(&mut eager).poll(&mut Context::from_waker(&waker)).is_pending());
        rings(&eager);
        assert_eq!((task.0.load(SeqCst), other.0.load(SeqCst)), (2, 1), "the task that polled last");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_is_lost_to_a_poll_that_ends() {
        for _ in 0..2000 {
            let flag = Arc::new(AtomicUsize::new(0));
            let mut ringing = None;
            let waits = poll_fn(|cx| {
                if ringing.is_none() {
                    let (flag, waker) = (flag.clone(), cx.waker().clone());
                    ringing = Some(std::thread::spawn(move || {
                        flag.store(1, SeqCst);
                        waker.wake();
                    }));
                }
                if flag.load(SeqCst) == 1 { Poll::Ready(()) } else { Poll::Pending }
            });
            Eager::new(waits).await;
        }
    }
}

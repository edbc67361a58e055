//! Threads with a name, whose end is noticed: an unexpected one ends the daemon, so that there is no half-alive one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{JoinHandle, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// How often a joining thread looks whether the other has ended.
const JOIN_POLL: Duration = Duration::from_millis(5);

/// Shows that a thread moves: it beats, and someone else looks whether it has.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// I am alive.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has beaten.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a thread ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its name.
    pub name: &'static str,
    /// Why, if not in good order.
    pub fault: Option<String>,
}

/// Starts `body` on a thread of that name and reports how it ended.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn_named(
    name: &'static str,
    ended: impl FnOnce(Ended) + Send + 'static,
    body: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // The body is not used after a panic: unwinding cannot show a broken invariant to anyone.
        let fault = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(fault),
            Err(panic) => Some(
                panic
                    .downcast_ref::<&str>()
                    .map(|s| (*s).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "panicked".to_owned()),
            ),
        };
        match &fault {
            None => tracing::debug!(name, "thread ended"),
            Some(fault) => tracing::error!(name, fault, "thread ended"),
        }
        ended(Ended { name, fault });
    })
}

/// Waits for a thread to end, until `deadline` at most. False when it has not: it is left behind.
pub fn join_until(thread: JoinHandle<()>, deadline: Instant) -> bool {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(JOIN_POLL);
    }
    thread.join().is_ok()
}

/// What a thread made; its panic goes on here.
pub(crate) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn every_end_is_reported() {
        let check = |body: fn() -> Result<(), String>, fault: Option<&str>| {
            let (send, receive) = mpsc::channel();
            let report = move |ended| send.send(ended).expect("the test waits");
            let thread = spawn_named("test", report, body).expect("a thread");
            let ended = receive.recv().expect("a report");
            assert_eq!(ended, Ended { name: "test", fault: fault.map(str::to_owned) });
            thread.join().expect("the panic was caught");
        };
        check(|| Ok(()), None);
        check(|| Err("no more".into()), Some("no more"));
        check(|| panic!("a bug"), Some("a bug"));
    }

    #[test]
    fn a_thread_that_hangs_is_left_behind() {
        let (release, held) = mpsc::channel::<()>();
        let hangs = std::thread::spawn(move || {
            // Ends with an error, once the other end is gone.
            let _ = held.recv();
        });
        assert!(!join_until(hangs, Instant::now() + Duration::from_millis(20)));
        drop(release);
        assert!(join_until(std::thread::spawn(|| {}), Instant::now() + Duration::from_secs(5)));
    }
}

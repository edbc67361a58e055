//! Threads with a name, whose end is noticed: an unexpected one ends the daemon, so that there is no half-alive one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

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
}

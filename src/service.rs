//! What the service manager is told: ready, alive, what goes on. Does nothing where there is no service manager.
//! One small datagram each; called on the daemon's thread.

use std::time::Duration;

use sd_notify::NotifyState;

/// The connection to systemd, as far as there is one.
#[derive(Debug)]
pub struct Service {
    watchdog: Option<Duration>,
}

impl Service {
    /// Looks into the environment: `NOTIFY_SOCKET`, `WATCHDOG_USEC`.
    pub fn from_env() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) }
    }

    /// How often [`Service::alive`] is due: a third of the time after which systemd would restart the daemon. None where
    /// nobody watches.
    pub fn alive_every(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 3)
    }

    /// Start-up is over.
    pub fn ready(&self, status: &str) {
        send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// What `systemctl status` shows.
    pub fn status(&self, status: &str) {
        send(&[NotifyState::Status(&one_line(status))]);
    }

    /// All threads have moved since the last time.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            send(&[NotifyState::Watchdog]);
        }
    }

    /// Start-up goes on and may take this much longer from now.
    pub fn extend(&self, more: Duration) {
        let more_us = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
        send(&[NotifyState::ExtendTimeoutUsec(more_us)]);
    }

    /// The configuration is being read again; [`Service::ready`] must follow.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "no monotonic clock"),
        }
    }

    /// The daemon is about to end.
    pub fn stopping(&self) {
        send(&[NotifyState::Stopping]);
    }
}

/// A line break would end the field and start another.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

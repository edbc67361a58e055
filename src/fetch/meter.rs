//! How far a download is, how fast it goes and how long it will take. Pure: is told the time.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// The rate is that of the last so many readings: ten seconds.
const READINGS: usize = 20;

/// Bytes over time.
#[derive(Debug)]
pub struct Meter {
    total: u64,
    readings: VecDeque<(Duration, u64)>,
}

impl Meter {
    /// For so many bytes in all.
    pub fn new(total: u64) -> Self {
        Self { total, readings: VecDeque::new() }
    }

    /// So many bytes are there at that time.
    pub fn push(&mut self, at: Duration, done: u64) {
        if self.readings.len() == READINGS {
            self.readings.pop_front();
        }
        self.readings.push_back((at, done));
    }

    /// Bytes a second, once there are two readings.
    fn rate(&self) -> Option<f64> {
        let (first, last) = (self.readings.front()?, self.readings.back()?);
        let seconds = (last.0 - first.0).as_secs_f64();
        (seconds > 0.0).then(|| last.1.saturating_sub(first.1) as f64 / seconds)
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = self.readings.back().map_or(0, |reading| reading.1);
        let percent = 100.0 * done as f64 / self.total.max(1) as f64;
        write!(f, "{} of {} ({percent:.0} %)", size(done), size(self.total))?;
        match self.rate() {
            Some(rate) if rate >= 1.0 => {
                let left = (self.total.saturating_sub(done)) as f64 / rate;
                write!(f, ", {}/s, {} left", size(rate as u64), span(left))
            }
            Some(_) => write!(f, ", waiting"),
            None => Ok(()),
        }
    }
}

/// Bytes as a person reads them.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

fn span(seconds: f64) -> String {
    match seconds.ceil() as u64 {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s.div_ceil(60)),
        s => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_follow_the_last_seconds() {
        let check = |readings: &[(u64, u64)], expected: &str| {
            let mut meter = Meter::new(5_620_000_000);
            for &(ms, done) in readings {
                meter.push(Duration::from_millis(ms), done);
            }
            assert_eq!(meter.to_string(), expected);
        };
        check(&[], "0 kB of 5.62 GB (0 %)");
        check(&[(0, 562_000_000)], "562 MB of 5.62 GB (10 %)");
        check(&[(0, 620_000_000), (1_000, 640_000_000)], "640 MB of 5.62 GB (11 %), 20 MB/s, 5 min left");
        check(&[(0, 620_000_000), (10_000, 620_000_000)], "620 MB of 5.62 GB (11 %), waiting");
        check(&[(0, 0), (1_000, 500_000)], "500 kB of 5.62 GB (0 %), 500 kB/s, 3 h 7 min left");
        let slow = (0..40).map(|i| (i * 500, 1_000_000_000)).collect::<Vec<_>>();
        let fast = (0..20).map(|i| (20_000 + i * 500, 1_000_000_000 + i * 50_000_000));
        check(&slow.into_iter().chain(fast).collect::<Vec<_>>(), "1.95 GB of 5.62 GB (35 %), 100 MB/s, 37 s left");
    }
}

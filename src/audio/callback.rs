//! How long the callbacks of audio devices take: counted in the callback itself, with one addition per call and no lock,
//! and read from anywhere. Knows no devices.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Buckets per doubling of the time: a bucket is at most an eighth wider than its beginning.
const PER_DOUBLING: usize = 8;
/// Doublings from 8 ns up: the last bucket begins at 8.6 s and holds all that is longer.
const DOUBLINGS: usize = 31;
/// All times below this are in the first bucket.
const LEAST_NS: u64 = 8;

/// Times of all callbacks of one direction, over all devices that were open since the start.
#[derive(Debug)]
pub struct CallbackTimes {
    buckets: [AtomicU64; PER_DOUBLING * DOUBLINGS],
    most_ns: AtomicU64,
    lost: AtomicU64,
}

impl Default for CallbackTimes {
    fn default() -> Self {
        let buckets = std::array::from_fn(|_| AtomicU64::new(0));
        Self { buckets, most_ns: AtomicU64::new(0), lost: AtomicU64::new(0) }
    }
}

/// What is told of them. A quantile is the upper end of its bucket.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallbackFigures {
    /// How many there were.
    pub calls: u64,
    /// Half of them took at most so long.
    pub p50_us: f64,
    /// 99 of a hundred.
    pub p99_us: f64,
    /// 999 of a thousand.
    pub p999_us: f64,
    /// The longest.
    pub most_us: f64,
    /// Samples at the device's rate that found no room.
    pub lost: u64,
}

impl CallbackTimes {
    /// One callback took so long. Neither locks nor allocates.
    pub fn took(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(ns)].fetch_add(1, Ordering::Relaxed);
        self.most_ns.fetch_max(ns, Ordering::Relaxed);
    }

    /// So many samples found no room. Neither locks nor allocates.
    pub fn lost(&self, samples: usize) {
        if samples > 0 {
            self.lost.fetch_add(samples as u64, Ordering::Relaxed);
        }
    }

    /// What has been counted so far.
    pub fn figures(&self) -> CallbackFigures {
        let counts: Vec<u64> = self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let calls = counts.iter().sum();
        let most_us = self.most_ns.load(Ordering::Relaxed) as f64 / 1_000.0;
        let quantile = |share: f64| {
            let wanted = (share * calls as f64).ceil() as u64;
            let mut seen = 0;
            let at = counts.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            at.map_or(0.0, |at| (end_ns(at) as f64 / 1_000.0).min(most_us))
        };
        let (p50_us, p99_us, p999_us) = (quantile(0.5), quantile(0.99), quantile(0.999));
        CallbackFigures { calls, p50_us, p99_us, p999_us, most_us, lost: self.lost.load(Ordering::Relaxed) }
    }
}

/// Where a time is counted.
fn bucket(ns: u64) -> usize {
    let ns = ns.max(LEAST_NS);
    let doubling = (ns / LEAST_NS).ilog2() as usize;
    let part = (ns >> doubling) as usize - LEAST_NS as usize;
    (doubling * PER_DOUBLING + part).min(PER_DOUBLING * DOUBLINGS - 1)
}

/// Where a bucket ends.
fn end_ns(bucket: usize) -> u64 {
    (LEAST_NS + 1 + (bucket % PER_DOUBLING) as u64) << (bucket / PER_DOUBLING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_that_ends_above_it() {
        let check = |ns: u64| {
            let at = bucket(ns);
            assert!(ns < end_ns(at), "{ns} ns in the bucket up to {} ns", end_ns(at));
            assert!(at == 0 || ns >= end_ns(at - 1), "{ns} ns above the bucket from {} ns", end_ns(at - 1));
        };
        (0..100_000).for_each(check);
        (0..33).for_each(|doubling| check((1 << doubling) + 1));
        assert_eq!(bucket(u64::MAX), PER_DOUBLING * DOUBLINGS - 1);
    }

    #[test]
    fn quantiles_are_near_and_never_too_low() {
        let times = CallbackTimes::default();
        assert_eq!(times.figures().p999_us, 0.0);
        for us in 1..=1_000 {
            times.took(Duration::from_micros(us));
        }
        times.lost(3);
        let figures = times.figures();
        let near = |found: f64, us: f64| assert!((us..us * 1.13).contains(&found), "{found} us for {us} us");
        near(figures.p50_us, 500.0);
        near(figures.p99_us, 990.0);
        near(figures.p999_us, 999.0);
        assert_eq!((figures.calls, figures.most_us, figures.lost), (1_000, 1_000.0, 3));
    }
}

//! Accuracy over the share of clips that are answered, when the least sure ones are asked back. Pure.

use serde::Serialize;

/// Shares of the clips, in percent, for which the curve is given.
const SHARES_PERCENT: [usize; 8] = [100, 95, 90, 85, 80, 70, 60, 50];

/// A point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Answered {
    /// Share of the clips that are answered: those with the greatest margins; 0 to 1.
    pub share: f64,
    /// Least margin among them: log p(best) - log p(second).
    pub margin: f64,
    /// Share of these that are right; 0 to 1.
    pub accuracy: f64,
}

/// The curve over clips of (margin, right); empty without clips. Shares that come to the same clips stand once.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of clips are far below 2^52")]
pub fn curve(clips: &[(f64, bool)]) -> Vec<Answered> {
    let mut sorted = clips.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut points: Vec<Answered> = Vec::new();
    for percent in SHARES_PERCENT {
        let count = (sorted.len() * percent).div_ceil(100);
        let Some((margin, _)) = sorted[..count].last().copied() else { continue };
        let share = count as f64 / sorted.len() as f64;
        if points.last().is_some_and(|point| point.share <= share) {
            continue;
        }
        let right = sorted[..count].iter().filter(|(_, right)| *right).count();
        points.push(Answered { share, margin, accuracy: right as f64 / count as f64 });
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_sure_clips_go_first() {
        let check = |clips: &[(f64, bool)], expected: &[(f64, f64, f64)]| {
            let points: Vec<_> = curve(clips).iter().map(|p| (p.share, p.margin, p.accuracy)).collect();
            assert_eq!(points, expected, "{clips:?}");
        };
        check(&[], &[]);
        check(&[(2.0, false)], &[(1.0, 2.0, 0.0)]);
        check(&[(1.0, false), (3.0, true)], &[(1.0, 1.0, 0.5), (0.5, 3.0, 1.0)]);
        let four = [(4.0, true), (1.0, false), (2.0, false), (3.0, true)];
        check(&four, &[(1.0, 1.0, 0.5), (0.75, 2.0, 2.0 / 3.0), (0.5, 3.0, 1.0)]);
    }
}

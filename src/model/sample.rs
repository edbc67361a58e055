//! From logits to a token. Pure: no graph, no grammar, only numbers and a mask of allowed tokens.

use serde::Deserialize;

/// How tokens are chosen.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleConfig {
    /// 0 takes the best token each time.
    pub temperature: f32,
    /// Only the best so many tokens are considered; 0 means all.
    pub top_k: usize,
    /// Only the best tokens that hold this share of the probability are considered.
    pub top_p: f32,
    /// Start of the random sequence.
    pub seed: u64,
}

impl Default for SampleConfig {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 64, top_p: 0.95, seed: 0 }
    }
}

/// A chosen token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pick {
    /// The token.
    pub token: u32,
    /// log p(best) - log p(second) among the allowed tokens; infinite when only one is allowed.
    pub margin: f32,
}

/// Chooses tokens; holds the random state of one reply.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SampleConfig,
    state: u64,
}

impl Sampler {
    /// A sampler at the start of its sequence.
    pub fn new(config: SampleConfig) -> Self {
        Self { state: config.seed, config }
    }

    /// Chooses among the tokens that `allowed` has a bit for (32 tokens a word, least bit first), or among all.
    /// `None` when no token is allowed or no allowed logit is a number.
    pub fn pick(&mut self, logits: &[f32], allowed: Option<&[u32]>) -> Option<Pick> {
        let (best, second) = best_two(candidates(logits, allowed));
        let (token, top) = best?;
        let margin = second.map_or(f32::INFINITY, |(_, logit)| top - logit);
        if self.config.temperature <= 0.0 || second.is_none() {
            return Some(Pick { token, margin });
        }
        Some(Pick { token: self.draw(candidates(logits, allowed).collect()), margin })
    }

    fn draw(&mut self, mut tokens: Vec<(u32, f32)>) -> u32 {
        let keep = if self.config.top_k == 0 { tokens.len() } else { self.config.top_k.min(tokens.len()) };
        let by_logit = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1);
        if keep < tokens.len() {
            tokens.select_nth_unstable_by(keep - 1, by_logit);
            tokens.truncate(keep);
        }
        tokens.sort_unstable_by(by_logit);
        let top = tokens[0].1;
        let mut weights: Vec<f32> =
            tokens.iter().map(|(_, logit)| ((logit - top) / self.config.temperature).exp()).collect();
        let total: f32 = weights.iter().sum();
        let mut held = 0.0;
        let nucleus = weights.iter().position(|w| {
            held += w / total;
            held >= self.config.top_p
        });
        weights.truncate(nucleus.map_or(weights.len(), |at| at + 1));
        let mut at = self.unit() * weights.iter().sum::<f32>();
        let drawn = weights.iter().position(|w| {
            at -= w;
            at < 0.0
        });
        tokens[drawn.unwrap_or(weights.len() - 1)].0
    }

    /// Next number in [0, 1): SplitMix64 (Steele, Lea and Flood 2014), its upper 24 bits.
    fn unit(&mut self) -> f32 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u32 << 24) as f32
    }
}

fn candidates<'a>(logits: &'a [f32], allowed: Option<&'a [u32]>) -> impl Iterator<Item = (u32, f32)> + 'a {
    let is_allowed = move |token: usize| match allowed {
        None => true,
        Some(words) => words.get(token / 32).is_some_and(|word| word >> (token % 32) & 1 == 1),
    };
    let all = logits.iter().enumerate();
    all.filter(move |(token, logit)| !logit.is_nan() && is_allowed(*token)).map(|(token, &logit)| (token as u32, logit))
}

/// The likeliest token but one among those allowed.
pub fn runner_up(logits: &[f32], allowed: &[u32], token: u32) -> Option<u32> {
    let others = candidates(logits, Some(allowed)).filter(|(other, _)| *other != token);
    others.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(other, _)| other)
}

/// How much likelier a token is than the likeliest other one among those allowed, as log p - log p; infinite when it is
/// alone, negative when another is likelier.
pub fn lead(logits: &[f32], allowed: &[u32], token: u32) -> f32 {
    let others = candidates(logits, Some(allowed)).filter(|(other, _)| *other != token);
    let own = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
    others.map(|(_, logit)| logit).max_by(f32::total_cmp).map_or(f32::INFINITY, |other| own - other)
}

type Scored = Option<(u32, f32)>;

fn best_two(tokens: impl Iterator<Item = (u32, f32)>) -> (Scored, Scored) {
    tokens.fold((None, None), |(best, second): (Scored, Scored), next| match (best, second) {
        (None, _) => (Some(next), None),
        (Some(b), _) if next.1 > b.1 => (Some(next), Some(b)),
        (_, Some(s)) if next.1 <= s.1 => (best, second),
        _ => (best, Some(next)),
    })
}

/// Notices that a reply runs in circles.
#[derive(Debug, Clone, Default)]
pub struct LoopDetector {
    tokens: Vec<u32>,
}

impl LoopDetector {
    /// Longest phrase, in tokens, whose repetition is noticed.
    const LONGEST: usize = 32;
    /// So many tokens must be mere repetition: three times a phrase of eight, or one token 24 times.
    const REPEATED: usize = 24;

    /// Takes the next token; true when the reply has begun to repeat itself.
    pub fn push(&mut self, token: u32) -> bool {
        self.tokens.push(token);
        (1..=Self::LONGEST).any(|period| {
            let span = Self::REPEATED.max(3 * period);
            let Some(start) = self.tokens.len().checked_sub(span) else { return false };
            let tail = &self.tokens[start..];
            tail.iter().zip(&tail[period..]).all(|(a, b)| a == b)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_best_allowed() {
        let check = |logits: &[f32], allowed: Option<&[u32]>, token: Option<u32>, margin: f32| {
            let pick = Sampler::new(SampleConfig::default()).pick(logits, allowed);
            assert_eq!(pick.map(|p| p.token), token, "{logits:?}");
            if let Some(pick) = pick {
                assert_eq!(pick.margin, margin, "{logits:?}");
            }
        };
        check(&[1.0, 3.0, 2.5], None, Some(1), 0.5);
        check(&[3.0, 1.0, 2.5], None, Some(0), 0.5);
        check(&[1.0, 3.0, 2.5], Some(&[0b101]), Some(2), 1.5);
        check(&[1.0, 3.0, 2.5], Some(&[0b001]), Some(0), f32::INFINITY);
        check(&[1.0, 3.0, 2.5], Some(&[0]), None, 0.0);
        check(&[1.0, f32::NAN, 2.5], None, Some(2), 1.5);
        check(&[f32::NAN], None, None, 0.0);
        check(&[], None, None, 0.0);
        check(&[2.0, 2.0], None, Some(0), 0.0);
    }

    #[test]
    fn sampling_stays_within_the_bounds_and_follows_the_weights() {
        let config = SampleConfig { temperature: 1.0, top_k: 2, top_p: 1.0, seed: 7 };
        let mut sampler = Sampler::new(config.clone());
        let logits = [0.0, 1.0, 2.0, -1.0];
        let mut counts = [0; 4];
        for _ in 0..4000 {
            counts[sampler.pick(&logits, None).expect("tokens are allowed").token as usize] += 1;
        }
        // The two best hold e^2 : e^1.
        let share = f64::from(counts[2]) / 4000.0;
        assert_eq!((counts[0], counts[3]), (0, 0));
        assert!((share - 0.731).abs() < 0.03, "{share}");
        let mut narrow = Sampler::new(SampleConfig { top_p: 0.5, top_k: 0, ..config });
        assert!((0..100).all(|_| narrow.pick(&logits, None).map(|p| p.token) == Some(2)));
    }

    #[test]
    fn loops_are_noticed_and_ordinary_text_is_not() {
        let check = |tokens: Vec<u32>, expected: bool| {
            let mut detector = LoopDetector::default();
            assert_eq!(tokens.iter().any(|&t| detector.push(t)), expected, "{tokens:?}");
        };
        check((0..200).collect(), false);
        check(vec![5; 23], false);
        check(vec![5; 24], true);
        check([1, 2, 3, 4, 5, 6, 7, 8].repeat(2), false);
        check([1, 2, 3, 4, 5, 6, 7, 8].repeat(3), true);
        check((0..40).chain((100..132).cycle().take(96)).collect(), true);
    }
}

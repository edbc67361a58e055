//! Where an utterance begins and ends. Pure: counts samples, reads no clock, holds no sound.
//!
//! Takes one [`Frame`] per 16 ms and says when an utterance has [started](SegmentEvent::Started) and when it has
//! [ended](SegmentEvent::Ended), and why, and of every [pause](SegmentEvent::Paused) within that might be the end.
//! Utterances never overlap and come in order. Runs on the `listen` thread.
//!
//! Three conditions start one, measured with earshot 1.2 on 1,043 recordings of people and 251 of synthetic noise,
//! clicks and hum: enough frames that are likely speech (clicks are short), a few that are surely speech (noise stays
//! below 0.81 unless it is louder than -6 dB), and a level that moves (a hum with many harmonics looks like a vowel
//! that never ends, but does not move by 1 dB). They miss one of the recordings, a word at the edge of hearing, and
//! take 15 of the noises: twelve are trains of ringing knocks, three are noise near full scale.

use std::collections::VecDeque;
use std::ops::Range;

use super::ListenConfig;
use super::vad::FRAME;

/// Frames that decide about a start: half a second.
pub const WINDOW: usize = 32;
/// A frame of this probability is likely speech.
const LIKELY: f32 = 0.6;
/// A frame of this probability is surely speech.
const SURE: f32 = 0.85;
/// How many frames must be surely speech.
const SURE_FRAMES: usize = 3;
/// By how much the level must move among likely frames, in dB. In words it moves by 10 and more.
const MOVES_DB: f32 = 6.0;
/// A frame of this probability keeps an utterance going.
const GOES_ON: f32 = 0.5;
/// Silence that may be the end: 208 ms.
pub const PAUSE: usize = 13 * FRAME;

/// What is known of one frame of 16 ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    /// Probability of speech, in [0, 1].
    pub probability: f32,
    /// Mean power, in dB of full scale.
    pub level_db: f32,
}

impl Frame {
    /// The frame of these samples.
    pub fn new(probability: f32, samples: &[f32]) -> Self {
        let power = samples.iter().map(|v| v * v).sum::<f32>() / samples.len().max(1) as f32;
        Self { probability, level_db: 10.0 * (power + 1e-10).log10() }
    }
}

/// Why an utterance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Silence for as long as the configuration says, or a pause in which the greatest length was reached.
    Silence,
    /// It reached the greatest length while somebody spoke.
    Cap,
    /// There are no more samples.
    EndOfInput,
}

/// One utterance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its samples, counted from the first one ever pushed, with pre-roll and post-roll.
    pub range: Range<usize>,
    /// Why it ended.
    pub reason: EndReason,
    /// Samples without speech by the time that it ended.
    pub quiet: usize,
}

/// What a frame brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentEvent {
    /// Somebody speaks. The utterance begins at sample `from`, which lies in the past.
    Started {
        /// First sample of the utterance, pre-roll included.
        from: usize,
        /// First sample of the speech.
        onset: usize,
    },
    /// Nobody has spoken for 208 ms: this may be the end.
    Paused,
    /// Nobody has spoken since, and it was asked to say so.
    StillPaused,
    /// It was not.
    Resumed,
    /// The utterance is over.
    Ended(Segment),
}

/// Turns frames into utterances.
pub struct Segmenter {
    pre_roll: usize,
    post_roll: usize,
    silence: usize,
    min_frames: usize,
    max: usize,
    /// The latest frames while nobody speaks.
    window: VecDeque<Frame>,
    /// Samples so far.
    now: usize,
    /// End of the last utterance: the next one begins no earlier.
    free_from: usize,
    current: Option<Current>,
}

struct Current {
    from: usize,
    /// End of the last frame that kept it going.
    spoken_until: usize,
    /// Was the pause that lasts told?
    paused: bool,
    /// Silence that ends it in this pause, if not the usual.
    silence: Option<usize>,
    /// Silence after which this pause is told again.
    again: Option<usize>,
}

impl Segmenter {
    /// A segmenter at sample 0.
    pub fn new(config: &ListenConfig) -> Self {
        let samples = |ms: u32| ms as usize * 16;
        Self {
            pre_roll: samples(config.pre_roll_ms),
            post_roll: samples(config.post_roll_ms.min(config.silence_ms)),
            silence: samples(config.silence_ms).max(FRAME),
            min_frames: samples(config.min_speech_ms).div_ceil(FRAME).clamp(1, WINDOW),
            max: samples(config.max_ms).max(FRAME),
            window: VecDeque::with_capacity(WINDOW),
            now: 0,
            free_from: 0,
            current: None,
        }
    }

    /// Is an utterance under way?
    pub fn speaking(&self) -> bool {
        self.current.is_some()
    }

    /// So much silence ends the utterance if nobody speaks before; in the next pause the usual counts again. Nothing is
    /// changed outside a pause.
    pub fn end_pause_after(&mut self, silence_ms: u32) {
        if let Some(current) = self.current.as_mut().filter(|current| current.paused) {
            current.silence = Some((silence_ms as usize * 16).max(PAUSE));
        }
    }

    /// Tells this pause once more when it has lasted so long. If it has already, it is too late for that: what took so long
    /// to be wished for would take longer still, and the pause may be over first.
    pub fn tell_pause_again(&mut self, silence_ms: u32) {
        let (now, again) = (self.now, silence_ms as usize * 16);
        let in_time = |current: &&mut Current| current.paused && now - current.spoken_until < again;
        if let Some(current) = self.current.as_mut().filter(in_time) {
            current.again = Some(again);
        }
    }

    /// Takes the next frame.
    pub fn push(&mut self, frame: Frame) -> Option<SegmentEvent> {
        self.now += FRAME;
        match &mut self.current {
            Some(current) => {
                let speaks = frame.probability >= GOES_ON;
                if speaks {
                    current.spoken_until = self.now;
                }
                let quiet = self.now - current.spoken_until;
                if quiet >= current.silence.unwrap_or(self.silence) {
                    return self.end(EndReason::Silence);
                }
                if self.now - current.from.min(self.now) >= self.max {
                    // Whoever is silent by then has been heard out.
                    let silent = current.paused && !speaks;
                    return self.end(if silent { EndReason::Silence } else { EndReason::Cap });
                }
                match (current.paused, speaks) {
                    (false, false) if quiet >= PAUSE => {
                        current.paused = true;
                        Some(SegmentEvent::Paused)
                    }
                    (true, true) => {
                        (current.paused, current.silence, current.again) = (false, None, None);
                        Some(SegmentEvent::Resumed)
                    }
                    (true, false) if current.again.is_some_and(|again| quiet >= again) => {
                        current.again = None;
                        Some(SegmentEvent::StillPaused)
                    }
                    _ => None,
                }
            }
            None => {
                if self.window.len() == WINDOW {
                    self.window.pop_front();
                }
                self.window.push_back(frame);
                self.onset().map(|onset| self.start(onset))
            }
        }
    }

    /// There are no more frames: ends the utterance under way, if any, within the `n_samples` that there were.
    pub fn finish(&mut self, n_samples: usize) -> Option<SegmentEvent> {
        self.now = self.now.min(n_samples);
        self.end(EndReason::EndOfInput)
    }

    /// Where the speech in the window begins, if there is enough of it.
    fn onset(&self) -> Option<usize> {
        let likely = |frame: &&Frame| frame.probability >= LIKELY;
        let spoken = self.window.iter().filter(likely).count();
        let sure = self.window.iter().filter(|frame| frame.probability >= SURE).count();
        if spoken < self.min_frames || sure < SURE_FRAMES {
            return None;
        }
        let levels = self.window.iter().filter(likely).map(|frame| frame.level_db);
        let (low, high) = levels.fold((f32::MAX, f32::MIN), |(low, high), db| (low.min(db), high.max(db)));
        if high - low < MOVES_DB {
            return None;
        }
        let first = self.window.iter().position(|frame| likely(&frame))?;
        Some(self.now - (self.window.len() - first) * FRAME)
    }

    fn start(&mut self, onset: usize) -> SegmentEvent {
        let from = onset.saturating_sub(self.pre_roll).max(self.free_from);
        self.current = Some(Current { from, spoken_until: self.now, paused: false, silence: None, again: None });
        self.window.clear();
        SegmentEvent::Started { from, onset }
    }

    fn end(&mut self, reason: EndReason) -> Option<SegmentEvent> {
        let Current { from, spoken_until, .. } = self.current.take()?;
        let end = match reason {
            EndReason::Cap => from + self.max,
            EndReason::Silence | EndReason::EndOfInput => (spoken_until + self.post_roll).min(from + self.max),
        };
        // A file's last frame may be longer than what the file had left.
        let end = end.min(self.now).max(from);
        self.free_from = end;
        let quiet = self.now.saturating_sub(spoken_until);
        Some(SegmentEvent::Ended(Segment { range: from..end, reason, quiet }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Frames of a drawing: `#` speech, `.` silence, `-` noise that is half likely, `=` a loud steady hum.
    fn frames(drawing: &str) -> Vec<Frame> {
        let frame = |(i, c): (usize, char)| match c {
            '#' => Frame { probability: 0.95, level_db: if i % 4 < 2 { -20.0 } else { -32.0 } },
            '-' => Frame { probability: 0.55, level_db: -30.0 },
            '=' => Frame { probability: 0.95, level_db: -10.0 },
            _ => Frame { probability: 0.1, level_db: -70.0 },
        };
        drawing.chars().enumerate().map(frame).collect()
    }

    fn config() -> ListenConfig {
        ListenConfig {
            pre_roll_ms: 160,
            post_roll_ms: 64,
            silence_ms: 320,
            min_speech_ms: 128,
            max_ms: 1600,
            ..ListenConfig::default()
        }
    }

    /// The utterances in frames, not samples.
    fn run(config: &ListenConfig, frames: &[Frame]) -> Vec<(usize, usize, EndReason)> {
        let mut segmenter = Segmenter::new(config);
        let mut events: Vec<SegmentEvent> = frames.iter().filter_map(|&frame| segmenter.push(frame)).collect();
        events.extend(segmenter.finish(frames.len() * FRAME));
        let ended = |event| match event {
            SegmentEvent::Ended(segment) => {
                Some((segment.range.start / FRAME, segment.range.end / FRAME, segment.reason))
            }
            _ => None,
        };
        events.into_iter().filter_map(ended).collect()
    }

    #[test]
    fn utterances_have_pre_roll_and_end_with_silence() {
        let check = |name: &str, drawing: &str, expected: &[(usize, usize, EndReason)]| {
            assert_eq!(run(&config(), &frames(drawing)), expected, "{name}");
        };
        let (quiet, word) = (".".repeat(30), "#".repeat(20));
        check("silence", &quiet, &[]);
        check("nothing", "", &[]);
        check("noise", &"-".repeat(200), &[]);
        check("hum", &format!("{quiet}{}{quiet}", "=".repeat(200)), &[]);
        check("a tap", &format!("{quiet}####{quiet}"), &[]);
        check("taps", &format!("{quiet}##{quiet}##{quiet}##{quiet}"), &[]);
        check("a word", &format!("{quiet}{word}{quiet}"), &[(20, 54, EndReason::Silence)]);
        check("a word at once", &format!("{word}{quiet}"), &[(0, 24, EndReason::Silence)]);
        check("a word at the end", &format!("{quiet}{word}"), &[(20, 50, EndReason::EndOfInput)]);
        check("a pause within", &format!("{word}..........{word}{quiet}"), &[(0, 54, EndReason::Silence)]);
        let two = [(0, 24, EndReason::Silence), (40, 74, EndReason::Silence)];
        check("two words", &format!("{word}{quiet}{word}{quiet}"), &two);
        let capped = [(20, 120, EndReason::Cap), (120, 154, EndReason::Silence)];
        check("no end", &format!("{quiet}{}{quiet}", "#".repeat(120)), &capped);
        // 1600 ms are 100 frames: by then silent for less than a pause, for one, and until the very end of the silence.
        let at_the_cap = |silent: usize| format!("{}{quiet}", "#".repeat(100 - silent));
        check("speaks at the cap", &at_the_cap(0), &[(0, 100, EndReason::Cap)]);
        check("has just spoken at the cap", &at_the_cap(12), &[(0, 100, EndReason::Cap)]);
        check("is done at the cap", &at_the_cap(14), &[(0, 90, EndReason::Silence)]);
        check("was done at the cap", &at_the_cap(20), &[(0, 84, EndReason::Silence)]);
        let goes_on = [(0, 90, EndReason::Silence), (100, 134, EndReason::Silence)];
        check("goes on after it", &format!("{}{}{word}{quiet}", "#".repeat(86), ".".repeat(24)), &goes_on);
        let fan = format!("{quiet}{word}{}", "-".repeat(100));
        check("a word, then a fan", &fan, &[(20, 120, EndReason::Cap)]);
    }

    #[test]
    fn an_end_is_known_after_the_silence_and_no_later() {
        let mut segmenter = Segmenter::new(&config());
        let drawing = format!("{}{}", "#".repeat(20), ".".repeat(40));
        let events: Vec<(usize, SegmentEvent)> = frames(&drawing)
            .into_iter()
            .enumerate()
            .filter_map(|(i, frame)| segmenter.push(frame).map(|event| (i, event)))
            .collect();
        let expected = Segment { range: 0..24 * FRAME, reason: EndReason::Silence, quiet: 20 * FRAME };
        // 128 ms of speech to start, 208 ms of silence for a pause, 320 ms to end.
        let expected = [
            (7, SegmentEvent::Started { from: 0, onset: 0 }),
            (32, SegmentEvent::Paused),
            (39, SegmentEvent::Ended(expected)),
        ];
        assert_eq!(events, expected);
        assert!(!segmenter.speaking());
    }

    #[test]
    fn pauses_are_told_once_and_taken_back() {
        let kinds = |drawing: &str| -> String {
            let mut segmenter = Segmenter::new(&config());
            let events = frames(drawing).into_iter().filter_map(|frame| segmenter.push(frame));
            let kind = |event| match event {
                SegmentEvent::Started { .. } => 's',
                SegmentEvent::Paused => 'p',
                SegmentEvent::StillPaused => 'q',
                SegmentEvent::Resumed => 'r',
                SegmentEvent::Ended(_) => 'e',
            };
            events.map(kind).collect()
        };
        let check = |name: &str, drawing: String, expected: &str| assert_eq!(kinds(&drawing), expected, "{name}");
        let (word, breath, pause) = ("#".repeat(20), ".".repeat(12), ".".repeat(14));
        check("a breath", format!("{word}{breath}{word}"), "s");
        check("a pause", format!("{word}{pause}{word}"), "spr");
        check("two pauses", format!("{word}{pause}{word}{pause}#{pause}......"), "sprprpe");
        check("silence", ".".repeat(100), "");
        let long = "#".repeat(86);
        check("the cap in a pause", format!("{long}{pause}{pause}"), "spe");
    }

    /// Silence is `.`, speech `#`; `e` wishes an end after 240 ms, `l` one after 480 ms, `a` another word at 256 ms, as soon as
    /// the frames before are heard.
    #[test]
    fn a_wish_counts_for_the_pause_that_it_was_made_in() {
        let check = |name: &str, drawing: &str, expected: &str| {
            let mut segmenter = Segmenter::new(&config());
            let (mut found, mut at) = (String::new(), 0);
            for c in drawing.chars() {
                match c {
                    'e' => segmenter.end_pause_after(240),
                    'l' => segmenter.end_pause_after(480),
                    'a' => segmenter.tell_pause_again(256),
                    _ => {
                        let event = frames(&format!("{}{c}", "#".repeat(at % 4))).pop().and_then(|f| segmenter.push(f));
                        at += 1;
                        let quiet = |segment: Segment| format!("e{} ", segment.quiet / FRAME);
                        match event {
                            Some(SegmentEvent::Started { .. }) | None => {}
                            Some(SegmentEvent::Paused) => found.push_str("p "),
                            Some(SegmentEvent::StillPaused) => found.push_str("q "),
                            Some(SegmentEvent::Resumed) => found.push_str("r "),
                            Some(SegmentEvent::Ended(segment)) => found.push_str(&quiet(segment)),
                        }
                    }
                }
            }
            assert_eq!(found.trim_end(), expected, "{name}: {drawing}");
        };
        let word = "#".repeat(20);
        let dots = |n: usize| ".".repeat(n);
        check("no wish", &format!("{word}{}", dots(40)), "p e20");
        check("sooner", &format!("{word}{}e{}", dots(13), dots(40)), "p e15");
        check("sooner, but it is late", &format!("{word}{}e{}", dots(18), dots(40)), "p e19");
        check("later", &format!("{word}{}l{}", dots(13), dots(40)), "p e30");
        check("too early to wish", &format!("{word}{}e{}", dots(12), dots(40)), "p e20");
        check("the next pause", &format!("{word}{}e{word}{}", dots(13), dots(40)), "p r p e20");
        check("the next pause, later", &format!("{word}{}l{word}{}", dots(13), dots(40)), "p r p e20");
        check("again", &format!("{word}{}a{}", dots(13), dots(40)), "p q e20");
        check("again, just in time", &format!("{word}{}a{}", dots(15), dots(40)), "p q e20");
        check("again, but it is late", &format!("{word}{}a{}", dots(16), dots(40)), "p e20");
        check("again, but it is later", &format!("{word}{}a{}", dots(18), dots(40)), "p e20");
        check("again, and sooner", &format!("{word}{}a{}e{}", dots(13), dots(3), dots(40)), "p q e17");
        check("again, then on", &format!("{word}{}a{word}{}", dots(13), dots(40)), "p r p e20");
        check("again and on", &format!("{word}{}a{}{word}{}", dots(13), dots(4), dots(40)), "p q r p e20");
    }

    #[test]
    fn the_range_stays_within_the_samples() {
        let mut segmenter = Segmenter::new(&config());
        let n_samples = 20 * FRAME - 100;
        for frame in frames(&"#".repeat(20)) {
            segmenter.push(frame);
        }
        let expected = Segment { range: 0..n_samples, reason: EndReason::EndOfInput, quiet: 0 };
        assert_eq!(segmenter.finish(n_samples), Some(SegmentEvent::Ended(expected)));
        assert_eq!(segmenter.finish(n_samples), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn utterances_never_overlap(
            values in proptest::collection::vec((prop_oneof![0f32..1.0, Just(0.95f32)], -80f32..0.0), 0..600),
            ms in (0u32..2000, 0u32..1000, 0u32..1000, 0u32..600, 0u32..5000),
        ) {
            let config = ListenConfig {
                pre_roll_ms: ms.0, post_roll_ms: ms.1, silence_ms: ms.2, min_speech_ms: ms.3, max_ms: ms.4,
                ..ListenConfig::default()
            };
            let mut segmenter = Segmenter::new(&config);
            let mut events = Vec::new();
            for &(probability, level_db) in &values {
                events.extend(segmenter.push(Frame { probability, level_db }));
            }
            let n_samples = values.len() * FRAME;
            events.extend(segmenter.finish(n_samples));
            // Within an utterance pauses are told and taken back by turns.
            let mut paused = false;
            for event in &events {
                match event {
                    SegmentEvent::Paused => prop_assert!(!std::mem::replace(&mut paused, true)),
                    SegmentEvent::Resumed => prop_assert!(std::mem::replace(&mut paused, false)),
                    _ => paused = false,
                }
            }
            events.retain(|event| matches!(event, SegmentEvent::Started { .. } | SegmentEvent::Ended(_)));
            // Started and Ended take turns, and each end belongs to its start.
            prop_assert_eq!(events.len() % 2, 0);
            let mut last_end = 0;
            for pair in events.chunks_exact(2) {
                let [SegmentEvent::Started { from, .. }, SegmentEvent::Ended(segment)] = pair else {
                    return Err(TestCaseError::fail(format!("out of order: {pair:?}")));
                };
                prop_assert_eq!(*from, segment.range.start);
                prop_assert!(segment.range.start >= last_end && segment.range.end >= segment.range.start);
                prop_assert!(segment.range.end <= n_samples);
                prop_assert!(segment.range.len() <= (config.max_ms as usize * 16).max(FRAME));
                last_end = segment.range.end;
            }
        }
    }
}

//! Where turns end, for several settings of the silence that ends them: the settings, and the figures. Pure.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::{Call, Label, percentile, score, share};

/// Silences that end a command, in ms: `EARLY/USUAL/LATE`, `-` for one that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// `listen.early_silence_ms`.
    pub early_ms: Option<u32>,
    /// `listen.silence_ms`.
    pub usual_ms: u32,
    /// `listen.late_silence_ms`.
    pub late_ms: Option<u32>,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} should be like -/700/- or 400/700/1200");
        let number = |text: &str| text.parse::<u32>().ok().filter(|ms| (100..=5000).contains(ms)).ok_or_else(wrong);
        let maybe = |text: &str| if text == "-" { Ok(None) } else { number(text).map(Some) };
        let [early, usual, late] = text.split('/').collect::<Vec<_>>()[..] else { return Err(wrong()) };
        let (early_ms, usual_ms, late_ms) = (maybe(early)?, number(usual)?, maybe(late)?);
        // As in the configuration.
        let in_order =
            early_ms.is_none_or(|ms| (250..=usual_ms).contains(&ms)) && late_ms.is_none_or(|ms| ms >= usual_ms);
        if in_order { Ok(Self { early_ms, usual_ms, late_ms }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let maybe = |ms: Option<u32>| ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
        write!(f, "{}/{}/{}", maybe(self.early_ms), self.usual_ms, maybe(self.late_ms))
    }
}

/// How one turn went.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Turn {
    /// When it ended, in s of the recording; none if nobody was heard to speak.
    pub ended_s: Option<f64>,
    /// What was called.
    pub calls: Vec<Call>,
    /// Drafts that were begun, the last one among them.
    pub drafts: usize,
    /// What computing they took by the clock, in ms.
    pub drafts_ms: f64,
    /// What those came to that were decoded to their end.
    pub drafted: Vec<Draft>,
}

/// What a draft came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Draft {
    /// When it was there, in s of the recording.
    pub at_s: f64,
    /// Whole calls; none if there were none, or doubtful ones.
    pub calls: Vec<Call>,
    /// The least margin of these.
    pub margin: Option<f32>,
    /// Did it come to neither calls nor words?
    pub nothing: bool,
}

/// A clip whose turn is worth a look: it ended inside the command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CutOff {
    /// File, relative to the folder.
    pub file: String,
    /// When the turn ended, in s.
    pub ended_s: f64,
    /// When the last word did, in s.
    pub speech_s: f64,
    /// What was called.
    pub calls: Vec<Call>,
}

/// The figures of one setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Which.
    pub setting: Setting,
    /// All clips.
    pub clips: usize,
    /// Clips in which nobody was heard to speak.
    pub unheard: usize,
    /// Turns that ended before the last word was over.
    pub cut_off: Vec<CutOff>,
    /// Turns with all calls right.
    pub right: usize,
    /// Clips without a command that gave a call.
    pub false_calls: usize,
    /// Turns with a call that was not what was said, commands or not.
    pub wrong_calls: usize,
    /// From the last sample of speech to the end of the turn, in ms, of the turns that were not cut off: mean.
    pub mean_ms: f64,
    /// 95 of 100 of them ended by then.
    pub p95_ms: f64,
    /// Drafts in a turn.
    pub drafts: f64,
    /// Computing for a draft, in ms by the clock.
    pub draft_ms: f64,
    /// Clip by clip.
    pub turns: Vec<Turn>,
}

impl Figures {
    /// Of one turn for each label, the end of its speech in s beside it.
    #[must_use]
    pub fn of(setting: Setting, clips: &[(Label, f64)], turns: &[Turn]) -> Self {
        let (mut after_ms, mut cut_off) = (Vec::new(), Vec::new());
        let (mut unheard, mut right, mut false_calls, mut wrong_calls) = (0, 0, 0, 0);
        for ((label, speech_s), turn) in clips.iter().zip(turns) {
            let is_right = score(&label.calls, &turn.calls).right;
            right += usize::from(is_right);
            wrong_calls += usize::from(!is_right && !turn.calls.is_empty());
            false_calls += usize::from(label.calls.is_empty() && !turn.calls.is_empty());
            match turn.ended_s {
                None => unheard += 1,
                Some(ended_s) if ended_s < *speech_s => {
                    let (file, speech_s, calls) = (label.file.clone(), *speech_s, turn.calls.clone());
                    cut_off.push(CutOff { file, ended_s, speech_s, calls });
                }
                Some(ended_s) => after_ms.push((ended_s - speech_s) * 1000.0),
            }
        }
        after_ms.sort_unstable_by(f64::total_cmp);
        let drafts: usize = turns.iter().map(|turn| turn.drafts).sum();
        let per = |sum: f64, n: usize| if n == 0 { 0.0 } else { sum / n as f64 };
        Self {
            setting,
            clips: clips.len(),
            unheard,
            cut_off,
            right,
            false_calls,
            wrong_calls,
            mean_ms: per(after_ms.iter().sum(), after_ms.len()),
            p95_ms: percentile(&after_ms, 95).unwrap_or(0.0),
            drafts: per(drafts as f64, turns.len()),
            draft_ms: per(turns.iter().map(|turn| turn.drafts_ms).sum(), drafts),
            turns: turns.to_vec(),
        }
    }
}

/// All settings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ends {
    /// In the order that they were asked for.
    pub settings: Vec<Figures>,
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| early/usual/late ms | clips | cut off | right | wrong calls | calls for no command | unheard | \
             mean ms | p95 ms | drafts | ms a draft |"
        )?;
        write!(f, "|{}", "---|".repeat(11))?;
        for figures in &self.settings {
            let percent = |n: usize| 100.0 * share(n, figures.clips).unwrap_or(0.0);
            let Figures { setting, clips, unheard, right, false_calls, wrong_calls, mean_ms, p95_ms, .. } = figures;
            let cut = figures.cut_off.len();
            write!(
                f,
                "\n| {setting} | {clips} | {cut} ({:.1} %) | {right} ({:.1} %) | {wrong_calls} | {false_calls} | \
                 {unheard} | {mean_ms:.0} | {p95_ms:.0} | {:.2} | {:.0} |",
                percent(cut),
                percent(*right),
                figures.drafts,
                figures.draft_ms,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    #[test]
    fn settings_are_read_as_they_are_written() {
        for text in ["-/700/-", "400/700/1200", "-/700/1200", "250/700/-", "700/700/700"] {
            let setting = text.parse::<Setting>().expect(text);
            assert_eq!(setting.to_string(), text);
        }
        for text in
            ["", "700", "-/-/-", "800/700/-", "-/700/600", "400/700", "1/2/3/4", "-/99/-", "249/700/-", "a/700/-"]
        {
            assert!(text.parse::<Setting>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_turn_that_ends_inside_the_command_is_cut_off() {
        let call = |name: &str| Call { intent: name.to_owned(), slots: Map::new() };
        let clip = |calls: Vec<Call>| (Label { file: "a.flac".to_owned(), calls, speech_s: Some(2.0) }, 2.0);
        let turn = |ended_s, calls| Turn { ended_s, calls, drafts: 2, drafts_ms: 30.0, drafted: Vec::new() };
        let clips =
            [clip(vec![call("open")]), clip(vec![call("open")]), clip(vec![call("open")]), clip(vec![]), clip(vec![])];
        let turns = [
            turn(Some(2.7), vec![call("open")]),
            turn(Some(1.2), vec![call("stop")]),
            turn(Some(2.5), vec![]),
            turn(Some(3.2), vec![call("open")]),
            turn(None, vec![]),
        ];
        let setting = Setting { early_ms: None, usual_ms: 700, late_ms: None };
        let found = Figures::of(setting, &clips, &turns);
        assert_eq!((found.cut_off.len(), found.unheard, found.right), (1, 1, 2));
        assert_eq!((found.false_calls, found.wrong_calls), (1, 2));
        // 700, 500 and 1200 ms.
        assert!((found.mean_ms - 800.0).abs() < 1e-6 && (found.p95_ms - 1200.0).abs() < 1e-6, "{found:?}");
        let text = Ends { settings: vec![found] }.to_string();
        let row = "| -/700/- | 5 | 1 (20.0 %) | 2 (40.0 %) | 2 | 1 | 1 | 800 | 1200 | 2.00 | 15 |";
        assert_eq!(text.lines().last(), Some(row));
    }
}

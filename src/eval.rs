//! How well a model understands: labelled clips in, figures out.
//!
//! Scoring is pure; [`run`] reads `labels.json` and hands one clip after the other to whoever hears it. Never runs a
//! model or a home itself. Blocking, on the caller's thread.
//!
//! `labels.json` maps each file to `{"intent": TOOL, "slots": {...}}` or `{"calls": [{"intent", "slots"}, ...]}`; an
//! intent of `null` or an empty list of calls means that nothing may be called. Other keys of an entry are the labeller's
//! own. Order of calls is free, strings compare with case ignored, numbers by value ("5" is 5).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::dialogue::ToolCall;

pub mod ends;
pub mod tasks;

mod curve;
mod streamed;
pub use curve::{Answered, curve};
pub use streamed::{Chosen, Difference, Streamed};

/// Most calls that one clip may be labelled with: the best assignment is searched among all subsets.
pub const MAX_CALLS: usize = 8;
/// Most clips not understood that the printed report names; the JSON object has all of them.
const MAX_SHOWN: usize = 20;
/// Most missing files that an error names.
const MAX_NAMED: usize = 5;

/// Why nothing could be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// `labels.json` cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `labels.json` is not what it should be.
    #[error("{}: {reason}", path.display())]
    BadLabels {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// Labelled clips that do not exist.
    #[error("{}: {missing} of the labelled clips are missing: {names}", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
        /// How many.
        missing: usize,
        /// The first of them.
        names: String,
    },
}

/// A call as a label or a hearing has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// The tool.
    pub intent: String,
    /// Its arguments. One that is labelled `null` must not be given.
    pub slots: Map<String, Value>,
}

impl From<&ToolCall> for Call {
    fn from(call: &ToolCall) -> Self {
        Self { intent: call.name.clone(), slots: call.arguments.clone() }
    }
}

/// A clip and what should be called; nothing, if empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// File, relative to the folder.
    pub file: String,
    /// At most [`MAX_CALLS`].
    pub calls: Vec<Call>,
    /// When the last word is over, in s, where it is said.
    pub speech_s: Option<f64>,
}

/// What became of one clip.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Score {
    /// Every labelled call is matched in intent and all labelled slots, and none is left over.
    pub right: bool,
    /// Besides, no slot is too many.
    pub strict: bool,
    /// By slot: how often labelled, how often right.
    pub arguments: BTreeMap<String, (usize, usize)>,
}

/// What was heard in one clip.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heard {
    /// What was called.
    pub calls: Vec<ToolCall>,
    /// How long it took in milliseconds; `None`: there was nothing to hear.
    pub latency_ms: Option<f64>,
    /// Least log p(best) - log p(second) where the model had a choice; `None`: it had none.
    pub margin: Option<f64>,
}

/// How long clips took, in milliseconds. `None` when nothing was heard in any clip.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half of the clips took at most this long.
    pub p50: Option<f64>,
    /// 95 of 100 clips took at most this long.
    pub p95: Option<f64>,
}

/// A slot over all clips.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// How often labelled.
    pub labelled: usize,
    /// How often right.
    pub right: usize,
}

/// A clip that was not understood.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Miss {
    /// File, relative to the folder.
    pub file: String,
    /// What should have been called.
    pub expected: Vec<Call>,
    /// What was called.
    pub heard: Vec<Call>,
    /// Why the clip could not be heard at all.
    pub error: Option<String>,
}

/// The figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Labelled clips, all of them heard or tried.
    pub clips: usize,
    /// Share of clips that are [`Score::right`]; 0 to 1.
    pub accuracy: f64,
    /// Share of clips that are [`Score::strict`]; 0 to 1.
    pub accuracy_strict: f64,
    /// Clips labelled with no call that gave one.
    pub false_calls: usize,
    /// The same as a share of [`Report::no_call_clips`]; `None` when there are none.
    pub false_call_share: Option<f64>,
    /// Clips labelled with no call.
    pub no_call_clips: usize,
    /// Share of labelled slots that are right, by slot; 0 to 1.
    pub per_argument: BTreeMap<String, f64>,
    /// What the shares are made of.
    pub argument_counts: BTreeMap<String, Count>,
    /// Over the clips in which something was heard.
    pub latency_ms: Latency,
    /// Accuracy over the share of clips that are answered, of the clips with a margin.
    pub curve: Vec<Answered>,
    /// Against hearing the same sound at once, where clips were heard piece by piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streamed: Option<Streamed>,
    /// Clips that could not be heard; they count as not understood.
    pub failed: usize,
    /// Every clip that is not right.
    pub misses: Vec<Miss>,
}

/// Reads `DIR/labels.json`, in its own order, and checks that every clip exists.
///
/// # Errors
/// The message names the file and what is wrong with it.
pub fn read_labels(dir: &Path) -> Result<Vec<Label>, EvalError> {
    let path = dir.join("labels.json");
    let text = std::fs::read_to_string(&path).map_err(|source| EvalError::Unreadable { path: path.clone(), source })?;
    let labels = parse_labels(&text).map_err(|reason| EvalError::BadLabels { path, reason })?;
    let missing: Vec<&str> =
        labels.iter().map(|label| label.file.as_str()).filter(|file| !dir.join(file).is_file()).collect();
    if missing.is_empty() {
        return Ok(labels);
    }
    let more = if missing.len() > MAX_NAMED { ", ..." } else { "" };
    let names = format!("{}{more}", missing[..missing.len().min(MAX_NAMED)].join(", "));
    Err(EvalError::Missing { path: dir.to_owned(), missing: missing.len(), names })
}

/// Reads the text of a `labels.json`.
///
/// # Errors
/// What is wrong, with the entry that it is wrong in.
pub fn parse_labels(text: &str) -> Result<Vec<Label>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let Value::Object(entries) = value else {
        return Err("must be an object of file to label".to_owned());
    };
    if entries.is_empty() {
        return Err("names no clips".to_owned());
    }
    let label = |(file, entry): (&String, &Value)| {
        let calls = calls_from(entry).map_err(|reason| format!("{file}: {reason}"))?;
        Ok(Label { file: file.clone(), calls, speech_s: entry["speech_s"].as_f64() })
    };
    entries.iter().map(label).collect()
}

fn calls_from(entry: &Value) -> Result<Vec<Call>, String> {
    let Value::Object(fields) = entry else {
        return Err("must be an object with intent or calls".to_owned());
    };
    match (fields.get("intent"), fields.get("calls")) {
        (Some(Value::Null), None) | (None, Some(Value::Null)) => Ok(Vec::new()),
        (Some(_), None) => call_from(entry).map(|call| vec![call]),
        (None, Some(Value::Array(calls))) if calls.len() <= MAX_CALLS => calls.iter().map(call_from).collect(),
        (None, Some(Value::Array(_))) => Err(format!("more than {MAX_CALLS} calls")),
        (None, Some(_)) => Err("calls must be a list".to_owned()),
        (Some(_), Some(_)) => Err("has both intent and calls".to_owned()),
        (None, None) => Err("has neither intent nor calls".to_owned()),
    }
}

fn call_from(value: &Value) -> Result<Call, String> {
    let Some(intent) = value.get("intent").and_then(Value::as_str) else {
        return Err("intent must be a string".to_owned());
    };
    let slots = match value.get("slots") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(slots)) => slots.clone(),
        Some(_) => return Err("slots must be an object".to_owned()),
    };
    Ok(Call { intent: intent.to_owned(), slots })
}

/// Scores what was called against what should have been.
///
/// `expected` holds at most [`MAX_CALLS`] calls; more are not matched.
#[must_use]
pub fn score(expected: &[Call], heard: &[Call]) -> Score {
    let searched = &expected[..expected.len().min(MAX_CALLS)];
    let all = |fits: fn(&Call, &Call) -> bool| {
        let assigned = assign(searched, heard, |label, call| usize::from(fits(label, call)));
        expected.len() == heard.len() && assigned.iter().flatten().count() == expected.len()
    };
    // What each slot is compared with: the assignment with most slots right, whole calls and tools first.
    let pairs = assign(searched, heard, |label, call| {
        if same_text(&label.intent, &call.intent) {
            let right = label.slots.iter().filter(|(name, value)| same_slot(value, call.slots.get(*name))).count();
            1 + right + if is_right(label, call) { label.slots.len() + 1 } else { 0 }
        } else {
            0
        }
    });
    let mut arguments = BTreeMap::<String, (usize, usize)>::new();
    for (index, label) in expected.iter().enumerate() {
        let call = pairs.get(index).copied().flatten().map(|pair| &heard[pair]);
        for (name, value) in &label.slots {
            let (labelled, right) = arguments.entry(name.clone()).or_default();
            *labelled += 1;
            *right += usize::from(call.is_some_and(|call| same_slot(value, call.slots.get(name))));
        }
    }
    Score { right: all(is_right), strict: all(is_strict), arguments }
}

/// For each label the call that it is assigned to, so that the sum of weights is greatest. Weight 0 is no match.
///
/// Over all subsets of the labels: 2^labels * calls * labels steps.
fn assign(labels: &[Call], calls: &[Call], weight: impl Fn(&Call, &Call) -> usize) -> Vec<Option<usize>> {
    let subsets = 1_usize << labels.len();
    // best[subset]: weight and assignment when exactly these labels have a call.
    let mut best: Vec<Option<(usize, Vec<Option<usize>>)>> = vec![None; subsets];
    best[0] = Some((0, vec![None; labels.len()]));
    for (index, call) in calls.iter().enumerate() {
        // From full to empty, so that one call is given to one label only.
        for subset in (0..subsets).rev() {
            let Some((sum, assigned)) = best[subset].clone() else { continue };
            for (bit, label) in labels.iter().enumerate() {
                let weight = weight(label, call);
                let with = subset | 1 << bit;
                if with == subset || weight == 0 || best[with].as_ref().is_some_and(|(best, _)| *best >= sum + weight) {
                    continue;
                }
                let mut assigned = assigned.clone();
                assigned[bit] = Some(index);
                best[with] = Some((sum + weight, assigned));
            }
        }
    }
    let heaviest = best.into_iter().flatten().max_by_key(|(sum, _)| *sum);
    heaviest.map(|(_, assigned)| assigned).unwrap_or_default()
}

fn is_right(label: &Call, call: &Call) -> bool {
    same_text(&label.intent, &call.intent)
        && label.slots.iter().all(|(name, value)| same_slot(value, call.slots.get(name)))
}

fn is_strict(label: &Call, call: &Call) -> bool {
    let too_many = |(name, value): (&String, &Value)| !value.is_null() && !label.slots.contains_key(name);
    is_right(label, call) && !call.slots.iter().any(too_many)
}

fn same_slot(label: &Value, given: Option<&Value>) -> bool {
    same_value(label, given.unwrap_or(&Value::Null))
}

fn same_text(a: &str, b: &str) -> bool {
    a.trim().to_lowercase() == b.trim().to_lowercase()
}

fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same_value(value, other)))
        }
        _ => match (number(a), number(b), text(a), text(b)) {
            (Some(a), Some(b), _, _) => (a - b).abs() <= f64::EPSILON * a.abs().max(b.abs()),
            (_, _, Some(a), Some(b)) => same_text(&a, &b),
            _ => false,
        },
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// Hears every labelled clip of a folder and scores it.
///
/// `hear` gets the path of a clip and gives back what was heard, or why the clip could not be heard. `progress` is told before each clip how many are done, and
/// at the end, of how many.
///
/// # Errors
/// When the labels cannot be read or clips are missing; nothing is heard then.
pub fn run(
    dir: &Path,
    mut hear: impl FnMut(&Path) -> Result<Heard, String>,
    mut progress: impl FnMut(usize, usize),
) -> Result<Report, EvalError> {
    let labels = read_labels(dir)?;
    let mut tally = Tally::default();
    for (done, label) in labels.iter().enumerate() {
        progress(done, labels.len());
        tally.add(label, hear(&dir.join(&label.file)));
    }
    progress(labels.len(), labels.len());
    Ok(tally.report())
}

/// Clip after clip, what [`Report`] is made of.
#[derive(Debug, Default)]
pub struct Tally {
    report: Report,
    right: usize,
    strict: usize,
    latencies_ms: Vec<f64>,
    margins: Vec<(f64, bool)>,
}

impl Tally {
    /// Adds a clip: what was heard, or why it could not be heard.
    pub fn add(&mut self, label: &Label, heard: Result<Heard, String>) {
        let (calls, margin, error) = match heard {
            Ok(heard) => {
                self.latencies_ms.extend(heard.latency_ms);
                (heard.calls.iter().map(Call::from).collect(), heard.margin, None)
            }
            Err(error) => (Vec::new(), None, Some(error)),
        };
        let mut score = score(&label.calls, &calls);
        if error.is_some() {
            self.report.failed += 1;
            (score.right, score.strict) = (false, false);
        }
        self.margins.extend(margin.map(|margin| (margin, score.right)));
        self.report.clips += 1;
        self.right += usize::from(score.right);
        self.strict += usize::from(score.strict);
        if label.calls.is_empty() {
            self.report.no_call_clips += 1;
            self.report.false_calls += usize::from(!calls.is_empty());
        }
        for (name, (labelled, right)) in score.arguments {
            let count = self.report.argument_counts.entry(name).or_default();
            count.labelled += labelled;
            count.right += right;
        }
        if !score.right {
            self.report.misses.push(Miss {
                file: label.file.clone(),
                expected: label.calls.clone(),
                heard: calls,
                error,
            });
        }
    }

    /// The figures over all that was added.
    #[must_use]
    pub fn report(mut self) -> Report {
        let mut report = self.report;
        report.accuracy = share(self.right, report.clips).unwrap_or(0.0);
        report.accuracy_strict = share(self.strict, report.clips).unwrap_or(0.0);
        report.false_call_share = share(report.false_calls, report.no_call_clips);
        report.per_argument = report
            .argument_counts
            .iter()
            .filter_map(|(name, count)| Some((name.clone(), share(count.right, count.labelled)?)))
            .collect();
        report.curve = curve(&self.margins);
        self.latencies_ms.sort_by(f64::total_cmp);
        report.latency_ms =
            Latency { p50: percentile(&self.latencies_ms, 50), p95: percentile(&self.latencies_ms, 95) };
        report
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of clips are far below 2^52")]
fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The least value that `percent` of the sorted values do not exceed.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
        let mut row = |name: &str, value: String| writeln!(out, "{name:<22}{value:>10}");
        row("clips", self.clips.to_string())?;
        row("accuracy", percent(self.accuracy))?;
        row("accuracy_strict", percent(self.accuracy_strict))?;
        let of = self.no_call_clips;
        row("false_calls", format!("{} of {of}", self.false_calls))?;
        for (name, share) in &self.per_argument {
            row(&format!("argument {name}"), percent(*share))?;
        }
        for point in &self.curve {
            let name = format!("answered {:.0} %", point.share * 100.0);
            row(&name, format!("{:>10} right, margin {:.2}", percent(point.accuracy), point.margin))?;
        }
        row("latency p50", ms(self.latency_ms.p50))?;
        row("latency p95", ms(self.latency_ms.p95))?;
        if let Some(streamed) = &self.streamed {
            writeln!(out, "{streamed}")?;
        }
        let mut row = |name: &str, value: String| writeln!(out, "{name:<22}{value:>10}");
        if self.failed > 0 {
            row("could not be heard", self.failed.to_string())?;
        }
        let (failed, wrong): (Vec<&Miss>, Vec<&Miss>) = self.misses.iter().partition(|miss| miss.error.is_some());
        write_first(out, failed.into_iter().chain(wrong), self.misses.len())
    }
}

/// Writes the first of `n` misses, and how many more there are.
fn write_first(out: &mut fmt::Formatter<'_>, misses: impl Iterator<Item: fmt::Display>, n: usize) -> fmt::Result {
    for miss in misses.take(MAX_SHOWN) {
        writeln!(out, "{miss}")?;
    }
    match n.saturating_sub(MAX_SHOWN) {
        0 => Ok(()),
        more => writeln!(out, "and {more} more; --json names all"),
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: expected {}, ", self.file, spelled(&self.expected))?;
        match &self.error {
            Some(error) => write!(out, "could not be heard: {error}"),
            None => write!(out, "called {}", spelled(&self.heard)),
        }
    }
}

/// `turn_on {"kind":"light"} + timer_left {}`
fn spelled(calls: &[Call]) -> String {
    if calls.is_empty() {
        return "nothing".to_owned();
    }
    let call = |call: &Call| format!("{} {}", call.intent, Value::Object(call.slots.clone()));
    calls.iter().map(call).collect::<Vec<_>>().join(" + ")
}

#[cfg(test)]
mod tests;

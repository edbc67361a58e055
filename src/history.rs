//! The last turns: what was called, what came of it, what was said, and where the time went. One JSON object per line in
//! the state folder, readable by its owner only, and with `[record]` the sound of each turn beside it.
//!
//! Written by the daemon between two events (a few hundred bytes); read by `hearth history` and `hearth replay`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::ask::Action;
use crate::audio::wav;
use crate::audio::{Clip, MODEL_RATE_HZ};
use crate::config::Config;
use crate::failure::{Failure, UNREADABLE, USAGE};
use crate::terminal;
use crate::timeline::Timeline;

/// `[history]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// So many turns are kept; 0 keeps none.
    pub turns: usize,
    /// Ask the model in idle time what it heard in the turns whose sound is kept?
    pub transcribe: bool,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { turns: 200, transcribe: false }
    }
}

/// `[record]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordConfig {
    /// Keep the sound of the turns in the history?
    pub clips: bool,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It is going on, or the daemon ended first.
    #[default]
    Open,
    /// Answered, or there was nothing to do.
    Done,
    /// Interrupted, cancelled or muted.
    Cancelled,
    /// Nobody said anything.
    NothingSaid,
}

/// Milliseconds after the last sample of speech, computing and waiting together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct After {
    /// The endpoint was decided.
    pub endpoint_ms: Option<f64>,
    /// The first call was made.
    pub call_ms: Option<f64>,
    /// The home had answered the last call.
    pub done_ms: Option<f64>,
    /// The first sound of the reply went to the device.
    pub first_sound_ms: Option<f64>,
}

/// One turn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Its number; it goes on over restarts.
    pub turn: u64,
    /// When it began, in ms since 1970.
    pub at_unix_ms: u64,
    /// Why: the wake word and its score, the key, a question.
    pub by: String,
    /// How it ended.
    pub ending: Ending,
    /// Calls and their results.
    pub actions: Vec<Action>,
    /// What was said.
    pub said: String,
    /// Times after the last sample of speech.
    pub after: After,
    /// The model's times.
    pub timeline: Timeline,
    /// What the model wrote down when it was asked later what it had heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard: Option<String>,
}

/// The history of a daemon.
#[derive(Debug)]
pub struct History {
    dir: PathBuf,
    keep: usize,
    /// Lines in the file.
    lines: usize,
    /// The last line was cut short, by a power failure most likely.
    is_torn: bool,
}

fn file(dir: &Path) -> PathBuf {
    dir.join("history.jsonl")
}

fn clips(dir: &Path) -> PathBuf {
    dir.join("clips")
}

fn clip(dir: &Path, turn: u64) -> PathBuf {
    clips(dir).join(format!("{turn}.wav"))
}

fn private_folder(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

impl History {
    /// The history in a folder, which is made when it is needed, and the number of its last turn.
    pub fn open(dir: &Path, config: &HistoryConfig) -> (Self, u64) {
        let records = read(dir).unwrap_or_default();
        let last = records.last().map_or(0, |record| record.turn);
        let is_torn = fs::read(file(dir)).is_ok_and(|bytes| bytes.last().is_some_and(|&last| last != b'\n'));
        (Self { dir: dir.to_path_buf(), keep: config.turns, lines: records.len(), is_torn }, last)
    }

    /// Keeps a turn, and forgets the sound of those that are now too old.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&mut self, record: &Record) -> io::Result<()> {
        if self.keep == 0 {
            return Ok(());
        }
        private_folder(&self.dir)?;
        if self.lines >= self.keep * 2 {
            self.shorten()?;
        }
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(file(&self.dir))?;
        // One write: another reader never sees half a line that is not the last.
        let start = if std::mem::take(&mut self.is_torn) { "\n" } else { "" };
        file.write_all(format!("{start}{}\n", serde_json::to_string(record)?).as_bytes())?;
        self.lines += 1;
        self.forget_sound(record.turn)
    }

    /// Keeps the sound of a turn, 16 kHz.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_sound(&self, turn: u64, samples: Vec<f32>) -> io::Result<()> {
        if self.keep == 0 {
            return Ok(());
        }
        let path = clip(&self.dir, turn);
        private_folder(path.parent().unwrap_or(&self.dir))?;
        wav::write(&path, &Clip { samples, rate_hz: MODEL_RATE_HZ }).map_err(io::Error::other)
    }

    /// Removes the sound of turns that are too old at this one. Not every number is a turn with sound, and recording may
    /// have been turned off since, so that the whole folder is looked at, at every turn.
    fn forget_sound(&self, turn: u64) -> io::Result<()> {
        let Some(oldest) = turn.checked_sub(self.keep as u64) else { return Ok(()) };
        let entries = match fs::read_dir(clips(&self.dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let number = path.file_stem().and_then(|name| name.to_str()?.parse::<u64>().ok());
            // Other files are somebody else's, also with a name like `007.wav`.
            if number.is_some_and(|number| number <= oldest && path == clip(&self.dir, number)) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Adds to a turn what was found out later. One that is no longer there is passed over.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn add_heard(&mut self, turn: u64, heard: String) -> io::Result<()> {
        let mut records = read(&self.dir)?;
        match records.iter_mut().rev().find(|record| record.turn == turn) {
            Some(record) => record.heard = Some(heard),
            None => return Ok(()),
        }
        self.rewrite(&records)
    }

    /// Leaves the newest turns in the file.
    fn shorten(&mut self) -> io::Result<()> {
        let records = read(&self.dir)?;
        self.rewrite(&records[records.len().saturating_sub(self.keep)..])
    }

    /// Whoever reads meanwhile finds the old file or the new one.
    fn rewrite(&mut self, kept: &[Record]) -> io::Result<()> {
        let new = self.dir.join("history.jsonl.new");
        let mut out = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        for record in kept {
            writeln!(out, "{}", serde_json::to_string(record)?)?;
        }
        (self.lines, self.is_torn) = (kept.len(), false);
        fs::rename(&new, file(&self.dir))
    }
}

/// All turns that are kept, oldest first. Lines that are damaged are passed over.
///
/// # Errors
/// When the file cannot be read; that it is not there is no error.
pub fn read(dir: &Path) -> io::Result<Vec<Record>> {
    match fs::read_to_string(file(dir)) {
        Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// `hearth history`: the last `count` turns, newest last.
///
/// # Errors
/// When the history cannot be read.
pub fn run(config: &Config, count: usize, json: bool) -> Result<(), Failure> {
    let dir = config.state.path();
    let unreadable = |error: io::Error| Failure::new(UNREADABLE, format!("{}: {error}", file(&dir).display()));
    let (records, zone) = (read(&dir).map_err(unreadable)?, TimeZone::system());
    for record in &records[records.len().saturating_sub(count)..] {
        if json { terminal::json(record)? } else { terminal::line(described(record, &zone))? }
    }
    if records.is_empty() && !json {
        terminal::line("no turns yet")?;
    }
    Ok(())
}

/// The recording of a turn.
///
/// # Errors
/// When there is none.
pub fn recording(config: &Config, turn: u64) -> Result<PathBuf, Failure> {
    let path = clip(&config.state.path(), turn);
    if path.exists() {
        return Ok(path);
    }
    let hint = if config.record.clips { "" } else { "; `record.clips = true` keeps the sound of turns from then on" };
    Err(Failure::new(USAGE, format!("turn {turn} has no recording{hint}")))
}

/// What happened, and below it when each stage was reached, as far as that is known.
fn described(record: &Record, zone: &TimeZone) -> String {
    let at = i64::try_from(record.at_unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let at = at.unwrap_or_default().to_zoned_datetime(zone.clone()).strftime("%F %T");
    let mut text = format!("{at}  turn {} by {}: ", record.turn, record.by);
    match record.ending {
        Ending::NothingSaid => text.push_str("nothing said"),
        Ending::Cancelled => text.push_str("cancelled"),
        Ending::Open => text.push_str("not finished"),
        Ending::Done if record.actions.is_empty() => text.push_str("nothing to do"),
        Ending::Done => {}
    }
    let actions = record.actions.iter().map(|Action { call, result }| {
        let arguments = serde_json::Value::Object(call.arguments.clone());
        let margin = call.margin.map_or_else(String::new, |margin| format!(" (margin {margin:.2})"));
        format!("{} {arguments} {}{margin}", call.name, format!("{:?}", result.outcome).to_lowercase())
    });
    text.push_str(&actions.collect::<Vec<_>>().join(", "));
    if !record.said.is_empty() {
        text.push_str(&format!(" -- {}", record.said));
    }
    if let Some(heard) = &record.heard {
        text.push_str(&format!(" [heard: {heard}]"));
    }
    // What a model writes may hold anything; a terminal takes control characters for commands.
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    text.chain(stages(record).chars()).collect()
}

fn stages(Record { after, timeline, .. }: &Record) -> String {
    let stages = [
        ("end of speech", after.endpoint_ms),
        ("call", after.call_ms),
        ("done", after.done_ms),
        ("first sound", after.first_sound_ms),
    ];
    let known = stages.into_iter().filter_map(|(stage, ms)| Some(format!("{stage} {:.0}", ms?)));
    let known: Vec<_> = known.collect();
    let early = match (timeline.drafted_tokens, timeline.tokens) {
        (0, _) => String::new(),
        (drafted, tokens) => format!("; {drafted} of {tokens} tokens before the silence was over"),
    };
    if known.is_empty() { String::new() } else { format!("\n    ms after the last word: {}{early}", known.join(", ")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::dialogue::ToolCall;
    use crate::home::done;

    fn record(turn: u64) -> Record {
        Record { turn, by: "key".into(), ending: Ending::NothingSaid, ..Record::default() }
    }

    #[test]
    fn the_newest_turns_are_kept_and_damage_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let config = HistoryConfig { turns: 3, ..HistoryConfig::default() };
        let (mut history, last) = History::open(dir.path(), &config);
        assert_eq!(last, 0);
        for turn in 1..=7 {
            history.keep(&record(turn)).unwrap();
        }
        let turns = |dir: &Path| read(dir).unwrap().iter().map(|record| record.turn).collect::<Vec<_>>();
        assert_eq!(turns(dir.path()), [4, 5, 6, 7]);
        // A line that power failure cut short.
        let mut torn = OpenOptions::new().append(true).open(file(dir.path())).unwrap();
        torn.write_all(b"{\"turn\": 8, \"by\"").unwrap();
        let (mut history, last) = History::open(dir.path(), &config);
        assert_eq!((turns(dir.path()), last), (vec![4, 5, 6, 7], 7));
        history.keep(&record(8)).unwrap();
        assert_eq!(turns(dir.path()), [4, 5, 6, 7, 8]);

        // What was found out later is added to its turn, and to no other.
        history.add_heard(7, "lights on".into()).unwrap();
        history.add_heard(99, "nothing".into()).unwrap();
        history.keep(&record(9)).unwrap();
        let heard: Vec<_> = read(dir.path()).unwrap().into_iter().map(|record| (record.turn, record.heard)).collect();
        assert_eq!(heard[3..], [(7, Some("lights on".into())), (8, None), (9, None)]);
    }

    #[test]
    fn none_is_kept_when_none_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let (mut history, _) =
            History::open(&dir.path().join("state"), &HistoryConfig { turns: 0, ..HistoryConfig::default() });
        history.keep(&record(1)).unwrap();
        history.keep_sound(1, vec![0.0; 160]).unwrap();
        assert!(!dir.path().join("state").exists());
    }

    #[test]
    fn clips_beyond_the_last_turns_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let clips = dir.path().join("clips");
        let (mut history, _) = History::open(dir.path(), &HistoryConfig { turns: 2, ..HistoryConfig::default() });
        let mut after = |turn: u64, has_sound: bool| {
            history.keep(&record(turn)).unwrap();
            if has_sound {
                history.keep_sound(turn, vec![0.0; 160]).unwrap();
            }
            let names = fs::read_dir(&clips).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(after(1, true), ["1.wav"]);
        assert_eq!(after(2, true), ["1.wav", "2.wav"]);
        // Turns without sound use up numbers, and so do announcements, which are no turns.
        assert_eq!(after(3, false), ["2.wav"]);
        assert_eq!(after(5, true), ["5.wav"]);
        // What somebody else put there is left alone, also under a name that is almost one of ours.
        for other in ["5.flac", "05.wav", "notes.wav"] {
            fs::write(dir.path().join("clips").join(other), "mine").unwrap();
        }
        assert_eq!(after(9, false), ["05.wav", "5.flac", "notes.wav"]);
    }

    #[test]
    fn a_turn_is_described() {
        let check = |record: &Record, text: &str| assert_eq!(described(record, &TimeZone::UTC), text);
        let at_unix_ms = 1_795_898_467_890;
        check(&Record { at_unix_ms, ..record(4) }, "2026-11-28 20:41:07  turn 4 by key: nothing said");
        let call = |room: &str, margin| {
            let arguments = serde_json::json!({"room": room}).as_object().cloned().unwrap();
            ToolCall { margin, ..ToolCall::new("turn_on", arguments) }
        };
        let action = |call: ToolCall| Action { result: done(&call.name, "On.".into()), call };
        let full = Record {
            at_unix_ms,
            ending: Ending::Done,
            actions: vec![action(call("stove", Some(0.4249))), action(call("hallway", None))],
            said: "Both\nare on.".into(),
            after: After { endpoint_ms: Some(712.4), call_ms: Some(713.0), done_ms: None, first_sound_ms: Some(801.6) },
            timeline: Timeline { tokens: 11, drafted_tokens: 7, ..Timeline::default() },
            heard: Some("lights on".into()),
            ..record(5)
        };
        check(
            &full,
            "2026-11-28 20:41:07  turn 5 by key: turn_on {\"room\":\"stove\"} done (margin 0.42), \
             turn_on {\"room\":\"hallway\"} done -- Both are on. [heard: lights on]\n    \
             ms after the last word: end of speech 712, call 713, first sound 802; \
             7 of 11 tokens before the silence was over",
        );
    }
}

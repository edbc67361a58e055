//! How well a model serves a home, by text: sentences in, changes of the home compared with those that were wanted.
//!
//! Reading and scoring; whoever calls [`run`] has the model and the home. The folder is in the manner of
//! home-assistant-datasets: `home.json` describes devices and how they are, `tasks.json` what is said and what should come
//! of it. Every sentence is said in the home as described, changed by the task's `setup`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{EvalError, share, write_first};
use crate::dialogue::ToolCall;
use crate::home::device::State;
use crate::home::simulated::Furniture;

/// Fields of a device's state, by device.
pub type Changes = BTreeMap<String, Map<String, Value>>;

/// `home.json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Home {
    /// The room that the speaker is in.
    pub here: Option<String>,
    /// What stands in it.
    pub devices: Vec<Furniture>,
}

/// An entry of `tasks.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// What sort of task it is; the report counts each by itself.
    #[serde(default)]
    pub category: String,
    /// What is said, each by itself.
    pub sentences: Vec<String>,
    /// How things are before, where that differs from `home.json`.
    #[serde(default)]
    pub setup: Changes,
    /// What should have changed, and to what; all else should be as before.
    #[serde(default)]
    pub expect_changes: Changes,
    /// Fields that may change or not, by device.
    #[serde(default)]
    pub ignore_changes: BTreeMap<String, Vec<String>>,
    /// Words of which one should be in the answer; empty: it may say what it likes.
    #[serde(default)]
    pub expect_response: Vec<String>,
}

/// What came of one sentence.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Served {
    /// The states before, by device.
    pub before: BTreeMap<String, State>,
    /// The states after.
    pub after: BTreeMap<String, State>,
    /// What was called.
    pub calls: Vec<ToolCall>,
    /// What was said.
    pub said: String,
}

/// A sentence after which the home was not as wanted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Miss {
    /// The sentence.
    pub sentence: String,
    /// What should have changed.
    pub expected: Changes,
    /// What did.
    pub changed: Changes,
    /// What was called.
    pub calls: Vec<ToolCall>,
    /// What was said.
    pub said: String,
    /// Why nothing came of it at all.
    pub error: Option<String>,
}

/// A category of tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Sentences.
    pub sentences: usize,
    /// After which all was as wanted.
    pub right: usize,
}

/// The figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// All sentences.
    pub sentences: usize,
    /// Share of them after which all was as wanted; 0 to 1.
    pub accuracy: f64,
    /// By category.
    pub categories: BTreeMap<String, Count>,
    /// Sentences that the model could not take.
    pub failed: usize,
    /// All that is not right.
    pub misses: Vec<Miss>,
}

/// Is this a folder of tasks, and not one of recordings?
#[must_use]
pub fn is_here(dir: &Path) -> bool {
    dir.join("tasks.json").is_file()
}

/// Reads `home.json` and `tasks.json`.
///
/// # Errors
/// The message names the file and what is wrong with it.
pub fn read(dir: &Path) -> Result<(Home, Vec<Task>), EvalError> {
    fn json<T: for<'de> Deserialize<'de>>(dir: &Path, name: &str) -> Result<T, EvalError> {
        let path = dir.join(name);
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|source| EvalError::Unreadable { path: path.clone(), source })?;
        serde_json::from_str(&text).map_err(|error| EvalError::BadLabels { path, reason: error.to_string() })
    }
    let (home, tasks): (Home, Vec<Task>) = (json(dir, "home.json")?, json(dir, "tasks.json")?);
    let bad = |reason: String| EvalError::BadLabels { path: dir.join("tasks.json"), reason };
    if tasks.iter().all(|task| task.sentences.is_empty()) {
        return Err(bad("there is no sentence in it".to_owned()));
    }
    let known = |id: &String| home.devices.iter().any(|device| device.device.id == *id);
    for task in &tasks {
        let named = task.setup.keys().chain(task.expect_changes.keys()).chain(task.ignore_changes.keys());
        if let Some(id) = named.into_iter().find(|id| !known(id)) {
            return Err(bad(format!("home.json has no {id}")));
        }
        for fields in task.setup.values().chain(task.expect_changes.values()) {
            merged(&State::default(), fields).map_err(bad)?;
        }
    }
    Ok((home, tasks))
}

/// A state with some of its fields replaced.
///
/// # Errors
/// What is wrong with the fields.
pub fn merged(state: &State, fields: &Map<String, Value>) -> Result<State, String> {
    let mut all = map(state);
    if let Some(field) = fields.keys().find(|field| !FIELDS.contains(&field.as_str())) {
        return Err(format!("a state has no {field}"));
    }
    all.extend(fields.clone());
    serde_json::from_value(Value::Object(all)).map_err(|error| error.to_string())
}

/// Fields of a state.
const FIELDS: [&str; 10] =
    ["on", "brightness", "color", "position", "locked", "target_c", "current_c", "playing", "volume", "text"];

fn map(state: &State) -> Map<String, Value> {
    serde_json::to_value(state).ok().and_then(|value| value.as_object().cloned()).unwrap_or_default()
}

/// What changed, field by field.
fn changes(served: &Served) -> Changes {
    let mut found = Changes::new();
    for (id, after) in &served.after {
        let before = served.before.get(id).map(map).unwrap_or_default();
        let fields = map(after).into_iter().filter(|(field, value)| before.get(field) != Some(value));
        let fields: Map<String, Value> = fields.collect();
        if !fields.is_empty() {
            found.insert(id.clone(), fields);
        }
    }
    found
}

/// Is the home as the task wants it, and was said what it wants?
fn is_right(task: &Task, served: &Served, changed: &Changes) -> bool {
    let wanted =
        |id: &String, field: &String| task.expect_changes.get(id).is_some_and(|fields| fields.contains_key(field));
    let ignored =
        |id: &String, field: &String| task.ignore_changes.get(id).is_some_and(|fields| fields.contains(field));
    let came = task.expect_changes.iter().all(|(id, fields)| {
        let after = served.after.get(id).map(map).unwrap_or_default();
        fields.iter().all(|(field, value)| after.get(field).is_some_and(|now| super::same_value(value, now)))
    });
    let no_more = changed.iter().all(|(id, fields)| fields.keys().all(|field| wanted(id, field) || ignored(id, field)));
    let said = served.said.to_lowercase();
    let answered = task.expect_response.is_empty()
        || task.expect_response.iter().any(|words| said.contains(&words.to_lowercase()));
    came && no_more && answered
}

/// Says every sentence and looks at what came of it. `serve` sets the home up and says one; `progress` is told how many are
/// done, of how many.
pub fn run(
    tasks: &[Task],
    mut serve: impl FnMut(&Task, &str) -> Result<Served, String>,
    mut progress: impl FnMut(usize, usize),
) -> Report {
    let mut report = Report::default();
    let all = tasks.iter().map(|task| task.sentences.len()).sum();
    for (task, sentence) in tasks.iter().flat_map(|task| task.sentences.iter().map(move |sentence| (task, sentence))) {
        progress(report.sentences, all);
        let served = serve(task, sentence);
        let error = served.as_ref().err().cloned();
        let served = served.unwrap_or_default();
        let changed = changes(&served);
        let right = error.is_none() && is_right(task, &served, &changed);
        report.sentences += 1;
        report.failed += usize::from(error.is_some());
        let count = report.categories.entry(task.category.clone()).or_default();
        (count.sentences, count.right) = (count.sentences + 1, count.right + usize::from(right));
        if !right {
            let (sentence, expected) = (sentence.clone(), task.expect_changes.clone());
            let Served { calls, said, .. } = served;
            report.misses.push(Miss { sentence, expected, changed, calls, said, error });
        }
    }
    progress(report.sentences, all);
    let right = report.categories.values().map(|count| count.right).sum();
    report.accuracy = share(right, report.sentences).unwrap_or(0.0);
    report
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:<22}{:>10}", "sentences", self.sentences)?;
        writeln!(out, "{:<22}{:>8.1} %", "accuracy", self.accuracy * 100.0)?;
        for (category, count) in self.categories.iter().filter(|(category, _)| !category.is_empty()) {
            writeln!(out, "{category:<22}{:>10}", format!("{} of {}", count.right, count.sentences))?;
        }
        write_first(out, self.misses.iter(), self.misses.len())
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = |changes: &Changes| serde_json::to_string(changes).unwrap_or_default();
        write!(out, "{}: expected {}, ", self.sentence, json(&self.expected))?;
        match &self.error {
            Some(error) => write!(out, "could not be taken: {error}"),
            None => write!(out, "changed {}, said {:?}", json(&self.changed), self.said),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_home_is_right_when_what_was_wanted_changed_and_nothing_else() {
        let check = |task: Value, after: Value, said: &str, expected: bool| {
            let task: Task = serde_json::from_value(task).expect("a task");
            let before = State { on: Some(false), brightness: Some(100), ..State::default() };
            let after = merged(&before, after.as_object().expect("an object")).expect("a state");
            let state = |state: State| BTreeMap::from([("light.a".to_owned(), state)]);
            let served =
                Served { before: state(before), after: state(after), calls: Vec::new(), said: said.to_owned() };
            let report = run(std::slice::from_ref(&task), |_, _| Ok(served.clone()), |_, _| ());
            assert_eq!(report.misses.is_empty(), expected, "{task:?} {said}");
            assert_eq!(report.categories[&task.category].right, usize::from(expected));
        };
        let on = json!({"sentences": ["x"], "expect_changes": {"light.a": {"on": true}}});
        check(on.clone(), json!({"on": true}), "", true);
        check(on.clone(), json!({}), "", false);
        check(on.clone(), json!({"on": true, "brightness": 50}), "", false);
        let mut lenient = on;
        lenient["ignore_changes"] = json!({"light.a": ["brightness"]});
        check(lenient, json!({"on": true, "brightness": 50}), "", true);
        let asked = json!({"sentences": ["x"], "category": "questions", "expect_response": ["is off", "not on"]});
        check(asked.clone(), json!({}), "The lamp is OFF: it is off.", true);
        check(asked.clone(), json!({}), "It is on.", false);
        check(asked, json!({"on": true}), "It is off.", false);
        // What was so before is as wanted.
        let off = json!({"sentences": ["x"], "expect_changes": {"light.a": {"on": false}}});
        check(off, json!({}), "", true);
    }

    #[test]
    fn fields_that_no_state_has_are_named() {
        let wrong = json!({"onn": true});
        let error = merged(&State::default(), wrong.as_object().expect("an object")).expect_err("no such field");
        assert_eq!(error, "a state has no onn");
    }
}

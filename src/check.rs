//! `hearth check`: looks at everything a turn needs and names every problem in one run.

use crate::ask;
use crate::cli::{CONFIG, Failure, UNAVAILABLE};
use crate::config::{Config, ConfigError};
use crate::model::Gemma;
use crate::model::manifest::Folder;
use crate::onnx;
use crate::speech;

/// Collects findings and prints them as they come.
#[derive(Debug, Default)]
struct Findings {
    code: u8,
    problems: usize,
}

impl Findings {
    /// Prints `ok` with the note, or the problem; gives the value when there is one.
    fn look<T, E: Into<Failure>>(
        &mut self,
        what: &str,
        result: Result<T, E>,
        note: impl Fn(&T) -> String,
    ) -> Option<T> {
        match result {
            Ok(value) => {
                println!("ok       {what}: {}", note(&value));
                Some(value)
            }
            Err(error) => {
                self.problem(what, error.into());
                None
            }
        }
    }

    fn problem(&mut self, what: &str, failure: Failure) {
        println!("PROBLEM  {what}: {}", failure.message);
        self.problems += 1;
        // A mistake in the configuration is to be mended first.
        self.code = self.code.max(failure.code);
    }
}

/// Checks all. `full` verifies the sum of every model file; `no_load` opens nothing.
///
/// # Errors
/// When there was a problem: 78 when the configuration has one, else 69.
pub fn run(config: Result<Config, ConfigError>, full: bool, no_load: bool) -> Result<(), Failure> {
    let mut findings = Findings::default();
    let config = findings.look("configuration", config, |config| config.path.display().to_string());
    if let Some(config) = config {
        for problem in config.problems() {
            findings.problem("configuration", problem.into());
        }
        let folder = model_files(&mut findings, &config, full);
        let runtime = if no_load {
            findings.look("ONNX Runtime", onnx::examine(&config.runtime.onnxruntime), |()| "present".into())
        } else {
            findings.look("ONNX Runtime", onnx::init(&config.runtime.onnxruntime), |()| "opened".into())
        };
        voice_files(&mut findings, &config);
        if let (Some(folder), Some(()), false) = (folder, runtime, no_load) {
            parts(&mut findings, &config, &folder);
        }
    }
    match findings.problems {
        0 => Ok(()),
        n => Err(Failure::new(findings.code, format!("{n} problem{}", if n == 1 { "" } else { "s" }))),
    }
}

fn model_files(findings: &mut Findings, config: &Config, full: bool) -> Option<Folder> {
    let read = Folder::read(&config.model.dir).map_err(|e| Failure::new(UNAVAILABLE, e));
    let folder = findings.look("model folder", read, |folder| {
        let manifest = &folder.manifest;
        format!("{} ({:?}, {} rows of context)", manifest.name, manifest.layout, manifest.max_context)
    })?;
    let wrong = if full { folder.wrong_sums() } else { folder.wrong_sizes() };
    let sound = wrong.is_empty();
    for problem in wrong {
        findings.problem("model file", Failure::new(UNAVAILABLE, problem));
    }
    if sound {
        let what = if full { "sums" } else { "sizes" };
        println!("ok       model files: {} {what} agree", folder.manifest.files.len());
    }
    unknown_names(findings, config, &folder);
    Some(folder)
}

fn voice_files(findings: &mut Findings, config: &Config) {
    let graph = config.speech.voice.clone();
    let mut description = graph.clone().into_os_string();
    description.push(".json");
    for path in [graph, description.into()] {
        let read = std::fs::File::open(&path);
        let read = read.map_err(|e| Failure::new(UNAVAILABLE, format!("voice file {}: {e}", path.display())));
        findings.look("voice file", read, |_| path.display().to_string());
    }
}

/// A model with a closed list of rooms and kinds cannot know other names.
fn unknown_names(findings: &mut Findings, config: &Config, folder: &Folder) {
    let vocabulary = &folder.manifest.vocabulary;
    let unknown = |known: &[String], name: &str| !known.is_empty() && !known.iter().any(|k| k == name);
    for (room, kinds) in &config.home.rooms {
        let mut names = Vec::new();
        names.extend(unknown(&vocabulary.rooms, room).then_some(room));
        names.extend(kinds.iter().filter(|kind| unknown(&vocabulary.kinds, kind)));
        for name in names {
            let message = format!("`{name}` under home.rooms is a name that this model was not trained on");
            findings.problem("home", Failure::new(CONFIG, message));
        }
    }
}

fn parts(findings: &mut Findings, config: &Config, folder: &Folder) {
    let registry = findings.look("home", ask::home(config), |registry| format!("{} tools", registry.specs().len()));
    if let Some(registry) = registry {
        let model = Gemma::load(config.model.clone(), &registry.specs());
        findings.look("model", model, |_| format!("{} graphs opened, contract holds", folder.manifest.parts.len()));
    }
    let mut language = String::new();
    let spoken = ask::voice(config).and_then(|mut voice| {
        voice.language().clone_into(&mut language);
        speech::say(&mut voice, "Ready.")
    });
    findings.look("speech", spoken, |clip| format!("{language}, {:.1} s synthesised", clip.seconds()));
}

//! `hearth check`: looks at everything a turn needs and names every problem in one run.

use crate::ask::{self, Household, Presence};
use crate::config::{Config, ConfigError};
use crate::dialogue::Declared;
use crate::failure::{CONFIG, Failure, UNAVAILABLE};
use crate::home::device::{Health, SIMULATED};
use crate::home::timers::{SharedTimers, clock};
use crate::listen::wake::WakeWords;
use crate::model::Gemma;
use crate::model::generate::ModelConfig;
use crate::model::manifest::Folder;
use crate::model::parts::Parts;
use crate::{household, onnx, speech, terminal};

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
                self.good(what, note(&value));
                Some(value)
            }
            Err(error) => {
                self.problem(what, error.into());
                None
            }
        }
    }

    fn good(&mut self, what: &str, note: impl std::fmt::Display) {
        self.print(format_args!("ok       {what}: {note}"));
    }

    /// What cannot be printed is a problem too, but nobody is left to tell.
    fn print(&mut self, line: std::fmt::Arguments<'_>) {
        if let Err(failure) = terminal::line(line) {
            self.code = self.code.max(failure.code);
            self.problems += 1;
        }
    }

    fn problem(&mut self, what: &str, failure: Failure) {
        self.print(format_args!("PROBLEM  {what}: {}", failure.message));
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
        let (folder, sound) = model_files(&mut findings, &config, full);
        let examined = onnx::examine(&config.runtime.onnxruntime);
        let runtime = examined.and_then(|()| if no_load { Ok(()) } else { onnx::init(&config.runtime.onnxruntime) });
        let path = config.runtime.onnxruntime.display().to_string();
        let runtime = findings.look("runtime", runtime, |()| path.clone());
        voice_files(&mut findings, &config);
        let wakes = wake_files(&mut findings, &config);
        let home = home(&mut findings, &config, no_load);
        if runtime.is_some() && !no_load {
            if let (Some(folder), Some(mut home), true) = (folder, home, sound) {
                model_parts(&mut findings, &config, folder, home.teller.told());
            }
            speaks(&mut findings, &config);
            if wakes {
                let words = WakeWords::load(&config.wake.dir, &config.wake.words, config.wake.stop().as_ref());
                findings.look("wake words", words, |_| "graphs fit".to_owned());
            }
        }
    }
    match findings.problems {
        0 => Ok(()),
        n => Err(Failure::new(findings.code, format!("{n} problem{}", if n == 1 { "" } else { "s" }))),
    }
}

/// The home: what is configured, and unless nothing is to be connected whether its servers let hearth in. It looks in as
/// a guest, of which a broker shows nothing.
fn home(findings: &mut Findings, config: &Config, no_load: bool) -> Option<Household> {
    let presence = if no_load { Presence::Away } else { Presence::Visit };
    let timers = SharedTimers::new(clock());
    let home = ask::household_with(config, timers, presence);
    let home = findings.look("home", home, |home| format!("{} tools", home.tools.specs().len()))?;
    household::met(&home.house);
    let servers = home.house.health().into_iter().filter(|(name, _)| *name != SIMULATED);
    for (name, health) in servers {
        let devices = || home.house.devices().len();
        match health {
            Health::Ready => findings.good(name, format!("{}, {} devices in all", household::told(&health), devices())),
            _ => findings.problem(name, Failure::new(UNAVAILABLE, household::told(&health))),
        }
    }
    Some(home)
}

/// The folder, and whether its files are as they should be.
fn model_files(findings: &mut Findings, config: &Config, full: bool) -> (Option<Folder>, bool) {
    let read = Folder::read(&config.model.dir);
    let folder = findings.look("model folder", read, |folder| {
        let manifest = &folder.manifest;
        format!("{} ({:?}, {} rows of context)", manifest.name, manifest.layout, manifest.max_context)
    });
    let Some(folder) = folder else { return (None, false) };
    if full {
        terminal::notice("computing checksums");
    }
    let wrong = if full { folder.wrong_sums() } else { folder.wrong_sizes() };
    let sound = wrong.is_empty();
    for problem in wrong {
        findings.problem("model file", problem.into());
    }
    if sound {
        let note = match (folder.manifest.files.len(), full) {
            (0, _) => "present; no sizes or sums are known of a published folder".to_owned(),
            (n, true) => format!("{n} sums agree"),
            (n, false) => format!("{n} sizes agree"),
        };
        findings.good("model files", note);
    }
    unknown_names(findings, config, &folder);
    (Some(folder), sound)
}

fn voice_files(findings: &mut Findings, config: &Config) {
    let graph = config.speech.voice.clone();
    let mut description = graph.clone().into_os_string();
    description.push(".json");
    for path in [graph, description.into()] {
        let read = std::fs::File::open(&path);
        let read = read.map_err(|e| Failure::new(UNAVAILABLE, format!("{}: {e}", path.display())));
        findings.look("voice file", read, |_| path.display().to_string());
    }
}

/// The graphs of wake words and stop word, if there is to be any. True when there is, and all files are there.
fn wake_files(findings: &mut Findings, config: &Config) -> bool {
    let words: Vec<String> = config.wake.all().into_iter().map(|word| word.word).collect();
    if words.is_empty() {
        return false;
    }
    let shared = ["melspectrogram", "embedding_model"].map(str::to_owned);
    let file = |name: &String| config.wake.dir.join(format!("{}.onnx", name.replace(' ', "_")));
    let missing = shared.iter().chain(&words).map(file);
    let missing: Vec<_> = missing.filter(|path| !path.is_file()).collect();
    for path in &missing {
        let message = format!("{}: there is no such file", path.display());
        findings.problem("wake words", Failure::new(UNAVAILABLE, message));
    }
    if missing.is_empty() {
        findings.good("wake words", words.join(", "));
    }
    missing.is_empty()
}

/// A model with a closed list of rooms and kinds cannot know other names.
fn unknown_names(findings: &mut Findings, config: &Config, folder: &Folder) {
    let vocabulary = &folder.manifest.vocabulary;
    let unknown = |known: &[String], name: &str| !known.is_empty() && !known.iter().any(|k| k == name);
    for (room, kinds) in &config.home.simulated.rooms {
        let mut names = Vec::new();
        names.extend(unknown(&vocabulary.rooms, room).then_some(room));
        names.extend(kinds.iter().filter(|kind| unknown(&vocabulary.kinds, kind)));
        for name in names {
            let message = format!("`{name}` under home.simulated.rooms is a name that this model was not trained on");
            findings.problem("home", Failure::new(CONFIG, message));
        }
    }
}

/// Opens every part by itself, so that one that is broken does not hide another.
fn model_parts(findings: &mut Findings, config: &Config, folder: Folder, told: Declared) {
    terminal::notice("loading the model");
    let parts = Parts::open(&folder, &config.model, &told.tools);
    let faults = [
        parts.words.as_ref().err(),
        parts.hearing.as_ref().err(),
        parts.embedder.as_ref().err(),
        parts.decoder.as_ref().err(),
    ];
    let faults: Vec<Failure> = faults.into_iter().flatten().map(Failure::from).collect();
    if !faults.is_empty() {
        faults.into_iter().for_each(|fault| findings.problem("model", fault));
        return;
    }
    let graphs = folder.manifest.parts.len();
    let config = ModelConfig { system: told.system, ..config.model.clone() };
    let model = Gemma::assemble(folder, config, &told.tools, parts);
    findings.look("model", model, |_| format!("{graphs} graphs, contract holds"));
}

fn speaks(findings: &mut Findings, config: &Config) {
    let mut language = String::new();
    let spoken = ask::voice(config).and_then(|mut voice| {
        voice.language().clone_into(&mut language);
        speech::say(&mut voice, "Ready.")
    });
    findings.look("speech", spoken, |clip| format!("{language}, {:.1} s synthesised", clip.seconds()));
}

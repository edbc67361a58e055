//! `hearth eval DIR --ends`: where turns end, for several settings of the silence that ends them.
//!
//! Each recording is played to the listener as a microphone would, in pieces of 10 ms; the conversation decides, and the
//! model drafts, as in the daemon, but all on one thread and by a virtual clock: the time of the recording goes on only when
//! all that is to be done is done, so a draft takes none of it (the table says what drafts took by the real clock). Nothing is
//! carried out and nothing said. A turn begins with the first sample, as if a key had been tapped.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use super::BLOCK;
use crate::audio::{MODEL_RATE_HZ, wav};
use crate::config::Config;
use crate::conversation::{Conversation, EndSilences, Input, Job, Key, Output, TurnTaking};
use crate::dialogue::{Drafted, ReplyEvent, ToolCall, TurnId};
use crate::eval::ends::{Draft, Ends, Figures, Setting, Turn};
use crate::eval::{self, Call, EvalError, Label};
use crate::failure::{Failure, INTERNAL};
use crate::infer::{Report, Worker};
use crate::listen::ListenConfig;
use crate::listen::listener::{ListenCommand, ListenEvent, Listener};
use crate::model::{Gemma, ModelError, Respond};
use crate::onnx::Interrupt;
use crate::terminal;
use crate::threads::Pulse;
use crate::timeline::timed;
use crate::{ask, model, onnx};

/// Measures, and prints the table.
///
/// # Errors
/// As [`measure`].
pub fn run(config: &Config, dir: &Path, settings: &[Setting], json: bool) -> Result<(), Failure> {
    let ends = measure(config, dir, settings)?;
    if json { terminal::json(&ends) } else { terminal::line(&ends) }
}

/// Measures every setting on the labelled recordings of `dir`. Each label says in `speech_s` when the last word is over.
///
/// # Errors
/// When labels, recordings or parts are missing, or the model fails.
pub fn measure(config: &Config, dir: &Path, settings: &[Setting]) -> Result<Ends, Failure> {
    let clips = clips(dir)?;
    onnx::init(&config.runtime.onnxruntime)?;
    let ask::Household { mut teller, .. } = ask::household(config)?;
    let told = teller.told();
    terminal::notice("loading the model");
    let wanted = model::generate::ModelConfig { system: told.system, ..config.model.clone() };
    let mut gemma = Gemma::load(wanted, &told.tools)?;
    let mut figures = Vec::new();
    for (done, &setting) in settings.iter().enumerate() {
        let mut turns = Vec::new();
        for (at, (label, _)) in clips.iter().enumerate() {
            terminal::progress("turns", done * clips.len() + at, settings.len() * clips.len());
            let samples = wav::read_at(&dir.join(&label.file), MODEL_RATE_HZ)?.samples;
            turns.push(play(&mut gemma, config, setting, &samples)?);
        }
        figures.push(Figures::of(setting, &clips, &turns));
    }
    Ok(Ends { settings: figures })
}

/// Labels, and the end of the speech in each recording.
fn clips(dir: &Path) -> Result<Vec<(Label, f64)>, Failure> {
    let over = |label: Label| match label.speech_s {
        Some(speech_s) => Ok((label, speech_s)),
        None => {
            let reason = format!("{}: has no speech_s", label.file);
            Err(EvalError::BadLabels { path: dir.join("labels.json"), reason })
        }
    };
    Ok(eval::read_labels(dir)?.into_iter().map(over).collect::<Result<_, _>>()?)
}

fn play(gemma: &mut Gemma, config: &Config, setting: Setting, samples: &[f32]) -> Result<Turn, Failure> {
    let Setting { early_ms, usual_ms, late_ms } = setting;
    let listen = ListenConfig { silence_ms: usual_ms, ..config.listen.clone() };
    let taking = TurnTaking {
        phrases: false,
        reads_text: false,
        wait_ms: config.turn.wait_ms,
        follow_up_ms: 0,
        question_ms: 0,
        barge_in: false,
        max_ms: listen.max_ms,
        ends: EndSilences { early_ms, late_ms },
        consent: Duration::ZERO,
    };
    let interrupt = gemma.interrupt();
    let pulse = Pulse::default();
    let began = Instant::now();
    let mut scene = Scene {
        listener: Listener::new(&listen, None),
        conversation: Conversation::new(taking, 0, began),
        worker: Worker::new(gemma, &interrupt, &pulse),
        interrupt: &interrupt,
        inputs: VecDeque::from([Input::Key(Key::Toggle)]),
        calls: Vec::new(),
        drafted: Vec::new(),
        committed: false,
        drafts: 0,
        drafts_ms: 0.0,
    };
    scene.settle(began, 0.0)?;
    let mut heard = 0;
    for piece in samples.chunks(BLOCK) {
        heard += piece.len();
        let events = scene.listener.push(piece, &[])?;
        let over = events.iter().any(|event| matches!(event, ListenEvent::End(_)));
        scene.inputs.extend(events.into_iter().map(Input::Heard));
        let seconds = heard as f64 / f64::from(MODEL_RATE_HZ);
        scene.settle(began + Duration::from_secs_f64(seconds), seconds)?;
        if over {
            let ended_s = scene.committed.then_some(seconds);
            let calls = scene.calls.iter().map(Call::from).collect();
            let (drafts, drafts_ms, drafted) = (scene.drafts, scene.drafts_ms, scene.drafted);
            gemma.cancel()?;
            return Ok(Turn { ended_s, calls, drafts, drafts_ms, drafted });
        }
    }
    Err(Failure::new(INTERNAL, "a recording whose turn has not ended by its end: it needs more silence there"))
}

/// Ears, conversation and model on one thread.
struct Scene<'a> {
    listener: Listener,
    conversation: Conversation,
    worker: Worker<'a>,
    interrupt: &'a Interrupt,
    inputs: VecDeque<Input>,
    calls: Vec<ToolCall>,
    drafted: Vec<Draft>,
    committed: bool,
    drafts: usize,
    drafts_ms: f64,
}

impl Scene<'_> {
    /// Does all that there is to do by now.
    fn settle(&mut self, now: Instant, at_s: f64) -> Result<(), ModelError> {
        loop {
            while let Some(input) = self.inputs.pop_front() {
                for output in self.conversation.handle(input, now) {
                    match output {
                        Output::Model(turn, job) if !self.committed => self.job(turn, job)?,
                        Output::Listen(command) => self.tell(command),
                        _ => {}
                    }
                }
            }
            if self.committed || !self.worker.is_drafting() {
                return Ok(());
            }
            let (inputs, noted) = (&mut self.inputs, &mut self.drafted);
            timed(&mut self.drafts_ms, || {
                self.worker.advance(&mut |report| {
                    if let Report::Drafted(turn, pause, drafted) = report {
                        noted.push(note(&drafted, at_s));
                        inputs.push_back(Input::Drafted(turn, pause, drafted));
                    }
                })
            })?;
        }
    }

    fn tell(&mut self, command: ListenCommand) {
        let events = self.listener.command(command);
        self.inputs.extend(events.into_iter().map(Input::Heard));
    }

    fn job(&mut self, turn: TurnId, job: Job) -> Result<(), ModelError> {
        let is_draft = matches!(job, Job::Draft(_));
        self.drafts += usize::from(is_draft);
        self.committed = job == Job::Commit;
        if matches!(job, Job::Begin(_) | Job::Cancel) {
            self.interrupt.raise();
        }
        let (mut took_ms, calls) = (0.0, &mut self.calls);
        timed(&mut took_ms, || {
            self.worker.job(turn, job, &mut |report| {
                if let Report::Reply(_, ReplyEvent::Call(call)) = report {
                    calls.push(call);
                }
            })
        })?;
        self.drafts_ms += if is_draft { took_ms } else { 0.0 };
        Ok(())
    }
}

fn note(drafted: &Drafted, at_s: f64) -> Draft {
    let calls: &[ToolCall] = if let Drafted::Calls(calls) = drafted { calls } else { &[] };
    let margin = calls.iter().filter_map(|call| call.margin).min_by(f32::total_cmp);
    Draft { at_s, calls: calls.iter().map(Call::from).collect(), margin, nothing: *drafted == Drafted::Nothing }
}

//! One recorded turn from sound to spoken answer, without devices or threads: what `hearth ask` and `hearth eval` run.
//!
//! The same state machine, model, home and voice as a live turn; here everything is heard at once.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize, Serializer};

use crate::assistant::{Assistant, Command, Event};
use crate::audio::{Clip, MODEL_RATE_HZ, resample, wav};
use crate::config::Config;
use crate::dialogue::{ReplyEvent, ToolCall, ToolResult, TurnId};
use crate::failure::Failure;
use crate::followup::Memory;
use crate::home::Registry;
use crate::home::simulated::Simulated;
use crate::listen::process::{self, ModelHears};
use crate::listen::segment::EndReason;
use crate::model::generate::ModelConfig;
use crate::model::{Gemma, ModelError, Respond, Start};
use crate::speech::{self, Piper, SpeechError, Synthesize};
use crate::timeline::{Timeline, ms, timed};
use crate::{listen, onnx, stream, telemetry, terminal};

mod household;

pub use household::{Household, Presence, Teller, home, household, household_with, kept_timers};

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Recorded speech at 16 kHz, and whether it was cut at the limit.
    Speech {
        /// Samples from the first speech to the last.
        samples: Vec<f32>,
        /// The limit in seconds, if more was said than fits.
        cut_at_s: Option<f64>,
    },
    /// A recording without speech.
    Silence,
    /// Text.
    Text(String),
}

impl Question {
    /// Reads a recording and finds the speech in it.
    ///
    /// # Errors
    /// When the file cannot be read or is no audio.
    pub fn heard(file: &Path, config: &Config) -> Result<Self, Failure> {
        Ok(Self::from_samples(wav::read_at(file, MODEL_RATE_HZ)?.samples, config))
    }

    fn from_samples(raw: Vec<f32>, config: &Config) -> Self {
        let processed = process::processed(&raw, &config.listen);
        let parts = listen::segments(&processed, &config.listen);
        let samples = if config.listen.model_hears == ModelHears::Raw { raw } else { processed };
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Self::Silence };
        let start = first.range.start;
        let end = last.range.end.min(start + config.listen.max_ms as usize * (MODEL_RATE_HZ as usize / 1000));
        // A pause does not end a recorded command; the limit does.
        let cut = end < last.range.end || parts.iter().any(|part| part.reason == EndReason::Cap);
        let cut_at_s = cut.then_some(f64::from(config.listen.max_ms) / 1000.0);
        if let Some(limit_s) = cut_at_s {
            tracing::warn!(limit_s, "the recording is longer than the limit; the rest is not heard");
        }
        Self::Speech { samples: samples[start..end].to_vec(), cut_at_s }
    }
}

/// A call and what the home answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// What the model called.
    pub call: ToolCall,
    /// What the home answered.
    pub result: ToolResult,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Was there anything to hear?
    pub heard: bool,
    /// Calls and their results, in order.
    pub actions: Vec<Action>,
    /// What was said.
    pub said: String,
    /// What failed inside, if anything did.
    pub error: Option<String>,
    /// Where the time went.
    pub timeline: Timeline,
    /// What was said, as sound.
    #[serde(rename = "reply_s", serialize_with = "seconds")]
    pub reply: Clip,
}

impl Answer {
    /// Nothing was said, so nothing is done.
    fn silence() -> Self {
        Self {
            heard: false,
            actions: Vec::new(),
            said: String::new(),
            error: None,
            timeline: Timeline::default(),
            reply: Clip { samples: Vec::new(), rate_hz: MODEL_RATE_HZ },
        }
    }
}

fn seconds<S: Serializer>(clip: &Clip, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(clip.seconds())
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.heard {
            return write!(f, "heard     nothing said");
        }
        for Action { call, result } in &self.actions {
            writeln!(f, "called    {} {}", call.name, serde_json::Value::Object(call.arguments.clone()))?;
            let content = serde_json::Value::Object(result.content.clone());
            writeln!(f, "home      {} {content}", format!("{:?}", result.outcome).to_lowercase())?;
        }
        if self.actions.is_empty() {
            writeln!(f, "called    nothing")?;
        }
        // The model's text may hold anything; a terminal takes control characters for commands.
        let said: String = self.said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        writeln!(f, "said      {}", if said.is_empty() { "nothing" } else { &said })?;
        let t = &self.timeline;
        write!(
            f,
            "timeline  speech {:.0} ms | features {:.1}, encode {:.1}, prefill {:.1}, first token after {:.1}, \
             decode {:.1} ({} tokens, {} forced), home {:.1}, first sound after {:.1}, speak {:.1}, total {:.1} ms",
            t.speech_ms,
            t.features_ms,
            t.encode_ms,
            t.prefill_ms,
            t.first_token_ms,
            t.decode_ms,
            t.tokens,
            t.forced_tokens,
            t.tool_ms,
            t.first_sound_ms,
            t.speak_ms,
            t.total_ms
        )
    }
}

/// Everything that answers a recorded turn.
pub struct Hearth {
    config: Config,
    model: Gemma,
    home: Registry,
    teller: Teller,
    turns: u64,
    memory: Memory,
    /// Does the turn that begins answer a question?
    asked: bool,
    /// Does it know nothing of those before?
    fresh: bool,
}

impl Hearth {
    /// Loads runtime, tools, home and model.
    ///
    /// # Errors
    /// When one of them is missing or damaged.
    pub fn load(config: &Config) -> Result<Self, Failure> {
        terminal::notice("loading the model");
        onnx::init(&config.runtime.onnxruntime)?;
        let Household { tools: home, mut teller, .. } = household(config)?;
        let told = teller.told();
        let model = Gemma::load(ModelConfig { system: told.system, ..config.model.clone() }, &told.tools)?;
        let memory = Memory::new(config.risk.window());
        Ok(Self { config: config.clone(), model, home, teller, turns: 0, memory, asked: false, fresh: false })
    }

    /// The same over a home of its own, in which nothing needs a yes: for measuring.
    ///
    /// # Errors
    /// As [`Hearth::load`].
    pub fn load_over(config: &Config, home: Simulated) -> Result<Self, Failure> {
        onnx::init(&config.runtime.onnxruntime)?;
        let Household { tools: home, mut teller, .. } = household::measured(config, home)?;
        let told = teller.told();
        let model = Gemma::load(ModelConfig { system: told.system, ..config.model.clone() }, &told.tools)?;
        let memory = Memory::new(config.risk.window());
        Ok(Self { config: config.clone(), model, home, teller, turns: 0, memory, asked: false, fresh: false })
    }

    /// Does the model take a turn as text?
    pub fn reads_text(&self) -> bool {
        self.model.folder().manifest.reads_text
    }

    /// What was said is no longer part of the conversation.
    pub fn forget(&mut self) {
        self.memory = Memory::new(self.config.risk.window());
        self.fresh = true;
    }

    /// The model, for measuring.
    pub fn model(&mut self) -> &mut Gemma {
        &mut self.model
    }

    /// The calls that the model makes for a recording, and the time in ms they took, `None` for a recording without
    /// speech; nothing is carried out.
    ///
    /// # Errors
    /// When the file is unreadable or the model fails.
    pub fn calls_for(&mut self, file: &Path) -> Result<(Vec<ToolCall>, Option<f64>), Failure> {
        let Question::Speech { samples, .. } = Question::heard(file, &self.config)? else {
            return Ok((Vec::new(), None));
        };
        let started = Instant::now();
        let mut calls = Vec::new();
        self.begin()?;
        self.model.hear(&samples)?;
        self.model.draft()?;
        self.model.commit(&mut |event| {
            if let ReplyEvent::Call(call) = event {
                calls.push(call);
            }
        })?;
        Ok((calls, Some(ms(started.elapsed()))))
    }

    /// What the model makes of a recording when it arrives in pieces, and when it is heard at once up to the same
    /// sample; `None` for a recording without speech. Nothing is carried out.
    ///
    /// # Errors
    /// As [`Hearth::calls_for`].
    pub fn both_ways(&mut self, file: &Path) -> Result<Option<(stream::Hearing, stream::Hearing)>, Failure> {
        let samples = wav::read_at(file, MODEL_RATE_HZ)?.samples;
        let arrivals = stream::arrivals(&samples, &self.config.listen);
        if arrivals.is_empty() {
            return Ok(None);
        }
        self.turns += 2;
        let streamed = stream::hear(&mut self.model, TurnId(self.turns - 1), &samples, &arrivals)?;
        let batch = stream::hear_at_once(&mut self.model, TurnId(self.turns), &samples, &arrivals)?;
        Ok(Some((streamed, batch)))
    }

    /// Least margin of the last reply; see [`Timeline::margin`].
    pub fn margin(&self) -> Option<f64> {
        self.model.timeline().margin
    }

    fn begin(&mut self) -> Result<(), ModelError> {
        if let Some(told) = self.teller.news() {
            self.model.declare(&told, &mut || ())?;
        }
        self.turns += 1;
        let (asked, fresh) = (std::mem::take(&mut self.asked), std::mem::take(&mut self.fresh));
        let start = if fresh {
            Start::Fresh
        } else if asked {
            Start::Answer
        } else {
            Start::Continue
        };
        self.model.begin(TurnId(self.turns), start)
    }

    /// Answers a question: hears, decodes, acts, speaks.
    ///
    /// # Errors
    /// When the voice fails; a failure of the model is spoken and logged.
    pub fn answer(&mut self, question: Question, voice: &mut dyn Synthesize) -> Result<Answer, Failure> {
        let question = self.speak_for_a_deaf_reader(question, voice)?;
        let started = Instant::now();
        if question == Question::Silence {
            self.memory.drop_question();
            return Ok(Answer::silence());
        }
        self.asked = self.memory.awaits(started);
        let (phrases, memory) = (self.model.folder().manifest.phrases, std::mem::take(&mut self.memory));
        let mut turn = Turn::new(Assistant::remembering(phrases, memory, started), voice);
        match question {
            Question::Silence => {}
            Question::Speech { samples, cut_at_s } => {
                if let Some(limit_s) = cut_at_s {
                    turn.handle(Event::TooLong(limit_s));
                }
                self.reply(&mut turn, |model| model.hear(&samples));
            }
            Question::Text(text) => self.reply(&mut turn, |model| model.read(&text)),
        }
        self.carry_out(&mut turn)?;
        let (mut answer, memory) = turn.finish(self.model.timeline());
        self.memory = memory;
        answer.timeline.total_ms = ms(started.elapsed());
        telemetry::turn(self.turns, &answer.timeline);
        Ok(answer)
    }

    /// A model that does not read hears the text in the configured voice instead.
    fn speak_for_a_deaf_reader(&self, question: Question, voice: &mut dyn Synthesize) -> Result<Question, Failure> {
        match question {
            Question::Text(text) if !self.model.folder().manifest.reads_text => {
                let clip = resample::resample(&speech::say(voice, &text)?, MODEL_RATE_HZ);
                Ok(Question::from_samples(clip.samples, &self.config))
            }
            other => Ok(other),
        }
    }

    fn reply(&mut self, turn: &mut Turn<'_>, take_in: impl FnOnce(&mut Gemma) -> Result<(), ModelError>) {
        let result = self.begin().and_then(|()| take_in(&mut self.model)).and_then(|()| self.model.draft());
        let result = result.and_then(|()| self.model.commit(&mut |event| turn.handle(Event::Reply(event))));
        turn.check(result);
    }

    fn carry_out(&mut self, turn: &mut Turn<'_>) -> Result<(), Failure> {
        // Three rounds of a bounded number of calls each; the assistant ends the turn.
        while let Some(command) = turn.commands.pop_front() {
            match command {
                Command::Call(call) => {
                    let result = timed(&mut turn.tool_ms, || self.home.call_blocking(&call));
                    turn.actions.push(Action { call, result: result.clone() });
                    turn.handle(Event::ToolDone(result));
                }
                Command::Say(sentence) => turn.speak(&sentence)?,
                Command::Answer(results) => {
                    let result = self.model.answer(&results, &mut |event| turn.handle(Event::Reply(event)));
                    turn.check(result);
                }
                Command::Settle { results, said } => {
                    if let Err(error) = self.model.settle(&results, &said) {
                        tracing::warn!(%error, "the turn will not be remembered");
                    }
                }
            }
        }
        Ok(())
    }
}

/// One turn on its way.
struct Turn<'a> {
    started: Instant,
    assistant: Assistant,
    voice: &'a mut dyn Synthesize,
    commands: std::collections::VecDeque<Command>,
    actions: Vec<Action>,
    said: Vec<String>,
    error: Option<String>,
    sound: Option<Clip>,
    tool_ms: f64,
    speak_ms: f64,
    first_sound_ms: f64,
}

impl<'a> Turn<'a> {
    fn new(assistant: Assistant, voice: &'a mut dyn Synthesize) -> Self {
        Self {
            started: Instant::now(),
            assistant,
            voice,
            commands: std::collections::VecDeque::new(),
            actions: Vec::new(),
            said: Vec::new(),
            error: None,
            sound: None,
            tool_ms: 0.0,
            speak_ms: 0.0,
            first_sound_ms: 0.0,
        }
    }

    fn handle(&mut self, event: Event) {
        self.commands.extend(self.assistant.handle(event));
    }

    fn check(&mut self, result: Result<(), ModelError>) {
        if let Err(error) = result {
            tracing::error!(%error, "the model failed");
            self.error = Some(error.to_string());
            self.handle(Event::ModelFailed);
        }
    }

    fn speak(&mut self, sentence: &str) -> Result<(), Failure> {
        let clip = match timed(&mut self.speak_ms, || self.voice.synthesize(sentence)) {
            Ok(clip) => clip,
            Err(error @ SpeechError::Sentence { .. }) => {
                tracing::warn!(%error, "left a sentence out");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.said.push(sentence.to_owned());
        match &mut self.sound {
            Some(sound) => sound.samples.extend(clip.samples),
            None => {
                self.first_sound_ms = ms(self.started.elapsed());
                self.sound = Some(clip);
            }
        }
        Ok(())
    }

    fn finish(self, timeline: Timeline) -> (Answer, Memory) {
        let Self { assistant, actions, said, error, sound, tool_ms, speak_ms, first_sound_ms, .. } = self;
        let answer = Answer {
            heard: true,
            actions,
            said: said.join(" "),
            error,
            timeline: Timeline { tool_ms, speak_ms, first_sound_ms, ..timeline },
            reply: sound.unwrap_or(Clip { samples: Vec::new(), rate_hz: MODEL_RATE_HZ }),
        };
        (answer, assistant.remember(Instant::now()))
    }
}

/// The voice of the configuration. ONNX Runtime must be open.
///
/// # Errors
/// When the voice or espeak-ng's data is missing or damaged.
pub fn voice(config: &Config) -> Result<Piper, SpeechError> {
    speech::open_espeak(config.speech.espeak_data.as_deref())?;
    Piper::open(&config.speech.voice())
}

/// Answers one question. Silence loads no model.
///
/// # Errors
/// When a part is missing or the voice fails.
pub fn answer_one(config: &Config, question: Question) -> Result<Answer, Failure> {
    if question == Question::Silence {
        return Ok(Answer::silence());
    }
    let mut hearth = Hearth::load(config)?;
    let mut voice = voice(config)?;
    hearth.answer(question, &mut voice)
}

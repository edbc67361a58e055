//! [`Gemma`]: the sessions, the context and the turn in progress. Runs on the inference thread.
//!
//! The context is laid out as `prefix | earlier turns | this turn`. The prefix (system text and tools) is prefilled once.
//! A turn is the user head, audio rows, the closers, then the reply. Audio rows are causal: row `u` is final once
//! 640 u + 641 samples were heard, so a resume cuts back to the last final row and nothing before it is computed again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;

use super::decoder::Decoder;
use super::encoder::{Embedder, Rows};
use super::features;
use super::grammar::{Answers, Decoding, Grammar};
use super::hearing::{Hearing, HearingTimes};
use super::manifest::Folder;
use super::parts::{Parts, read_stops};
use super::prompt;
use super::reply::ReplyParser;
use super::sample::{LoopDetector, SampleConfig, Sampler};
use super::tokenizer::Tokenizer;
use super::{ModelError, Respond, Start};
use crate::dialogue::{ReplyEvent, Stop, ToolCall, ToolResult, ToolSpec, TurnId};
use crate::onnx::Interrupt;
use crate::timeline::{Timeline, ms, timed};

/// Audio rows that are encoded and prefilled together while the person speaks: 0.32 s. From 8 rows up the cost of a row
/// no longer falls; a machine that lags behind finds more rows waiting and takes them all at once.
const BLOCK_ROWS: usize = 8;
/// Samples at 16 kHz in a millisecond.
const SAMPLES_PER_MS: f64 = 16.0;

/// `[model]` of the configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Model folder.
    pub dir: PathBuf,
    /// Threads of the model's graphs.
    pub threads: usize,
    /// Most tokens of one reply.
    pub max_tokens: usize,
    /// System text, for a model that reads one.
    pub system: String,
    /// A call of which the model was less sure is asked back, as log p(best) - log p(second); 0 never asks.
    pub min_margin: f32,
    /// How tokens are chosen.
    pub sample: SampleConfig,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("onnx/starter"),
            threads: 2,
            max_tokens: 128,
            system: "You are a voice assistant in a kitchen. Use the tools. Answer in one short sentence.".into(),
            min_margin: 0.0,
            sample: SampleConfig::default(),
        }
    }
}

/// Gemma 4, loaded.
pub struct Gemma {
    folder: Folder,
    config: ModelConfig,
    tokenizer: Tokenizer,
    grammar: Grammar,
    /// Tokens that end a reply.
    stops: Vec<u32>,
    hearing: Hearing,
    embedder: Embedder,
    decoder: Decoder,
    interrupt: Arc<Interrupt>,
    /// Rows of the system text and tools.
    prefix_rows: usize,
    /// Rows of the prefix and the settled turns.
    settled_rows: usize,
    turn: Option<Turn>,
    timeline: Timeline,
}

/// The turn in progress.
struct Turn {
    id: TurnId,
    started: Instant,
    input: Input,
    draft: Option<Draft>,
    committed: bool,
}

enum Input {
    /// Nothing came yet.
    Nothing,
    Audio(Audio),
    /// A text turn, without its closers.
    Text(String),
}

/// What was heard.
struct Audio {
    /// Samples that came while a draft stands.
    queue: Vec<f32>,
    /// Rows of the context before the first audio row.
    start: usize,
}

/// A reply being decoded.
struct Draft {
    grammar: Decoding,
    parser: ReplyParser,
    sampler: Sampler,
    loops: LoopDetector,
    events: Vec<ReplyEvent>,
    logits: Vec<f32>,
    /// Least margin of all choices so far.
    least: f32,
    tokens: usize,
    /// Chosen, but not in the context yet.
    unfed: Vec<u32>,
    /// The least margin of the choices since the last call.
    margin: f32,
    ended: Option<Stop>,
}

impl Draft {
    /// Keeps events to be released; a call among them is told how sure the model was.
    fn keep(&mut self, events: Vec<ReplyEvent>) {
        let is_call = events.iter().any(|event| matches!(event, ReplyEvent::Call(_)));
        let margin = self.margin.is_finite().then_some(self.margin);
        self.events.extend(events.into_iter().map(|event| match event {
            ReplyEvent::Call(call) => ReplyEvent::Call(ToolCall { margin, ..call }),
            other => other,
        }));
        if is_call {
            self.margin = f32::INFINITY;
        }
    }
}

impl Gemma {
    /// Loads a model folder: graphs, tokenizer, grammar of `tools`, and the prefix.
    ///
    /// # Errors
    /// When a file is missing, damaged, or of another kind: the first problem.
    pub fn load(config: ModelConfig, tools: &[ToolSpec]) -> Result<Self, ModelError> {
        let folder = Folder::read(&config.dir)?;
        if let Some(wrong) = folder.wrong_sizes().into_iter().next() {
            return Err(wrong.into());
        }
        let parts = Parts::open(&folder, config.threads);
        Self::assemble(folder, config, tools, parts)
    }

    /// Puts opened parts together and prefills the prefix.
    ///
    /// # Errors
    /// As [`Gemma::load`].
    pub fn assemble(folder: Folder, config: ModelConfig, tools: &[ToolSpec], parts: Parts) -> Result<Self, ModelError> {
        let (tokenizer, hearing, decoder) = (parts.tokenizer?, parts.hearing?, parts.decoder?);
        let (interrupt, embedder) = parts.embedder?;
        let answers = if folder.manifest.phrases { Answers::Text } else { Answers::StopOnly };
        let grammar = Grammar::compile(&tokenizer, tools, answers)?;
        let stops = read_stops(&folder.dir, &tokenizer)?;
        let mut gemma = Self {
            folder,
            config,
            tokenizer,
            grammar,
            stops,
            hearing,
            embedder,
            decoder,
            interrupt,
            prefix_rows: 0,
            settled_rows: 0,
            turn: None,
            timeline: Timeline::default(),
        };
        gemma.prefill_prefix(tools)?;
        Ok(gemma)
    }

    /// Stops whatever this model does, from any thread.
    pub fn interrupt(&self) -> Arc<Interrupt> {
        Arc::clone(&self.interrupt)
    }

    /// The folder that was loaded.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The turn in progress.
    pub fn turn(&self) -> Option<TurnId> {
        self.turn.as_ref().map(|turn| turn.id)
    }

    fn prefill_prefix(&mut self, tools: &[ToolSpec]) -> Result<(), ModelError> {
        let declared = self.folder.manifest.declares_tools;
        let (system, tools) = if declared { (self.config.system.as_str(), tools) } else { ("", &[][..]) };
        let rows = self.embed(&prompt::prefix(system, tools, false))?;
        self.decoder.prefill(&rows, &self.interrupt)?;
        self.prefix_rows = self.decoder.len();
        self.settled_rows = self.prefix_rows;
        let (needed, limit) = (self.prefix_rows + self.turn_rows(), self.folder.manifest.max_context);
        if needed > limit {
            let reason = format!("a context of {limit} rows is too short: tools and one turn need {needed}");
            return Err(ModelError::Description { path: self.folder.dir.join("manifest.json"), reason });
        }
        Ok(())
    }

    /// The most rows that one turn may need: audio, closers, reply.
    fn turn_rows(&self) -> usize {
        features::MAX_TOKENS + self.config.max_tokens + 64
    }

    fn embed(&mut self, text: &str) -> Result<Rows, ModelError> {
        let ids = self.tokenizer.encode(text);
        self.embedder.embed(&ids, &self.interrupt)
    }

    /// Brings all audio rows, final or not, and the closers into the context; gives the first logits.
    fn close(&mut self) -> Result<Vec<f32>, ModelError> {
        let turn = self.turn.as_ref().ok_or(ModelError::OutOfOrder("no turn was begun"))?;
        match &turn.input {
            Input::Nothing => Err(ModelError::OutOfOrder("nothing was heard")),
            Input::Text(text) => {
                let text = prompt::user(&[prompt::Part::Text(text)]) + prompt::GENERATE;
                let mut prefill_ms = 0.0;
                let logits = timed(&mut prefill_ms, || {
                    let rows = self.embed(&text)?;
                    self.decoder.step(&rows, &self.interrupt)
                });
                self.timeline.prefill_ms += prefill_ms;
                logits
            }
            Input::Audio(_) => self.close_audio(),
        }
    }

    fn close_audio(&mut self) -> Result<Vec<f32>, ModelError> {
        self.take_in(1)?;
        let tail = self.hearing.tail(&self.interrupt)?;
        let mut rows = self.embedder.audio(&tail);
        rows.extend(&self.embed(prompt::AUDIO_TAIL)?);
        timed(&mut self.timeline.prefill_ms, || self.decoder.step(&rows, &self.interrupt))
    }

    /// Brings the audio rows that became final into the context, if there are at least `least`.
    fn take_in(&mut self, least: usize) -> Result<(), ModelError> {
        let encoded = self.hearing.whole_rows(least, &self.interrupt)?;
        let rows = self.embedder.audio(&encoded);
        timed(&mut self.timeline.prefill_ms, || self.decoder.prefill(&rows, &self.interrupt))
    }

    fn start_draft(&mut self, mut logits: Vec<f32>) -> Draft {
        for &stop in &self.stops {
            if let Some(logit) = logits.get_mut(stop as usize) {
                *logit += self.folder.manifest.quiet_bias;
            }
        }
        Draft {
            grammar: self.grammar.start(),
            parser: ReplyParser::new(&self.tokenizer),
            sampler: Sampler::new(self.config.sample.clone()),
            loops: LoopDetector::default(),
            events: Vec::new(),
            logits,
            least: f32::INFINITY,
            tokens: 0,
            unfed: Vec::new(),
            margin: f32::INFINITY,
            ended: None,
        }
    }

    /// One token, and those that the grammar forces after it. True while there is more.
    fn decode(&mut self, draft: &mut Draft) -> Result<bool, ModelError> {
        if draft.ended.is_some() {
            return Ok(false);
        }
        if self.interrupt.is_raised() {
            return Err(ModelError::Interrupted);
        }
        if !draft.unfed.is_empty() {
            let rows = self.embedder.embed(&draft.unfed, &self.interrupt)?;
            draft.logits = self.decoder.step(&rows, &self.interrupt)?;
            draft.unfed.clear();
        }
        let mask = draft.grammar.mask()?;
        let pick = draft.sampler.pick(&draft.logits, Some(mask.as_slice())).ok_or(ModelError::NoToken)?;
        draft.margin = draft.margin.min(pick.margin);
        draft.least = draft.least.min(pick.margin);
        self.timeline.margin = draft.least.is_finite().then(|| f64::from(draft.least));
        let mut chosen = vec![pick.token];
        draft.grammar.accept(pick.token)?;
        if self.stop(pick.token).is_none() {
            let forced = draft.grammar.forced();
            forced.iter().try_for_each(|&token| draft.grammar.accept(token))?;
            chosen.extend(forced);
        }
        for (i, token) in chosen.into_iter().enumerate() {
            draft.unfed.push(token);
            draft.tokens += 1;
            self.timeline.tokens += 1;
            self.timeline.forced_tokens += usize::from(i > 0);
            let stop = match self.stop(token) {
                Some(stop) => Some(stop),
                None => {
                    let events = draft.parser.push(token);
                    draft.keep(events);
                    let bound = (draft.tokens >= self.config.max_tokens).then_some(Stop::TokenLimit);
                    draft.loops.push(token).then_some(Stop::Loop).or(bound)
                }
            };
            if let Some(stop) = stop {
                let events = draft.parser.finish(stop);
                draft.keep(events);
                draft.ended = Some(stop);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Decodes to the end, releasing events as they come.
    fn run_out(&mut self, mut draft: Draft, emit: &mut dyn FnMut(ReplyEvent)) -> Result<(), ModelError> {
        let started = Instant::now();
        let result = loop {
            draft.events.drain(..).for_each(&mut *emit);
            match self.decode(&mut draft) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(ModelError::Interrupted) => {
                    draft.events.extend(draft.parser.finish(Stop::Cancelled));
                    break Err(ModelError::Interrupted);
                }
                Err(error) => break Err(error),
            }
        };
        draft.events.drain(..).for_each(&mut *emit);
        self.timeline.decode_ms += ms(started.elapsed());
        if let Some(turn) = &mut self.turn {
            turn.draft = Some(draft);
        }
        self.guard(result)
    }

    /// What it means when the model writes that token, if it ends the reply.
    fn stop(&self, token: u32) -> Option<Stop> {
        let ends = self.stops.contains(&token);
        ends.then(|| {
            if token == self.tokenizer.special().tool_response_open { Stop::AwaitsTools } else { Stop::EndOfTurn }
        })
    }

    /// After a failure the context and the encoder may stand in the middle of something: the turn is over.
    fn guard<T>(&mut self, result: Result<T, ModelError>) -> Result<T, ModelError> {
        if !matches!(result, Ok(_) | Err(ModelError::OutOfOrder(_) | ModelError::ReadsNoText)) {
            self.turn = None;
        }
        result
    }

    fn take_draft(&mut self) -> Result<Draft, ModelError> {
        let draft = self.turn.as_mut().and_then(|turn| turn.draft.take());
        draft.ok_or(ModelError::OutOfOrder("no draft stands"))
    }
}

impl Respond for Gemma {
    fn timeline(&self) -> Timeline {
        let HearingTimes { features_ms, encode_ms } = self.hearing.times;
        Timeline { features_ms, encode_ms, ..self.timeline.clone() }
    }

    fn begin(&mut self, turn: TurnId, start: Start) -> Result<(), ModelError> {
        self.turn = None;
        let fits = self.settled_rows + self.turn_rows() <= self.folder.manifest.max_context;
        if start == Start::Fresh || !self.folder.manifest.history || !fits {
            self.settled_rows = self.prefix_rows;
        }
        self.decoder.rewind(self.settled_rows)?;
        self.hearing.reset()?;
        self.timeline = Timeline::default();
        self.turn =
            Some(Turn { id: turn, started: Instant::now(), input: Input::Nothing, draft: None, committed: false });
        Ok(())
    }

    fn hear(&mut self, samples: &[f32]) -> Result<(), ModelError> {
        let turn = self.turn.as_mut().ok_or(ModelError::OutOfOrder("no turn was begun"))?;
        if let Input::Nothing = turn.input {
            let ids = self.tokenizer.encode(prompt::AUDIO_HEAD);
            let rows = self.embedder.embed(&ids, &self.interrupt)?;
            timed(&mut self.timeline.prefill_ms, || self.decoder.prefill(&rows, &self.interrupt))?;
            turn.input = Input::Audio(Audio { queue: Vec::new(), start: self.decoder.len() });
        }
        let Input::Audio(audio) = &mut turn.input else {
            return Err(ModelError::OutOfOrder("the turn is text"));
        };
        if turn.draft.is_some() {
            audio.queue.extend_from_slice(samples);
            return Ok(());
        }
        self.timeline.speech_ms += samples.len() as f64 / SAMPLES_PER_MS;
        self.hearing.push(samples);
        let taken = self.take_in(BLOCK_ROWS);
        self.guard(taken)
    }

    fn read(&mut self, text: &str) -> Result<(), ModelError> {
        if !self.folder.manifest.reads_text {
            return Err(ModelError::ReadsNoText);
        }
        let turn = self.turn.as_mut().ok_or(ModelError::OutOfOrder("no turn was begun"))?;
        turn.input = Input::Text(text.to_owned());
        Ok(())
    }

    fn draft(&mut self) -> Result<(), ModelError> {
        if self.turn.as_ref().is_some_and(|turn| turn.draft.is_some()) {
            return Err(ModelError::OutOfOrder("a draft stands already"));
        }
        let closed = self.close();
        let logits = self.guard(closed)?;
        let draft = self.start_draft(logits);
        if let Some(turn) = &mut self.turn {
            turn.draft = Some(draft);
            self.timeline.first_token_ms = ms(turn.started.elapsed());
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<bool, ModelError> {
        let mut draft = self.take_draft()?;
        let started = Instant::now();
        let more = self.decode(&mut draft);
        self.timeline.decode_ms += ms(started.elapsed());
        if let Some(turn) = &mut self.turn {
            turn.draft = Some(draft);
        }
        self.guard(more)
    }

    fn resume(&mut self) -> Result<(), ModelError> {
        self.take_draft()?;
        let Some(Turn { input: Input::Audio(audio), committed: false, .. }) = &mut self.turn else {
            return Err(ModelError::OutOfOrder("only an audio turn that is not committed resumes"));
        };
        let (queue, start) = (std::mem::take(&mut audio.queue), audio.start);
        self.decoder.rewind(start + self.hearing.resume())?;
        self.hear(&queue)
    }

    fn commit(&mut self, emit: &mut dyn FnMut(ReplyEvent)) -> Result<(), ModelError> {
        let draft = self.take_draft()?;
        if let Some(turn) = &mut self.turn {
            turn.committed = true;
            if let Input::Audio(audio) = &mut turn.input {
                audio.queue.clear();
            }
        }
        self.run_out(draft, emit)
    }

    fn answer(&mut self, results: &[ToolResult], emit: &mut dyn FnMut(ReplyEvent)) -> Result<(), ModelError> {
        let mut last = self.take_draft()?;
        last.unfed.extend(self.tokenizer.encode(&prompt::responses(results, last.ended == Some(Stop::AwaitsTools))));
        let rows = self.embedder.embed(&last.unfed, &self.interrupt)?;
        let logits = timed(&mut self.timeline.prefill_ms, || self.decoder.step(&rows, &self.interrupt))?;
        let draft = self.start_draft(logits);
        self.run_out(draft, emit)
    }

    fn settle(&mut self, results: &[ToolResult], said: &str) -> Result<(), ModelError> {
        let draft = self.turn.take().and_then(|turn| turn.draft).filter(|_| self.folder.manifest.history);
        let (Some(mut draft), text) = (match draft {
            Some(draft) if draft.ended == Some(Stop::AwaitsTools) && !results.is_empty() => {
                (Some(draft), prompt::responses(results, true) + &prompt::said(said))
            }
            Some(draft) if draft.ended == Some(Stop::EndOfTurn) => (Some(draft), prompt::AFTER_STOP.to_owned()),
            _ => (None, String::new()),
        }) else {
            return self.decoder.rewind(self.settled_rows);
        };
        draft.unfed.extend(self.tokenizer.encode(&text));
        let rows = self.embedder.embed(&draft.unfed, &self.interrupt)?;
        match self.decoder.prefill(&rows, &self.interrupt) {
            Ok(()) => {
                self.settled_rows = self.decoder.len();
                Ok(())
            }
            Err(error) => {
                self.decoder.rewind(self.settled_rows)?;
                Err(error)
            }
        }
    }

    fn cancel(&mut self) -> Result<(), ModelError> {
        self.turn = None;
        self.decoder.rewind(self.settled_rows)
    }
}

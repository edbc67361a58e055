//! [`Gemma`]: the sessions, the context and the turn in progress. Runs on the inference thread.
//!
//! The context is laid out as `prefix | earlier turns | this turn`. The prefix (system text and tools) is prefilled once.
//! A turn is the user head, audio rows, the closers, then the reply. Audio rows are causal: row `u` is final once
//! 640 u + 641 samples were heard, so a resume cuts back to the last final row and nothing before it is computed again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::decoder::{BLOCK_ROWS, Decoder};
use super::draft::{Choice, Draft};
use super::encoder::{Embedder, Rows};
use super::features;
use super::grammar::{Answers, Grammar};
use super::hearing::{Hearing, HearingTimes};
use super::manifest::Folder;
use super::parts::{Parts, StartTimes, answers, read_stops};
use super::prepack;
use super::prompt;
use super::sample::SampleConfig;
use super::snapshot::{self, Snapshot};
use super::tokenizer::Tokenizer;
use super::{ModelError, Respond, Start};
use crate::dialogue::{Declared, Drafted, ReplyEvent, Stop, ToolResult, ToolSpec, TurnId};
use crate::onnx::Interrupt;
use crate::timeline::{Timeline, ms, timed};

mod decode;

/// The tools that answer a question.
const ANSWERS: [&str; 5] = ["confirm", "deny", "correct", "stop", "repeat"];
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
    /// A call of which the model was less sure is asked back, as log p(best) - log p(second); 0 never asks. If not set, as
    /// the model's manifest says.
    pub min_margin: Option<f32>,
    /// Keep the weights on disk in the form that this processor's kernels want.
    pub prepack: bool,
    /// How tokens are chosen.
    pub sample: SampleConfig,
    /// Where a prefix and prepacked weights are kept; nowhere if not set. Below the state folder.
    #[serde(skip)]
    pub cache: Option<PathBuf>,
    /// Every reply is one call: for measuring, no setting.
    #[serde(skip)]
    pub one_call: bool,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("onnx/starter"),
            threads: 2,
            max_tokens: 128,
            system: "You are a voice assistant in a kitchen. Use the tools. Answer in one short sentence.".into(),
            min_margin: None,
            prepack: false,
            sample: SampleConfig::default(),
            cache: None,
            one_call: false,
        }
    }
}

/// Gemma 4, loaded.
pub struct Gemma {
    folder: Folder,
    config: ModelConfig,
    tokenizer: Tokenizer,
    grammar: Grammar,
    /// Of yes and no, if the tools have a word for yes.
    yes_no: Option<Grammar>,
    /// What the prefix says.
    prefix: Vec<u32>,
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
    start: StartTimes,
}

/// The turn in progress.
struct Turn {
    id: TurnId,
    started: Instant,
    input: Input,
    /// Asked about what was heard, and the grammar of an answer in words.
    question: Option<(String, Grammar)>,
    draft: Option<Draft>,
    committed: bool,
    /// Is it the answer to a question?
    answers: bool,
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
        let folder = match &config.cache {
            Some(cache) if config.prepack => {
                prepack::prepared(folder, &cache.join("weights"), config.threads, prepack::LEAST_BYTES)
            }
            _ => folder,
        };
        let parts = Parts::open(&folder, &config, tools);
        Self::assemble(folder, config, tools, parts)
    }

    /// Puts opened parts together and prefills the prefix.
    ///
    /// # Errors
    /// As [`Gemma::load`].
    pub fn assemble(folder: Folder, config: ModelConfig, tools: &[ToolSpec], parts: Parts) -> Result<Self, ModelError> {
        let ((tokenizer, grammar), hearing, decoder) = (parts.words?, parts.hearing?, parts.decoder?);
        let (interrupt, embedder) = parts.embedder?;
        let yes_no = yes_no(&grammar, &tokenizer, tools)?;
        let stops = read_stops(&folder.dir, &tokenizer)?;
        let mut gemma = Self {
            folder,
            config,
            tokenizer,
            grammar,
            yes_no,
            prefix: Vec::new(),
            stops,
            hearing,
            embedder,
            decoder,
            interrupt,
            prefix_rows: 0,
            settled_rows: 0,
            turn: None,
            timeline: Timeline::default(),
            start: parts.times,
        };
        let system = std::mem::take(&mut gemma.config.system);
        gemma.prefill_prefix(&system, tools, &mut || ())?;
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

    /// Where the time of loading went.
    pub fn start(&self) -> &StartTimes {
        &self.start
    }

    /// Empties the context: what is rehearsed from now on has no prefix before it, and no turn has one until the tools are
    /// declared again.
    ///
    /// # Errors
    /// When the context cannot be cut back.
    pub fn forget_prefix(&mut self) -> Result<(), ModelError> {
        self.decoder.rewind(0)?;
        self.prefix.clear();
        (self.prefix_rows, self.settled_rows) = (0, 0);
        Ok(())
    }

    /// Prefills so many rows after what is in the context (in an empty one as a prefix) and then decodes so many tokens, the
    /// likeliest each time and without a grammar: for measuring. Gives the time of either; the context is then as before.
    ///
    /// # Errors
    /// When the model fails or the context is too short.
    pub fn rehearse(&mut self, rows: usize, tokens: usize) -> Result<(Duration, Duration), ModelError> {
        let before = self.decoder.len();
        let times = self.play_through(before, rows, tokens);
        self.decoder.rewind(before)?;
        times
    }

    fn play_through(&mut self, before: usize, rows: usize, tokens: usize) -> Result<(Duration, Duration), ModelError> {
        let mut token = self.tokenizer.special().turn_open;
        let best =
            |logits: &[f32]| logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(at, _)| at as u32);
        let started = Instant::now();
        for from in (0..rows).step_by(BLOCK_ROWS) {
            let last = from + BLOCK_ROWS >= rows;
            let block = self.embedder.embed(&vec![token; BLOCK_ROWS.min(rows - from)], &self.interrupt)?;
            if last {
                token = best(&self.decoder.step(&block, &self.interrupt)?).unwrap_or(token);
            } else {
                self.decoder.prefill(&block, &self.interrupt)?;
            }
            if before == 0 {
                self.decoder.settle()?;
            }
        }
        let prefill = started.elapsed();
        for _ in 0..tokens {
            let row = self.embedder.embed(&[token], &self.interrupt)?;
            token = best(&self.decoder.step(&row, &self.interrupt)?).unwrap_or(token);
        }
        Ok((prefill, started.elapsed() - prefill))
    }

    /// The turn in progress.
    pub fn turn(&self) -> Option<TurnId> {
        self.turn.as_ref().map(|turn| turn.id)
    }

    /// What the model chose in its reply or draft so far, in order; the tokens that the grammar forced are not among them.
    pub fn choices(&self) -> &[Choice] {
        self.turn.as_ref().and_then(|turn| turn.draft.as_ref()).map_or(&[], |draft| &draft.choices)
    }

    /// Makes the prefix that of this system text and these tools, which only a model that reads declarations sees.
    fn prefill_prefix(&mut self, system: &str, tools: &[ToolSpec], alive: &mut dyn FnMut()) -> Result<(), ModelError> {
        let declared = self.folder.manifest.declares_tools;
        let (system, tools) = if declared { (system, tools) } else { ("", &[][..]) };
        let ids = self.tokenizer.encode(&prompt::prefix(system, tools, false));
        let (needed, limit) = (ids.len() + self.turn_rows(), self.folder.manifest.max_context);
        if needed > limit {
            let reason = format!("a context of {limit} rows is too short: tools and one turn need {needed}");
            return Err(ModelError::Description { path: self.folder.dir.join("manifest.json"), reason });
        }
        let started = Instant::now();
        let at_start = self.prefix.is_empty();
        let cache = self.config.cache.as_ref().filter(|_| at_start && ids.len() >= snapshot::LEAST_ROWS);
        let snapshot = cache.map(|cache| Snapshot::of(&cache.join("prefix"), &self.folder, &ids));
        let restored = snapshot.as_ref().map_or(Ok(false), |snapshot| snapshot.restore(&mut self.decoder))?;
        if !restored {
            let same = ids.iter().zip(&self.prefix).take_while(|(new, old)| new == old).count();
            let same = if self.decoder.holds(same) { same } else { 0 };
            self.decoder.rewind(same)?;
            // In blocks, so that a turn that begins does not wait for all of it.
            for block in ids[same..].chunks(BLOCK_ROWS) {
                let rows = self.embedder.embed(block, &self.interrupt)?;
                self.decoder.prefill(&rows, &self.interrupt)?;
                self.decoder.settle()?;
                alive();
            }
            snapshot.map_or(Ok(()), |snapshot| snapshot.keep(&self.decoder))?;
        }
        self.prefix_rows = self.decoder.len();
        self.settled_rows = self.prefix_rows;
        if at_start {
            (self.start.prefix_ms, self.start.prefix_rows) = (ms(started.elapsed()), self.prefix_rows);
            self.start.prefix_restored = restored;
            tracing::info!(start = ?self.start, "the model is loaded");
        }
        self.prefix = ids;
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
        // All that is left goes into the decoder in one step: final rows, tail and closers.
        let mut encoded = match self.hearing.carries_state() {
            true => self.hearing.whole_rows(1, &self.interrupt)?,
            false => Vec::new(),
        };
        encoded.extend(self.hearing.tail(&self.interrupt)?);
        let mut rows = self.embedder.audio(&encoded);
        let question = self.turn.as_ref().and_then(|turn| turn.question.as_ref());
        rows.extend(&match question {
            Some((words, _)) => self.embed(&format!("{}{}", prompt::AUDIO_END, prompt::question(words)))?,
            None => self.embed(prompt::AUDIO_TAIL)?,
        });
        timed(&mut self.timeline.prefill_ms, || self.decoder.step(&rows, &self.interrupt))
    }

    /// Brings audio rows that are final into the context.
    fn take_in(&mut self, encoded: &[f32]) -> Result<(), ModelError> {
        let rows = self.embedder.audio(encoded);
        timed(&mut self.timeline.prefill_ms, || self.decoder.prefill(&rows, &self.interrupt))
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
        let (started, input, answers) = (Instant::now(), Input::Nothing, start == Start::Answer);
        self.turn = Some(Turn { id: turn, started, input, question: None, draft: None, committed: false, answers });
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
        let mut heard_ms = 0.0;
        let taken = timed(&mut heard_ms, || {
            self.hearing.push(samples);
            let encoded = self.hearing.block(&self.interrupt)?;
            self.take_in(&encoded)
        });
        self.timeline.while_heard_ms += heard_ms;
        self.timeline.longest_block_ms = self.timeline.longest_block_ms.max(heard_ms);
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

    fn question(&mut self, text: &str) -> Result<(), ModelError> {
        if !(self.folder.manifest.reads_text && self.folder.manifest.phrases) {
            return Err(ModelError::ReadsNoText);
        }
        let Some(turn @ Turn { input: Input::Audio(_), draft: None, .. }) = &mut self.turn else {
            return Err(ModelError::OutOfOrder("nothing was heard"));
        };
        turn.question = Some((text.to_owned(), self.grammar.of(&self.tokenizer, &[], Answers::Text)?));
        Ok(())
    }

    fn draft(&mut self) -> Result<(), ModelError> {
        if self.turn.as_ref().is_some_and(|turn| turn.draft.is_some()) {
            return Err(ModelError::OutOfOrder("a draft stands already"));
        }
        let mut spent_ms = 0.0;
        let closed = timed(&mut spent_ms, || self.close());
        let logits = self.guard(closed)?;
        let draft = Draft { spent_ms, ..self.start_draft(logits) };
        self.timeline.drafts += 1;
        // What an earlier draft wrote is no part of the reply.
        (self.timeline.tokens, self.timeline.forced_tokens, self.timeline.call_ready_ms) = (0, 0, None);
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
        let spent_ms = ms(started.elapsed());
        self.timeline.decode_ms += spent_ms;
        draft.spent_ms += spent_ms;
        if let Some(turn) = &mut self.turn {
            turn.draft = Some(draft);
        }
        self.guard(more)
    }

    fn drafted(&self) -> Option<Drafted> {
        let draft = self.turn.as_ref()?.draft.as_ref()?;
        draft.comes_to(self.doubt())
    }

    fn resume(&mut self) -> Result<(), ModelError> {
        self.timeline.dropped_ms += self.take_draft()?.spent_ms;
        let Some(Turn { input: Input::Audio(audio), committed: false, .. }) = &mut self.turn else {
            return Err(ModelError::OutOfOrder("only an audio turn that is not committed resumes"));
        };
        let (queue, start) = (std::mem::take(&mut audio.queue), audio.start);
        self.decoder.rewind(start + self.hearing.resume())?;
        self.hear(&queue)
    }

    fn commit(&mut self, emit: &mut dyn FnMut(ReplyEvent)) -> Result<(), ModelError> {
        let draft = self.take_draft()?;
        (self.timeline.drafted_tokens, self.timeline.drafted_forced_tokens) =
            (self.timeline.tokens, self.timeline.forced_tokens);
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

    /// Only what comes after the first difference in the prefix is computed, or all of it where the context was settled behind
    /// that. Meanwhile a copy of the old context is kept,
    /// so that whoever interrupts this finds all as it was.
    fn declare(&mut self, told: &Declared, alive: &mut dyn FnMut()) -> Result<(), ModelError> {
        self.turn = None;
        let grammar = self.grammar.of(&self.tokenizer, &told.tools, answers(&self.folder, &self.config))?;
        let yes_no = yes_no(&grammar, &self.tokenizer, &told.tools)?;
        self.decoder.rewind(self.settled_rows)?;
        let (rows, kept) = (self.decoder.len(), self.decoder.saved().collect::<Result<Vec<_>, _>>()?);
        if let Err(error) = self.prefill_prefix(&told.system, &told.tools, alive) {
            self.decoder.restore(rows, kept.into_iter())?;
            return Err(error);
        }
        (self.grammar, self.yes_no) = (grammar, yes_no);
        Ok(())
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

/// The grammar of an answer to a question, if the tools have a word for yes.
fn yes_no(of: &Grammar, words: &Tokenizer, tools: &[ToolSpec]) -> Result<Option<Grammar>, ModelError> {
    let tools: Vec<ToolSpec> = tools.iter().filter(|tool| ANSWERS.contains(&tool.name.as_str())).cloned().collect();
    let has_yes = tools.iter().any(|tool| tool.name == "confirm");
    Ok(has_yes.then(|| of.of(words, &tools, Answers::StopOnly)).transpose()?)
}

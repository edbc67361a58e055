//! Samples to reply events: Gemma 4 as one object that hears, drafts and answers.
//!
//! [`Respond`] is the whole interface. A turn is *streamed*: `begin`, `hear` as samples arrive, `draft` when a pause may
//! be the end, `resume` when it was not, `commit` when it was. The batch case is `begin, hear(all), draft, commit`.
//! Everything here runs on the inference thread and does no I/O after loading. It knows tools only as specifications.

pub mod decoder;
pub mod draft;
pub mod encoder;
pub mod features;
pub mod generate;
pub mod grammar;
pub mod hearing;
pub mod manifest;
pub mod parts;
pub mod prepack;
pub mod prompt;
pub mod reply;
pub mod sample;
pub mod snapshot;
pub mod tables;
pub mod tokenizer;

use std::path::PathBuf;

use thiserror::Error;

use crate::dialogue::{Declared, Drafted, ReplyEvent, ToolResult, TurnId};
use crate::onnx::OnnxError;
use crate::timeline::Timeline;

pub use generate::Gemma;

/// What goes wrong with the model, told apart by remedy.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A graph or ONNX Runtime itself.
    #[error(transparent)]
    Onnx(OnnxError),
    /// The model folder.
    #[error(transparent)]
    Folder(#[from] manifest::FolderError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] tokenizer::TokenizerError),
    /// The tools do not make a grammar.
    #[error(transparent)]
    Grammar(#[from] grammar::GrammarError),
    /// A description in the model folder does not fit.
    #[error("{}: {reason}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The context is full: forget the conversation, or declare fewer tools.
    #[error("{rows} rows do not fit the context of {limit}")]
    ContextFull {
        /// Rows that would be in the context.
        rows: usize,
        /// Rows that fit.
        limit: usize,
    },
    /// The decoder gave another number of logits than the config says.
    #[error("{found} logits for a vocabulary of {expected}")]
    Logits {
        /// Size of the vocabulary.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// The grammar and the logits leave no token to choose: the model is damaged.
    #[error("no token can be chosen: the logits are not numbers")]
    NoToken,
    /// Called out of order: a mistake of the caller.
    #[error("{0}")]
    OutOfOrder(&'static str),
    /// This model takes no text.
    #[error("this model hears, but does not read: it takes audio only")]
    ReadsNoText,
    /// Cancelled from outside.
    #[error("cancelled")]
    Interrupted,
}

impl From<OnnxError> for ModelError {
    fn from(error: OnnxError) -> Self {
        match error {
            OnnxError::Interrupted => Self::Interrupted,
            other => Self::Onnx(other),
        }
    }
}

/// From where a turn starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From the system text and tools alone.
    Fresh,
    /// From the end of the last turn that was settled, if the model uses history.
    Continue,
    /// The same, and what comes is the answer to a question: yes, no and the like can be decoded, or nothing. A model that
    /// has no word for yes decodes as always.
    Answer,
}

/// A model that hears a turn and answers it. The calls of one turn come in this order:
/// `begin, (hear* | read), draft, (advance | resume, hear*, draft)*, commit, (answer)*, settle`.
/// `cancel` may come at any time and ends the turn.
pub trait Respond {
    /// Starts a turn. What the last turn left unsettled is forgotten.
    ///
    /// # Errors
    /// When the context cannot be rewound.
    fn begin(&mut self, turn: TurnId, start: Start) -> Result<(), ModelError>;

    /// Takes 16 kHz samples. While a draft stands they are queued.
    ///
    /// # Errors
    /// When the turn was not begun, or the model fails.
    fn hear(&mut self, samples: &[f32]) -> Result<(), ModelError>;

    /// Takes a turn as text instead.
    ///
    /// # Errors
    /// [`ModelError::ReadsNoText`], or as [`Respond::hear`].
    fn read(&mut self, text: &str) -> Result<(), ModelError>;

    /// Asks something about what was heard: the reply to the next [`Respond::draft`] is words, and never a call.
    ///
    /// # Errors
    /// [`ModelError::ReadsNoText`], when nothing was heard, or as [`Respond::hear`].
    fn question(&mut self, text: &str) -> Result<(), ModelError>;

    /// The pause may be the end of the turn: closes it tentatively, so that decoding can start. Nothing is shown.
    ///
    /// # Errors
    /// When nothing was heard, or the model fails.
    fn draft(&mut self) -> Result<(), ModelError>;

    /// Decodes one more token of the draft (and those that the grammar forces after it). True while there is more.
    ///
    /// # Errors
    /// When no draft stands, or the model fails.
    fn advance(&mut self) -> Result<bool, ModelError>;

    /// What the draft comes to, once it is decoded to its end; none before that. Nothing is released.
    fn drafted(&self) -> Option<Drafted>;

    /// The pause was not the end: the draft is dropped, the context cut back to the last audio row that no later sample
    /// changes, and what was queued is heard.
    ///
    /// # Errors
    /// When no draft stands, or the model fails.
    fn resume(&mut self) -> Result<(), ModelError>;

    /// The pause was the end: what was queued is dropped, what was drafted is released at once, and decoding goes on to
    /// the end. The last event is [`ReplyEvent::End`].
    ///
    /// # Errors
    /// When no draft stands, or the model fails.
    fn commit(&mut self, emit: &mut dyn FnMut(ReplyEvent)) -> Result<(), ModelError>;

    /// Gives the results of the calls and lets the model go on, to the next [`ReplyEvent::End`].
    ///
    /// # Errors
    /// When no reply was committed, or the model fails.
    fn answer(&mut self, results: &[ToolResult], emit: &mut dyn FnMut(ReplyEvent)) -> Result<(), ModelError>;

    /// Idle-time work between turns: the model is told anew what there is, and forgets the conversation so far. Calls
    /// `alive` now and then. Interruptible; what did not come to its end changed nothing.
    ///
    /// # Errors
    /// When the tools are wrong or too many, or the model fails or is interrupted.
    fn declare(&mut self, told: &Declared, alive: &mut dyn FnMut()) -> Result<(), ModelError>;

    /// Idle-time work after a turn: the model takes in results and what was said, so that the next turn knows them.
    /// Interruptible; a turn that was not settled to the end is forgotten.
    ///
    /// # Errors
    /// When the model fails or is interrupted.
    fn settle(&mut self, results: &[ToolResult], said: &str) -> Result<(), ModelError>;

    /// Where the time of the turn in progress went, or of the last one.
    fn timeline(&self) -> Timeline;

    /// Ends the turn and forgets it.
    ///
    /// # Errors
    /// When the context cannot be rewound.
    fn cancel(&mut self) -> Result<(), ModelError>;
}

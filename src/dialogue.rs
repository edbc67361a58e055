//! The words that the model and the home have in common: turns, tools, calls, results, reply events.
//!
//! Plain data only: no I/O, no clock, no thread. `model` produces [`ReplyEvent`]s, `home` produces [`ToolResult`]s,
//! and neither knows the other.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Arguments of a call: parameter name to value.
pub type Arguments = Map<String, Value>;

/// Number of a turn. It travels with every message, so that what belongs to a past turn can be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TurnId(pub u64);

/// What a parameter of a tool may hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Free text.
    Text,
    /// One of a closed list of strings.
    Choice(Vec<String>),
    /// A whole number, both bounds included.
    Integer {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// A number, both bounds included.
    Number {
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
    },
    /// True or false.
    Bool,
    /// A list of values of one kind.
    List(Box<Kind>),
    /// Nested parameters.
    Object(Vec<Parameter>),
}

/// One parameter of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Key in the call.
    pub name: String,
    /// What may be given.
    pub kind: Kind,
    /// Must it be given?
    pub required: bool,
}

/// A tool as the model may call it.
///
/// Made by `home::schema` from a name, a description and a JSON schema. `parameters` is the checked form that the
/// grammar and the argument check use; `schema` is the source, from which a prompt declares the tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Name in the call: letters, digits and underscores.
    pub name: String,
    /// One sentence for the model.
    pub description: String,
    /// Sorted by name, ignoring case: the order in which the model writes them.
    pub parameters: Vec<Parameter>,
    /// The JSON schema of the parameters as given, if any was.
    pub schema: Option<Value>,
}

/// What a model is told before the first turn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Declared {
    /// The system text.
    pub system: String,
    /// The tools.
    pub tools: Vec<ToolSpec>,
}

/// May a tool or a parameter have this name? Letters, digits and underscores, at least one.
#[must_use]
pub fn is_word(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A call that the model made. Its shape is sound; whether the tool exists and the arguments fit is for the home to say.
///
/// Two calls are equal when they ask for the same, however sure the model was and whoever agreed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ToolCall {
    /// Name of the tool.
    pub name: String,
    /// Arguments by name.
    pub arguments: Arguments,
    /// How sure the model was: the least log p(best) - log p(second) of the choices that made this call. `None` when it
    /// had none, or nobody measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f32>,
    /// Who agreed to it. Never read from outside: nothing that a model writes is an agreement.
    #[serde(skip)]
    pub consent: Consent,
    /// What it would have been with the second best choice, where the model was not sure enough.
    #[serde(skip)]
    pub rival: Option<Box<ToolCall>>,
}

impl ToolCall {
    /// A call as a model makes it, to which nobody has agreed yet.
    #[must_use]
    pub fn new(name: impl Into<String>, arguments: Arguments) -> Self {
        Self { name: name.into(), arguments, margin: None, consent: Consent::None, rival: None }
    }
}

impl PartialEq for ToolCall {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.arguments == other.arguments
    }
}

/// Who agreed to a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Consent {
    /// Nobody was asked.
    #[default]
    None,
    /// Somebody said yes when hearth asked whether it should do this, as [`Effect::Confirm`] words it.
    Spoken(String),
    /// A person at this machine wrote the call.
    ByHand,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The backend confirmed the new state.
    Done,
    /// The home asks back before it acts.
    Asked,
    /// The call does not fit the home: unknown tool, device, value. Nothing was done.
    Refused,
    /// The backend failed or did not confirm.
    Failed,
}

/// What the home answered to one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// Name of the tool.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What the model is told: a flat mapping.
    pub content: Map<String, Value>,
    /// A ready sentence made from the confirmed state, spoken at once. An empty one is silence.
    pub say: Option<String>,
    /// What is to be done beyond the home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// What a result asks of whoever carried the call out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Set the speaker's own volume.
    Volume(Volume),
    /// The call waits for a yes to this: "unlock the front door".
    Confirm(String),
    /// The same, asked beside what the call might have been instead: "the lamp or the fan?" A yes does not tell which.
    Choose(String),
}

/// The speaker's own volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Volume {
    /// Percent, 0 to 100.
    To(u8),
    /// Percentage points louder or quieter.
    By(i8),
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The model ended its turn.
    EndOfTurn,
    /// The model waits for the results of its calls.
    AwaitsTools,
    /// The bound on tokens was reached.
    TokenLimit,
    /// The model repeated itself.
    Loop,
    /// Cancelled from outside.
    Cancelled,
}

/// What a draft comes to, decoded to its end and told to nobody.
#[derive(Debug, Clone, PartialEq)]
pub enum Drafted {
    /// Whole calls and nothing else, none of them doubtful.
    Calls(Vec<ToolCall>),
    /// Neither a call nor a word: what was heard so far is no command.
    Nothing,
    /// Words, doubtful calls, or a reply that went wrong.
    Other,
}

/// What comes out of the model, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyEvent {
    /// A piece of the spoken answer.
    Text(String),
    /// A whole call.
    Call(ToolCall),
    /// Something that tried to be a call and is none. Never executed.
    Malformed {
        /// The raw text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The last event of every reply.
    End(Stop),
}

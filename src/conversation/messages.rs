//! What goes into a conversation and what comes out of it.

use std::time::Duration;

use serde::Serialize;

use super::EndSilences;
use crate::dialogue::{Declared, Drafted, ReplyEvent, ToolCall, ToolResult, TurnId};
use crate::listen::listener::{ListenCommand, ListenEvent};
use crate::model::Start;

/// Where the conversation stands, as everyone may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Models are being loaded; nothing is heard yet.
    #[default]
    Loading,
    /// Waits for the wake word or the key.
    Idle,
    /// Hears a command.
    Listening,
    /// Decodes the answer.
    Thinking,
    /// A call is being carried out.
    Acting,
    /// Speaks.
    Speaking,
    /// The microphone is off.
    Muted,
}

/// A short sound of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earcon {
    /// Speak now.
    Listening,
    /// Nothing was said, or nothing came of it.
    Sorry,
    /// The microphone is off from now on.
    Muted,
    /// The microphone is on again.
    Unmuted,
}

/// What the key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Pressed.
    Down,
    /// Released.
    Up,
    /// Pressed if up, released if down.
    Toggle,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// From the listen thread.
    Heard(ListenEvent),
    /// The push-to-talk key.
    Key(Key),
    /// The model wrote something.
    Reply(TurnId, ReplyEvent),
    /// What the draft in the pause of that number comes to.
    Drafted(TurnId, u32, Drafted),
    /// The model failed.
    Failed(TurnId),
    /// A call came back.
    Done(TurnId, ToolResult),
    /// All that was to be said in this turn has been heard.
    Spoken(TurnId),
    /// The key was let go too soon to say anything.
    Tap,
    /// Stop whatever goes on.
    Cancel,
    /// Microphone off or on.
    Mute(bool),
    /// A command as text.
    Ask(String),
    /// The text of [`Output::Voice`] as 16 kHz samples.
    Voiced(TurnId, Vec<f32>),
    /// A sentence to speak, for instance that a timer rings.
    Announce(String),
    /// Ring once, unless something goes on.
    Ring,
    /// What was said before is no longer part of the conversation.
    Forget,
    /// Other settings, from the next turn on.
    Configure(TurnTaking),
}

/// Work for the model, in the order of its interface.
#[derive(Debug, Clone, PartialEq)]
pub enum Job {
    /// A turn begins.
    Begin(Start),
    /// Samples at 16 kHz.
    Hear(Vec<f32>),
    /// A turn as text.
    Read(String),
    /// The pause of that number may be the end; 0 where nobody pauses.
    Draft(u32),
    /// It was not.
    Resume,
    /// It was.
    Commit,
    /// Results of the calls.
    Answer(Vec<ToolResult>),
    /// Remember the turn.
    Settle {
        /// Results of the last round.
        results: Vec<ToolResult>,
        /// All that was said.
        said: String,
    },
    /// Forget the turn.
    Cancel,
    /// Between turns: the home is another. Belongs to no turn.
    Declare(Box<Declared>),
    /// Write down what is said in a recording of that turn, in idle time.
    Transcribe(Vec<f32>),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// For the inference thread.
    Model(TurnId, Job),
    /// For the listen thread.
    Listen(ListenCommand),
    /// For the home.
    Call(TurnId, ToolCall),
    /// Speak a whole sentence.
    Say(TurnId, String),
    /// Make sound of a text that the model cannot read: report [`Input::Voiced`].
    Voice(TurnId, String),
    /// Nothing more will be said in this turn: report [`Input::Spoken`] when all has been heard.
    EndSpeech(TurnId),
    /// Stop speaking at once: this turn is over.
    Hush(TurnId),
    /// Play a sound.
    Play(Earcon),
    /// Play the sound of ringing.
    Ring(TurnId),
    /// Show the state.
    Show(State),
    /// Somebody called or pressed the key, and said nothing.
    NothingSaid,
}

/// How turns are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnTaking {
    /// May the model put results into words (manifest)?
    pub phrases: bool,
    /// Does it take a turn as text (manifest)?
    pub reads_text: bool,
    /// How long somebody may take to begin to speak, in ms.
    pub wait_ms: u32,
    /// How long the microphone stays open after an answer, in ms; 0 closes it unless the answer was a question.
    pub follow_up_ms: u32,
    /// The same after a question, in ms.
    pub question_ms: u32,
    /// Does speech interrupt a reply? The wake word always does.
    pub barge_in: bool,
    /// The longest command, in ms.
    pub max_ms: u32,
    /// When drafts change the silence that ends a command.
    pub ends: EndSilences,
    /// How long a question that a yes answers waits for it.
    pub consent: Duration,
}

//! hearth: an offline voice assistant.
//!
//! Sound goes straight into the audio encoder and decoder of Gemma 4; the model answers with a tool call, which is
//! decoded under a grammar, carried out by a handler of the home, and answered in a Piper voice.
//!
//! This file is the map; it holds no logic. Arrows point at what may be used, nothing points back:
//!
//! ```text
//! main -> cli -> {daemon, ask} -> {conversation, assistant, listen, model, home, speech, telemetry} -> {dialogue, onnx, audio} -> std
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`dialogue`] | plain data that `model` and `home` share: they never name each other |
//! | [`audio`] | sound in files and on devices; knows no models |
//! | [`listen`] | samples to utterances |
//! | [`onnx`] | the only user of ONNX Runtime |
//! | [`model`] | samples to reply events: front end, prompt, grammar, decoding |
//! | [`home`] | what the house can do |
//! | [`speech`] | text to sound |
//! | [`assistant`] | the turn as a pure state machine |
//! | [`followup`] | what is remembered from turn to turn: yes, no, corrections |
//! | [`ask`] | one recorded turn, from sound to spoken answer |
//! | [`daemon`] | configuration to threads to channels to the select loop to shutdown |
//! | [`conversation`] | when turns begin and end, as a pure state machine |
//! | [`infer`], [`mouth`], [`threads`] | the loops of the threads that think and speak |
//! | [`history`] | the last turns, on disk |
//! | [`control`] | the socket through which other programs see and steer the daemon |
//! | [`duck`] | other players, quiet meanwhile |
//! | [`service`] | what systemd is told |
//! | [`timeline`] | where the time of a turn went |
//! | [`config`], [`cli`], [`check`], [`devices`], [`timers`], [`inspect`], [`eval`], [`household`], [`mod@bench`], [`fetch`], [`failure`], [`terminal`], [`telemetry`] | the rim |

pub mod ask;
pub mod assistant;
pub mod audio;
pub mod bench;
pub mod check;
pub mod cli;
pub mod config;
pub mod control;
pub mod conversation;
pub mod daemon;
pub mod devices;
pub mod dialogue;
pub mod duck;
pub mod eval;
pub mod failure;
pub mod fetch;
pub mod followup;
pub mod history;
pub mod home;
pub mod household;
pub mod infer;
pub mod inspect;
pub mod listen;
pub mod model;
pub mod mouth;
pub mod onnx;
pub mod service;
pub mod speech;
pub mod stream;
pub mod telemetry;
pub mod terminal;
pub mod threads;
pub mod timeline;
pub mod timers;

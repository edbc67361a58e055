//! The body of the `listen` thread: a listener between a source of sound, commands and whoever takes the events.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::{DeviceState, ListenCommand, ListenEvent, Listener};
use crate::onnx::OnnxError;

/// How often a device is asked for sound while something depends on it.
const POLL: Duration = Duration::from_millis(10);
/// How often in a quiet room: a microphone's sound comes in pieces about so long, and most days are quiet.
const POLL_AT_REST: Duration = Duration::from_millis(40);

/// Where a listener's sound comes from: the microphone and the speaker's tap, or a test.
pub trait Ear {
    /// Appends the 16 kHz samples that arrived, and what was rendered meanwhile. Never blocks. Says what changed.
    fn read(&mut self, heard: &mut Vec<f32>, rendered: &mut Vec<f32>) -> Option<DeviceState>;
}

/// The body of the `listen` thread: asks for sound every 10 ms, every 40 in a quiet room, does as told, hands every event to `deliver`.
///
/// `deliver` may drop an [`ListenEvent::Audio`] when its queue is full; it says false when nobody is there any more.
/// Ends on [`ListenCommand::Shutdown`], or when either side is gone.
///
/// # Errors
/// When a graph of the wake words fails.
pub fn run(
    mut ear: impl Ear,
    mut listener: Listener,
    commands: &Receiver<ListenCommand>,
    mut deliver: impl FnMut(ListenEvent) -> bool,
) -> Result<(), OnnxError> {
    let (mut heard, mut rendered) = (Vec::new(), Vec::new());
    loop {
        let poll = if listener.at_rest() { POLL_AT_REST } else { POLL };
        let mut events = match commands.recv_timeout(poll) {
            Ok(ListenCommand::Shutdown) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            // Sound that came before the command is heard before it: a key that is let go keeps its last samples.
            Ok(command) => {
                let mut events = pump(&mut ear, &mut listener, (&mut heard, &mut rendered))?;
                events.extend(listener.command(command));
                events
            }
            Err(RecvTimeoutError::Timeout) => Vec::new(),
        };
        events.extend(pump(&mut ear, &mut listener, (&mut heard, &mut rendered))?);
        if !events.into_iter().all(&mut deliver) {
            return Ok(());
        }
    }
}

fn pump(
    ear: &mut impl Ear,
    listener: &mut Listener,
    (heard, rendered): (&mut Vec<f32>, &mut Vec<f32>),
) -> Result<Vec<ListenEvent>, OnnxError> {
    heard.clear();
    rendered.clear();
    let change = ear.read(heard, rendered);
    let mut events: Vec<ListenEvent> = change.map(ListenEvent::Device).into_iter().collect();
    events.extend(listener.push(heard, rendered)?);
    Ok(events)
}

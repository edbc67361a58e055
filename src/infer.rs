//! The body of the inference thread: owns the model, does one job at a time, decodes a draft while it has nothing else to
//! do. No I/O, no devices; it stops within one decoder step when its [`Interrupt`] is raised.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use crate::conversation::Job;
use crate::dialogue::{ReplyEvent, TurnId};
use crate::model::{ModelError, Respond, Start, prompt};
use crate::onnx::Interrupt;
use crate::threads::Pulse;
use crate::timeline::Timeline;

/// How long it sleeps without a job before it shows that it is alive.
const IDLE: Duration = Duration::from_secs(1);
/// Samples of a recording that are heard at once: half a second.
const PIECE: usize = 8_000;

/// What the thread reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A piece of the reply.
    Reply(TurnId, ReplyEvent),
    /// The reply, or a part of it up to calls, is decoded, and this is where the time went.
    Times(TurnId, Timeline),
    /// The turn cannot go on.
    Failed(TurnId),
    /// What is said in the recording of that turn; none when it could not be told, and whether to ask again later.
    Transcript(TurnId, Option<String>, bool),
}

/// Does jobs until the other end is dropped. A turn that failed or was cancelled gets no further job done.
///
/// Whoever sends [`Job::Begin`] or [`Job::Cancel`] has raised `interrupt`, to stop what a past turn still did.
pub fn run(
    model: &mut dyn Respond,
    interrupt: &Interrupt,
    pulse: &Pulse,
    jobs: &Receiver<(TurnId, Job)>,
    report: &mut dyn FnMut(Report),
) {
    let mut worker = Worker { model, interrupt, pulse, current: None, drafting: false };
    loop {
        pulse.beat();
        let next = if worker.drafting {
            match jobs.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return,
            }
        } else {
            match jobs.recv_timeout(IDLE) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        let result = match next {
            None => worker.model.advance().map(|more| worker.drafting = more),
            Some((turn, job)) => worker.job(turn, job, report),
        };
        if let Err(error) = result {
            worker.give_up(&error, report);
        }
    }
}

struct Worker<'a> {
    model: &'a mut dyn Respond,
    interrupt: &'a Interrupt,
    pulse: &'a Pulse,
    /// The turn whose jobs are done; none after it failed.
    current: Option<TurnId>,
    /// A draft stands and is not decoded to its end.
    drafting: bool,
}

impl Worker<'_> {
    fn job(&mut self, turn: TurnId, job: Job, report: &mut dyn FnMut(Report)) -> Result<(), ModelError> {
        if let Job::Begin(start) = job {
            self.interrupt.clear();
            (self.current, self.drafting) = (Some(turn), false);
            return self.model.begin(turn, start);
        }
        if let Job::Transcribe(samples) = job {
            (self.current, self.drafting) = (None, false);
            let transcript = self.transcript(turn, &samples);
            let dropped = self.model.cancel();
            let words = transcript.and_then(|words| dropped.map(|()| words));
            let again = matches!(words, Err(ModelError::Interrupted));
            let words = words.inspect_err(|error| tracing::debug!(turn = turn.0, %error, "no transcript"));
            report(Report::Transcript(turn, words.ok(), again));
            return Ok(());
        }
        if self.current != Some(turn) {
            return Ok(());
        }
        // Sound that comes while a draft stands only waits.
        self.drafting = matches!(job, Job::Draft) || (self.drafting && matches!(job, Job::Hear(_)));
        let mut emit = |event| report(Report::Reply(turn, event));
        let decodes = matches!(job, Job::Commit | Job::Answer(_));
        match job {
            Job::Begin(_) | Job::Transcribe(_) => Ok(()),
            Job::Hear(samples) => self.model.hear(&samples),
            Job::Read(text) => self.model.read(&text),
            Job::Draft => self.model.draft(),
            Job::Resume => self.model.resume(),
            Job::Commit => self.model.commit(&mut emit),
            Job::Answer(results) => self.model.answer(&results, &mut emit),
            Job::Settle { results, said } => self.model.settle(&results, &said),
            Job::Cancel => {
                self.current = None;
                self.model.cancel()
            }
        }?;
        if decodes {
            report(Report::Times(turn, self.model.timeline()));
        }
        Ok(())
    }

    /// What is said in a recording, as the model hears it. Gives way to a turn that begins.
    fn transcript(&mut self, turn: TurnId, samples: &[f32]) -> Result<String, ModelError> {
        self.model.begin(turn, Start::Continue)?;
        for piece in samples.chunks(PIECE) {
            self.pulse.beat();
            if self.interrupt.is_raised() {
                return Err(ModelError::Interrupted);
            }
            self.model.hear(piece)?;
        }
        self.model.question(prompt::TRANSCRIBE)?;
        self.model.draft()?;
        while self.model.advance()? {
            self.pulse.beat();
        }
        let mut words = String::new();
        self.model.commit(&mut |event| {
            if let ReplyEvent::Text(piece) = event {
                words.push_str(&piece);
            }
        })?;
        Ok(words.trim().to_owned())
    }

    /// The turn in progress comes to nothing.
    fn give_up(&mut self, error: &ModelError, report: &mut dyn FnMut(Report)) {
        self.drafting = false;
        let Some(turn) = self.current.take() else { return };
        if matches!(error, ModelError::Interrupted) {
            tracing::debug!(turn = turn.0, "interrupted");
            return;
        }
        tracing::error!(turn = turn.0, %error, "the model failed");
        report(Report::Failed(turn));
    }
}

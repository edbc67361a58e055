//! The body of the inference thread: owns the model, does one job at a time, decodes a draft while it has nothing else to
//! do. No I/O, no devices; it stops within one decoder step when its [`Interrupt`](crate::onnx::Interrupt) is raised.

use std::sync::mpsc::{Receiver, TryRecvError};

use crate::conversation::Job;
use crate::dialogue::{ReplyEvent, TurnId};
use crate::model::{ModelError, Respond};
use crate::onnx::Interrupt;

/// What the thread reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A piece of the reply.
    Reply(TurnId, ReplyEvent),
    /// The turn cannot go on.
    Failed(TurnId),
}

/// Does jobs until the other end is dropped. A turn that failed or was cancelled gets no further job done.
pub fn run(
    model: &mut dyn Respond,
    interrupt: &Interrupt,
    jobs: &Receiver<(TurnId, Job)>,
    report: &mut dyn FnMut(Report),
) {
    // The turn whose jobs are done; none after it failed.
    let mut current = None;
    let mut drafting = false;
    loop {
        let next = if drafting {
            match jobs.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return,
            }
        } else {
            match jobs.recv() {
                Ok(job) => Some(job),
                Err(_) => return,
            }
        };
        let result = match next {
            None => model.advance().map(|more| drafting = more),
            Some((turn, Job::Begin(start))) => {
                // Whoever sends this has raised the interrupt, to stop what a past turn still did.
                interrupt.clear();
                (current, drafting) = (Some(turn), false);
                model.begin(turn, start)
            }
            Some((turn, _)) if current != Some(turn) => Ok(()),
            Some((turn, job)) => {
                drafting = matches!(job, Job::Draft) || (drafting && matches!(job, Job::Hear(_)));
                work(model, turn, job, report)
            }
        };
        if let Err(error) = result {
            drafting = false;
            if let Some(turn) = current.take() {
                match error {
                    ModelError::Interrupted => tracing::debug!(turn = turn.0, "interrupted"),
                    error => {
                        tracing::error!(turn = turn.0, %error, "the model failed");
                        report(Report::Failed(turn));
                    }
                }
            }
        }
    }
}

fn work(
    model: &mut dyn Respond,
    turn: TurnId,
    job: Job,
    report: &mut dyn FnMut(Report),
) -> Result<(), ModelError> {
    let mut emit = |event| report(Report::Reply(turn, event));
    match job {
        Job::Begin(start) => model.begin(turn, start),
        Job::Hear(samples) => model.hear(&samples),
        Job::Read(text) => model.read(&text),
        Job::Draft => model.draft(),
        Job::Resume => model.resume(),
        Job::Commit => model.commit(&mut emit),
        Job::Answer(results) => model.answer(&results, &mut emit),
        Job::Settle { results, said } => model.settle(&results, &said),
        Job::Cancel => model.cancel(),
    }
}

//! The body of the inference thread: owns the model, does one job at a time, decodes a draft while it has nothing else to
//! do. No I/O, no devices; it stops within one decoder step when its [`Interrupt`] is raised.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use crate::conversation::Job;
use crate::dialogue::{Declared, ReplyEvent, TurnId};
use crate::model::{ModelError, Respond};
use crate::onnx::Interrupt;
use crate::threads::Pulse;
use crate::timeline::Timeline;

/// How long it sleeps without a job before it shows that it is alive.
const IDLE: Duration = Duration::from_secs(1);

/// What the thread reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A piece of the reply.
    Reply(TurnId, ReplyEvent),
    /// The reply, or a part of it up to calls, is decoded, and this is where the time went.
    Times(TurnId, Timeline),
    /// The turn cannot go on.
    Failed(TurnId),
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
    let mut worker = Worker { model, interrupt, current: None, drafting: false, news: None };
    loop {
        pulse.beat();
        let next = if worker.drafting {
            jobs.try_recv()
        } else {
            jobs.recv_timeout(IDLE).map_err(|error| match error {
                RecvTimeoutError::Timeout => TryRecvError::Empty,
                RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
            })
        };
        let result = match next {
            Ok((turn, job)) => worker.job(turn, job, report),
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) if worker.drafting => worker.model.advance().map(|more| worker.drafting = more),
            Err(TryRecvError::Empty) if worker.current.is_none() && worker.news.is_some() => {
                // Whoever begins a turn from here on interrupts it; who did just before is served first.
                worker.interrupt.clear();
                match jobs.try_recv() {
                    Ok((turn, job)) => worker.job(turn, job, report),
                    Err(_) => worker.declare(pulse),
                }
            }
            Err(TryRecvError::Empty) => continue,
        };
        if let Err(error) = result {
            worker.give_up(&error, report);
        }
    }
}

struct Worker<'a> {
    model: &'a mut dyn Respond,
    interrupt: &'a Interrupt,
    /// The turn whose jobs are done; none after it failed.
    current: Option<TurnId>,
    /// A draft stands and is not decoded to its end.
    drafting: bool,
    /// What the model is to be told when there is nothing else to do.
    news: Option<Box<Declared>>,
}

impl Worker<'_> {
    fn job(&mut self, turn: TurnId, job: Job, report: &mut dyn FnMut(Report)) -> Result<(), ModelError> {
        if let Job::Declare(told) = job {
            self.news = Some(told);
            return Ok(());
        }
        if let Job::Begin(start) = job {
            self.interrupt.clear();
            (self.current, self.drafting) = (Some(turn), false);
            return self.model.begin(turn, start);
        }
        if self.current != Some(turn) {
            return Ok(());
        }
        // Sound that comes while a draft stands only waits.
        self.drafting = matches!(job, Job::Draft) || (self.drafting && matches!(job, Job::Hear(_)));
        let mut emit = |event| report(Report::Reply(turn, event));
        let decodes = matches!(job, Job::Commit | Job::Answer(_));
        match job {
            Job::Begin(_) | Job::Declare(_) => Ok(()),
            Job::Hear(samples) => self.model.hear(&samples),
            Job::Read(text) => self.model.read(&text),
            Job::Draft => self.model.draft(),
            Job::Resume => self.model.resume(),
            Job::Commit => self.model.commit(&mut emit),
            Job::Answer(results) => self.model.answer(&results, &mut emit),
            Job::Settle { results, said } => {
                self.current = None;
                self.model.settle(&results, &said)
            }
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

    /// Tells the model what the home is like by now. What it knew holds until that is done, and if it cannot be done.
    fn declare(&mut self, pulse: &Pulse) -> Result<(), ModelError> {
        let Some(told) = self.news.take() else { return Ok(()) };
        match self.model.declare(&told, &mut || pulse.beat()) {
            Ok(()) => tracing::info!(tools = told.tools.len(), "the model was told of the home"),
            Err(ModelError::Interrupted) => self.news = Some(told),
            Err(error) => tracing::error!(%error, "the model could not be told of the home: it goes by what it knew"),
        }
        Ok(())
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

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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::dialogue::ToolResult;
    use crate::model::Start;

    /// Writes down what is asked of it; the first so many times that it is told something it is interrupted.
    #[derive(Default)]
    struct Scribe {
        wrote: Vec<String>,
        interruptions: usize,
    }

    impl Scribe {
        fn write(&mut self, what: &str) -> Result<(), ModelError> {
            self.wrote.push(what.to_owned());
            Ok(())
        }
    }

    impl Respond for Scribe {
        fn begin(&mut self, _turn: TurnId, _start: Start) -> Result<(), ModelError> {
            self.write("begin")
        }
        fn hear(&mut self, _samples: &[f32]) -> Result<(), ModelError> {
            self.write("hear")
        }
        fn read(&mut self, _text: &str) -> Result<(), ModelError> {
            self.write("read")
        }
        fn draft(&mut self) -> Result<(), ModelError> {
            self.write("draft")
        }
        fn advance(&mut self) -> Result<bool, ModelError> {
            Ok(false)
        }
        fn resume(&mut self) -> Result<(), ModelError> {
            self.write("resume")
        }
        fn commit(&mut self, _emit: &mut dyn FnMut(ReplyEvent)) -> Result<(), ModelError> {
            self.write("commit")
        }
        fn answer(&mut self, _r: &[ToolResult], _emit: &mut dyn FnMut(ReplyEvent)) -> Result<(), ModelError> {
            self.write("answer")
        }
        fn declare(&mut self, told: &Declared, _alive: &mut dyn FnMut()) -> Result<(), ModelError> {
            self.write(&format!("told {}", told.system))?;
            if self.interruptions > 0 {
                self.interruptions -= 1;
                return Err(ModelError::Interrupted);
            }
            Ok(())
        }
        fn settle(&mut self, _results: &[ToolResult], _said: &str) -> Result<(), ModelError> {
            self.write("settle")
        }
        fn timeline(&self) -> Timeline {
            Timeline::default()
        }
        fn cancel(&mut self) -> Result<(), ModelError> {
            self.write("cancel")
        }
    }

    /// News wait for the end of a turn, the last of several counts, and who is interrupted tries again.
    #[test]
    fn the_home_is_told_between_turns() {
        crate::onnx::init(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.local/lib/libonnxruntime.so")))
            .expect("scripts/setup installs ONNX Runtime");
        let interrupt = Interrupt::new().expect("the runtime is open");
        let mut model = Scribe { interruptions: 1, ..Scribe::default() };
        let (jobs, queue) = sync_channel(16);
        let news = |text: &str| Job::Declare(Box::new(Declared { system: text.to_owned(), tools: Vec::new() }));
        let settle = || Job::Settle { results: Vec::new(), said: String::new() };
        for job in [Job::Begin(Start::Continue), news("one"), news("two"), Job::Commit] {
            jobs.send((TurnId(1), job)).expect("it is read below");
        }
        std::thread::spawn(move || {
            std::thread::sleep(IDLE * 3 / 2);
            jobs.send((TurnId(1), settle())).expect("it still reads");
            std::thread::sleep(IDLE * 7 / 2);
        });
        run(&mut model, &interrupt, &Pulse::default(), &queue, &mut |_| ());
        assert_eq!(model.wrote, ["begin", "commit", "settle", "told two", "told two"]);
    }
}

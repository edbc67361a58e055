//! The body of the inference thread: owns the model, does one job at a time, decodes a draft while it has nothing else to
//! do. No I/O, no devices; it stops within one decoder step when its [`Interrupt`] is raised.
//!
//! A machine that falls behind finds jobs waiting. The backlog makes the best of them: sound that waits is heard in one
//! piece, since long blocks cost less a row, and a draft that was taken back before it was begun is not made. So a slow
//! machine answers later by what it is slow, and by no more than the block that it is in.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use crate::conversation::Job;
use crate::dialogue::{ReplyEvent, TurnId};
use crate::model::{ModelError, Respond};
use crate::onnx::Interrupt;
use crate::threads::Pulse;
use crate::timeline::Timeline;

/// How long it sleeps without a job before it shows that it is alive.
const IDLE: Duration = Duration::from_secs(1);

/// Most samples that are heard in one piece: 2.56 s. A row of a longer block costs hardly less, and nothing else is done
/// meanwhile.
const LONGEST: usize = 64 * 640;

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
    let mut worker = Worker { model, interrupt, current: None, drafting: false };
    let mut backlog = Backlog::default();
    loop {
        pulse.beat();
        if backlog.jobs.is_empty() && !worker.drafting {
            match jobs.recv_timeout(IDLE) {
                Ok((turn, job)) => backlog.push(turn, job),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        loop {
            match jobs.try_recv() {
                Ok((turn, job)) => backlog.push(turn, job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) if backlog.jobs.is_empty() => return,
                Err(TryRecvError::Disconnected) => break,
            }
        }
        let result = match backlog.jobs.pop_front() {
            None => worker.model.advance().map(|more| worker.drafting = more),
            Some((turn, job)) => worker.job(turn, job, report),
        };
        if let Err(error) = result {
            worker.give_up(&error, report);
        }
    }
}

/// Jobs that wait. Bounded by what the queue holds, and by the length of a command.
#[derive(Default)]
struct Backlog {
    jobs: VecDeque<(TurnId, Job)>,
}

impl Backlog {
    fn push(&mut self, turn: TurnId, job: Job) {
        match (self.jobs.back_mut(), job) {
            (Some((last, Job::Hear(waiting))), Job::Hear(samples))
                if *last == turn && waiting.len() + samples.len() <= LONGEST =>
            {
                waiting.extend(samples);
            }
            (Some((last, Job::Draft)), Job::Resume) if *last == turn => {
                self.jobs.pop_back();
            }
            (_, job) => self.jobs.push_back((turn, job)),
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
}

impl Worker<'_> {
    fn job(&mut self, turn: TurnId, job: Job, report: &mut dyn FnMut(Report)) -> Result<(), ModelError> {
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
            Job::Begin(_) => Ok(()),
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
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;
    use crate::dialogue::{Stop, ToolResult};
    use crate::model::Start;
    use crate::onnx;

    #[test]
    fn what_waits_is_done_with_the_least_work() {
        let check = |jobs: &[(u64, Job)], expected: &[(u64, Job)]| {
            let mut backlog = Backlog::default();
            jobs.iter().for_each(|(turn, job)| backlog.push(TurnId(*turn), job.clone()));
            let left: Vec<(u64, Job)> = backlog.jobs.into_iter().map(|(turn, job)| (turn.0, job)).collect();
            assert_eq!(left, expected, "{jobs:?}");
        };
        let hear = |samples: &[f32]| Job::Hear(samples.to_vec());
        check(&[], &[]);
        // Sound in one piece, but no turn's sound with another's, and none across what comes between.
        check(&[(1, hear(&[1.0])), (1, hear(&[2.0])), (1, hear(&[3.0]))], &[(1, hear(&[1.0, 2.0, 3.0]))]);
        check(&[(1, hear(&[1.0])), (2, hear(&[2.0]))], &[(1, hear(&[1.0])), (2, hear(&[2.0]))]);
        let drafted = [(1, hear(&[1.0])), (1, Job::Draft), (1, hear(&[2.0]))];
        check(&drafted, &drafted);
        // A draft that was taken back before it was begun.
        check(&[(1, hear(&[1.0])), (1, Job::Draft), (1, Job::Resume), (1, hear(&[2.0]))], &[(1, hear(&[1.0, 2.0]))]);
        check(&[(1, Job::Draft), (2, Job::Resume)], &[(1, Job::Draft), (2, Job::Resume)]);
        // One that was begun is taken back by the model.
        check(&[(1, Job::Resume), (1, hear(&[1.0]))], &[(1, Job::Resume), (1, hear(&[1.0]))]);
        let turns = [(1, Job::Draft), (1, Job::Commit), (2, Job::Begin(Start::Fresh)), (2, hear(&[1.0]))];
        check(&turns, &turns);
        // No piece is longer than what may keep the thread from everything else.
        let half = vec![0.5; LONGEST / 2 + 1];
        check(&[(1, hear(&half)), (1, hear(&half))], &[(1, hear(&half)), (1, hear(&half))]);
    }

    /// Takes so much time for each block, and for each 80 ms of sound in it.
    struct Slow {
        block: Duration,
        piece: Duration,
    }

    const PIECE: usize = 1280;

    impl Respond for Slow {
        fn begin(&mut self, _: TurnId, _: Start) -> Result<(), ModelError> {
            Ok(())
        }
        fn hear(&mut self, samples: &[f32]) -> Result<(), ModelError> {
            std::thread::sleep(self.block + self.piece * (samples.len() / PIECE) as u32);
            Ok(())
        }
        fn read(&mut self, _: &str) -> Result<(), ModelError> {
            Err(ModelError::ReadsNoText)
        }
        fn draft(&mut self) -> Result<(), ModelError> {
            std::thread::sleep(self.block);
            Ok(())
        }
        fn advance(&mut self) -> Result<bool, ModelError> {
            Ok(false)
        }
        fn resume(&mut self) -> Result<(), ModelError> {
            Ok(())
        }
        fn commit(&mut self, emit: &mut dyn FnMut(ReplyEvent)) -> Result<(), ModelError> {
            emit(ReplyEvent::End(Stop::EndOfTurn));
            Ok(())
        }
        fn answer(&mut self, _: &[ToolResult], _: &mut dyn FnMut(ReplyEvent)) -> Result<(), ModelError> {
            Ok(())
        }
        fn settle(&mut self, _: &[ToolResult], _: &str) -> Result<(), ModelError> {
            Ok(())
        }
        fn timeline(&self) -> Timeline {
            Timeline::default()
        }
        fn cancel(&mut self) -> Result<(), ModelError> {
            Ok(())
        }
    }

    /// On a machine that needs more time to hear than there is, pieces at a time four times as much, streaming is not later
    /// than hearing everything at the end, but for one block.
    #[test]
    fn a_slow_machine_is_no_later_than_one_that_waits() {
        let library = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/lib/libonnxruntime.so");
        onnx::init(&library).expect("scripts/setup installs ONNX Runtime");
        let (block, piece, every, pieces) =
            (Duration::from_millis(20), Duration::from_millis(8), Duration::from_millis(7), 80_u32);
        let after_the_end = |streamed: bool| {
            let (jobs, queue) = channel();
            let (report, reports) = channel();
            let thread = std::thread::spawn(move || {
                let interrupt = Interrupt::new().expect("run options can be made");
                let mut model = Slow { block, piece };
                run(&mut model, &interrupt, &Pulse::default(), &queue, &mut |what| {
                    // Nobody reads what comes after the end.
                    let _ = report.send(what);
                });
            });
            let give = |job| jobs.send((TurnId(1), job)).expect("the thread lives");
            give(Job::Begin(Start::Fresh));
            let mut sound = Vec::new();
            for _ in 0..pieces {
                std::thread::sleep(every);
                if streamed { give(Job::Hear(vec![0.0; PIECE])) } else { sound.extend([0.0; PIECE]) }
            }
            let end = Instant::now();
            if !streamed {
                give(Job::Hear(sound));
            }
            give(Job::Draft);
            give(Job::Commit);
            reports.recv().expect("it answers");
            let waited = end.elapsed();
            drop(jobs);
            thread.join().expect("it does not panic");
            waited
        };
        let longest = block + piece * (LONGEST / PIECE) as u32;
        let (batch, streamed) = (after_the_end(false), after_the_end(true));
        println!("batch {batch:?}, streamed {streamed:?}, the longest block {longest:?}");
        // Piece by piece it would be 80 times 28 ms behind 80 times 7.
        assert!(streamed <= batch + longest);
    }
}

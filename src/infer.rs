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
use crate::dialogue::{Declared, Drafted, ReplyEvent, TurnId};
use crate::model::{ModelError, Respond, Start, prompt};
use crate::onnx::Interrupt;
use crate::threads::Pulse;
use crate::timeline::Timeline;

/// How long it sleeps without a job before it shows that it is alive.
const IDLE: Duration = Duration::from_secs(1);
/// Samples of a recording that are heard at once: half a second.
const PIECE: usize = 8_000;

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
    /// What the draft in the pause of that number comes to. It may have been taken back meanwhile, and nothing is released.
    Drafted(TurnId, u32, Drafted),
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
    let mut worker = Worker::new(model, interrupt, pulse);
    let mut backlog = Backlog::default();
    loop {
        pulse.beat();
        if backlog.jobs.is_empty() && !worker.is_drafting() {
            match jobs.recv_timeout(IDLE) {
                Ok((turn, job)) => backlog.push(turn, job),
                Err(RecvTimeoutError::Timeout) if worker.current.is_none() && worker.news.is_some() => {
                    // Whoever begins a turn from here on interrupts it; who did just before is served first.
                    worker.interrupt.clear();
                    match jobs.try_recv() {
                        Ok((turn, job)) => backlog.push(turn, job),
                        Err(_) => {
                            worker.declare();
                            continue;
                        }
                    }
                }
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
            None => worker.advance(report),
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
            (Some((last, Job::Draft(_))), Job::Resume) if *last == turn => {
                self.jobs.pop_back();
            }
            (_, job) => self.jobs.push_back((turn, job)),
        }
    }
}

/// Does one job after the other: what [`run`] does with those that come. By itself for measuring, without a thread.
pub struct Worker<'a> {
    model: &'a mut dyn Respond,
    interrupt: &'a Interrupt,
    pulse: &'a Pulse,
    /// The turn whose jobs are done; none after it failed.
    current: Option<TurnId>,
    /// The pause in which a draft was made, while that stands and is not decoded to its end.
    drafting: Option<u32>,
    /// What the model is to be told when there is nothing else to do.
    news: Option<Box<Declared>>,
}

impl<'a> Worker<'a> {
    /// One that has done nothing yet.
    pub fn new(model: &'a mut dyn Respond, interrupt: &'a Interrupt, pulse: &'a Pulse) -> Self {
        Self { model, interrupt, pulse, current: None, drafting: None, news: None }
    }

    /// Is there a draft to be [advanced](Self::advance)?
    pub fn is_drafting(&self) -> bool {
        self.drafting.is_some()
    }

    /// Goes on with the draft by one token, if there is one that is not whole, and tells what it comes to when that was the
    /// last.
    ///
    /// # Errors
    /// When the model fails.
    pub fn advance(&mut self, report: &mut dyn FnMut(Report)) -> Result<(), ModelError> {
        let Some(pause) = self.drafting else { return Ok(()) };
        if !self.model.advance()? {
            self.drafting = None;
            if let (Some(turn), Some(drafted)) = (self.current, self.model.drafted()) {
                report(Report::Drafted(turn, pause, drafted));
            }
        }
        Ok(())
    }

    /// Does a job, unless it is of another turn than the one that was begun last.
    ///
    /// # Errors
    /// When the model fails.
    pub fn job(&mut self, turn: TurnId, job: Job, report: &mut dyn FnMut(Report)) -> Result<(), ModelError> {
        if let Job::Declare(told) = job {
            self.news = Some(told);
            return Ok(());
        }
        if let Job::Begin(start) = job {
            self.interrupt.clear();
            (self.current, self.drafting) = (Some(turn), None);
            return self.model.begin(turn, start);
        }
        if let Job::Transcribe(samples) = job {
            (self.current, self.drafting) = (None, None);
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
        self.drafting = match job {
            Job::Draft(pause) => Some(pause),
            // Sound that comes while a draft stands only waits.
            Job::Hear(_) => self.drafting,
            _ => None,
        };
        let pulse = self.pulse;
        let mut emit = |event| {
            // A long reply is no thread that hangs.
            pulse.beat();
            report(Report::Reply(turn, event));
        };
        let decodes = matches!(job, Job::Commit | Job::Answer(_));
        match job {
            Job::Begin(_) | Job::Declare(_) | Job::Transcribe(_) => Ok(()),
            Job::Hear(samples) => self.model.hear(&samples),
            Job::Read(text) => self.model.read(&text),
            Job::Draft(_) => self.model.draft(),
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
    fn declare(&mut self) {
        let pulse = self.pulse;
        let Some(told) = self.news.take() else { return };
        match self.model.declare(&told, &mut || pulse.beat()) {
            Ok(()) => tracing::info!(tools = told.tools.len(), "the model was told of the home"),
            Err(ModelError::Interrupted) => self.news = Some(told),
            Err(error) => tracing::error!(%error, "the model could not be told of the home: it goes by what it knew"),
        }
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
        self.drafting = None;
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
        let drafted = [(1, hear(&[1.0])), (1, Job::Draft(1)), (1, hear(&[2.0]))];
        check(&drafted, &drafted);
        // A draft that was taken back before it was begun.
        check(&[(1, hear(&[1.0])), (1, Job::Draft(1)), (1, Job::Resume), (1, hear(&[2.0]))], &[(1, hear(&[1.0, 2.0]))]);
        check(&[(1, Job::Draft(1)), (2, Job::Resume)], &[(1, Job::Draft(1)), (2, Job::Resume)]);
        // One that was begun is taken back by the model.
        check(&[(1, Job::Resume), (1, hear(&[1.0]))], &[(1, Job::Resume), (1, hear(&[1.0]))]);
        let turns = [(1, Job::Draft(1)), (1, Job::Commit), (2, Job::Begin(Start::Fresh)), (2, hear(&[1.0]))];
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
        fn question(&mut self, _: &str) -> Result<(), ModelError> {
            Err(ModelError::ReadsNoText)
        }
        fn declare(&mut self, _: &Declared, _: &mut dyn FnMut()) -> Result<(), ModelError> {
            Ok(())
        }
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
        fn drafted(&self) -> Option<Drafted> {
            None
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
            give(Job::Draft(1));
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

#[cfg(test)]
mod tests_of_news {
    use std::sync::mpsc::{SyncSender, channel, sync_channel};

    use super::*;
    use crate::dialogue::ToolResult;
    use crate::model::Start;

    /// Writes down what is asked of it; the first so many times that it is told something it is interrupted.
    #[derive(Default)]
    struct Scribe {
        wrote: Vec<String>,
        interruptions: usize,
        /// What comes while it hears.
        meanwhile: Vec<Job>,
        jobs: Option<SyncSender<(TurnId, Job)>>,
    }

    impl Scribe {
        fn write(&mut self, what: &str) -> Result<(), ModelError> {
            self.wrote.push(what.to_owned());
            Ok(())
        }
    }

    impl Respond for Scribe {
        fn question(&mut self, _: &str) -> Result<(), ModelError> {
            Err(ModelError::ReadsNoText)
        }
        fn begin(&mut self, _turn: TurnId, _start: Start) -> Result<(), ModelError> {
            self.write("begin")
        }
        fn hear(&mut self, _samples: &[f32]) -> Result<(), ModelError> {
            let jobs = self.jobs.take();
            self.meanwhile.drain(..).for_each(|job| {
                jobs.iter().for_each(|jobs| jobs.send((TurnId(1), job.clone())).expect("it is read by our own thread"));
            });
            self.write("hear")
        }
        fn read(&mut self, _text: &str) -> Result<(), ModelError> {
            self.write("read")
        }
        fn draft(&mut self) -> Result<(), ModelError> {
            self.write("draft")
        }
        fn advance(&mut self) -> Result<bool, ModelError> {
            let stands = self.wrote.last().is_some_and(|last| last == "draft");
            if stands { Ok(false) } else { Err(ModelError::OutOfOrder("no draft stands")) }
        }
        fn drafted(&self) -> Option<Drafted> {
            None
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

    /// A draft and its end that come while a block is heard are nothing to do, and the turn goes on.
    #[test]
    fn a_draft_that_was_taken_back_before_it_was_begun_fails_no_turn() {
        crate::onnx::init(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.local/lib/libonnxruntime.so")))
            .expect("scripts/setup installs ONNX Runtime");
        let ((jobs, queue), (report, reports)) = (sync_channel(16), channel());
        let meanwhile = vec![Job::Draft(1), Job::Resume];
        let mut model = Scribe { meanwhile, jobs: Some(jobs.clone()), ..Scribe::default() };
        let thread = std::thread::spawn(move || {
            let interrupt = Interrupt::new().expect("the runtime is open");
            run(&mut model, &interrupt, &Pulse::default(), &queue, &mut |what| {
                // Nobody reads what comes after the end.
                let _ = report.send(what);
            });
            model.wrote
        });
        let give = |job| jobs.send((TurnId(1), job)).expect("the thread lives");
        [Job::Begin(Start::Fresh), Job::Hear(vec![0.0])].into_iter().for_each(give);
        // Long enough for there to be nothing to do.
        std::thread::sleep(Duration::from_millis(100));
        [Job::Draft(2), Job::Commit].into_iter().for_each(give);
        let told = reports.recv().expect("it answers");
        assert!(matches!(told, Report::Times(TurnId(1), _)), "{told:?}");
        drop(jobs);
        assert_eq!(thread.join().expect("it does not panic"), ["begin", "hear", "draft", "commit"]);
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

//! A day in a kitchen, as fast as the machine goes: hours of quiet, talk and noise through the real listener, wake words,
//! model, home, voice and history, with wake words and commands at intervals; memory must stay flat and no thread be lost.
//! Only the devices are doubles: sound comes from a made-up room, and what is spoken is heard in it again.
//!
//! Takes long and is not part of any suite: `HEARTH_SOAK=8 cargo test --release --test soak -- --nocapture` (hours of
//! sound; `scripts/test` skips it).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hearth::ask::{self, Action, Household};
use hearth::audio::playback::{Play, PlayError, Played};
use hearth::audio::{Clip, resample, wav};
use hearth::config::Config;
use hearth::conversation::{Conversation, EndSilences, Input, Job, Output, State, TurnTaking};
use hearth::dialogue::{ReplyEvent, TurnId};
use hearth::history::{Ending, History, HistoryConfig, Record};
use hearth::home::Registry;
use hearth::listen::listener::{ListenEvent, Listener};
use hearth::listen::wake::WakeWords;
use hearth::model::Gemma;
use hearth::mouth::{self, Hush, Line, Mouth, Voice};
use hearth::onnx::{self, Interrupt};
use hearth::threads::{Ended, Pulse, spawn_named};
use hearth::{infer, speech};

/// Samples that the listener is given at once: 10 ms.
const BLOCK: usize = 160;
/// The echo of the room: 40 ms later, 20 dB less.
const ECHO: (usize, f32) = (640, 0.1);
/// Longer does no thread take for anything, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(180);
/// Sound between two lines of the report: 15 minutes.
const REPORT: usize = 15 * 60 * 16_000;
/// From here on memory must not grow: everything has been used several times.
const WARM: usize = 60 * 60 * 16_000;

/// The air of the room: what the loudspeaker has yet to play.
type Air = Arc<Mutex<VecDeque<f32>>>;

/// A loudspeaker whose time is the room's.
struct Loudspeaker(Air);

impl Play for Loudspeaker {
    fn play_until(&mut self, clip: &Clip, stop: &dyn Fn() -> bool) -> Result<Played, PlayError> {
        self.0.lock().expect("no thread panics with it").extend(resample::resample(clip, 16_000).samples);
        loop {
            let mut air = self.0.lock().expect("no thread panics with it");
            if air.is_empty() {
                return Ok(Played::Whole);
            }
            if stop() {
                air.clear();
                return Ok(Played::Stopped { after: Duration::ZERO });
            }
            drop(air);
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// What has been played has been heard.
    fn drain(&mut self, _stop: &dyn Fn() -> bool) {}

    fn ready(&mut self) -> Result<(), PlayError> {
        Ok(())
    }

    fn choose(&mut self, _name: Option<&str>) {}
}

/// What the threads report.
enum Report {
    Model(infer::Report),
    Mouth(mouth::Report),
    Ended(Ended),
}

/// The threads that think and speak, as the daemon has them.
struct Threads {
    jobs: SyncSender<(TurnId, Job)>,
    lines: SyncSender<Line>,
    reports: Receiver<Report>,
    interrupt: Arc<Interrupt>,
    hush: Hush,
}

fn threads(config: &Config, home: &Registry, air: &Air) -> Threads {
    let (report, reports) = channel::<Report>();
    let (jobs, job_queue) = sync_channel::<(TurnId, Job)>(1024);
    let (lines, line_queue) = sync_channel::<Line>(64);
    let start = |name, report: &Sender<Report>, body: Box<dyn FnOnce() + Send>| {
        let end = report.clone();
        let ended = move |ended| drop(end.send(Report::Ended(ended)));
        spawn_named(name, ended, move || {
            body();
            Ok(())
        })
        .expect("a thread");
    };
    let mut model = Gemma::load(config.model.clone(), &home.specs()).expect("the starter is in the repository");
    let interrupt = model.interrupt();
    let (own, send) = (interrupt.clone(), report.clone());
    start(
        "infer",
        &report,
        Box::new(move || {
            infer::run(&mut model, &own, &Pulse::default(), &job_queue, &mut |r| drop(send.send(Report::Model(r))));
        }),
    );
    let hush = Hush::default();
    let (give, sounds) = mouth::sounds();
    let (own, config, send) = (hush.clone(), config.clone(), report.clone());
    start(
        "voice",
        &report,
        Box::new(move || {
            let mut voice = ask::voice(&config).expect("scripts/setup installs the voice");
            let mut report = |r| drop(send.send(Report::Mouth(r)));
            Voice::new(&mut voice, give, &own, &Pulse::default(), &mut report).run(&line_queue);
        }),
    );
    let (own, air, send) = (hush.clone(), air.clone(), report.clone());
    start(
        "speak",
        &report,
        Box::new(move || {
            let mut report = |r| drop(send.send(Report::Mouth(r)));
            Mouth::new(&mut Loudspeaker(air), &own, &Pulse::default(), &mut report).run(&sounds);
        }),
    );
    Threads { jobs, lines, reports, interrupt, hush }
}

/// The room and everyone in it; its clock is the number of samples.
struct House {
    listener: Listener,
    conversation: Conversation,
    threads: Threads,
    home: Registry,
    history: History,
    air: Air,
    echo: VecDeque<f32>,
    begun: Instant,
    now: usize,
    record: Record,
    counts: Counts,
}

#[derive(Default, Debug, Clone, Copy)]
struct Counts {
    commands: usize,
    woken: usize,
    turns: usize,
    calls: usize,
    failed: usize,
}

impl House {
    fn new(config: &Config, dir: &Path) -> Self {
        let Household { tools: home, .. } = ask::household(config).expect("the home of the repository");
        let air = Air::default();
        let threads = threads(config, &home, &air);
        let words = WakeWords::load(&config.wake.dir, &config.wake.words, config.wake.stop().as_ref());
        let words = words.expect("the graphs are in the repository");
        let begun = Instant::now();
        let taking = TurnTaking {
            phrases: false,
            reads_text: false,
            wait_ms: config.turn.wait_ms,
            follow_up_ms: config.turn.follow_up_ms,
            question_ms: config.turn.question_ms,
            barge_in: config.turn.barge_in,
            max_ms: config.listen.max_ms,
            ends: EndSilences::default(),
            consent: config.risk.window(),
        };
        let (history, last) = History::open(dir, &HistoryConfig::default());
        Self {
            listener: Listener::new(&config.listen, Some(Box::new(words))),
            conversation: Conversation::new(taking, last, begun),
            threads,
            home,
            history,
            air,
            echo: VecDeque::from(vec![0.0; ECHO.0]),
            begun,
            now: 0,
            record: Record::default(),
            counts: Counts::default(),
        }
    }

    /// The room hears this.
    fn hears(&mut self, sound: &[f32]) {
        for block in sound.chunks(BLOCK) {
            self.settle();
            let mut rendered = vec![0.0; block.len()];
            {
                let mut air = self.air.lock().expect("no thread panics with it");
                let n = rendered.len().min(air.len());
                rendered.iter_mut().zip(air.drain(..n)).for_each(|(sample, played)| *sample = played);
            }
            self.echo.extend(&rendered);
            let heard: Vec<f32> =
                block.iter().zip(self.echo.drain(..block.len())).map(|(v, e)| v + ECHO.1 * e).collect();
            self.now += block.len();
            for event in self.listener.push(&heard, &rendered).expect("the graphs run") {
                if let ListenEvent::Wake { word, .. } = &event {
                    self.counts.woken += 1;
                    self.record.by.clone_from(word);
                }
                self.input(Input::Heard(event));
            }
        }
    }

    /// The room's clock stands still while somebody thinks, and while a voice is being made.
    fn settle(&mut self) {
        let asked = Instant::now();
        loop {
            let busy = match self.conversation.state() {
                State::Thinking | State::Acting => true,
                State::Speaking => self.air.lock().expect("no thread panics with it").is_empty(),
                _ => false,
            };
            let wait = if busy { Duration::from_millis(1) } else { Duration::ZERO };
            match self.threads.reports.recv_timeout(wait) {
                Ok(report) => self.report(report),
                Err(RecvTimeoutError::Timeout) if busy => {
                    assert!(asked.elapsed() < LIMIT, "nothing happens any more: {:?}", self.conversation);
                }
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => panic!("all threads are lost"),
            }
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Ended(ended) => panic!("a thread was lost: {ended:?}"),
            Report::Model(infer::Report::Reply(turn, event)) => {
                self.counts.calls += usize::from(matches!(event, ReplyEvent::Call(_)));
                self.input(Input::Reply(turn, event));
            }
            Report::Model(infer::Report::Failed(turn)) => {
                self.counts.failed += 1;
                self.input(Input::Failed(turn));
            }
            Report::Model(infer::Report::Times(_, timeline)) => self.record.timeline = timeline,
            Report::Mouth(mouth::Report::Spoken(turn)) => {
                self.counts.turns += 1;
                let record = Record { turn: turn.0, ending: Ending::Done, ..std::mem::take(&mut self.record) };
                self.history.keep(&record).expect("the folder can be written");
                self.input(Input::Spoken(turn));
            }
            Report::Model(infer::Report::Transcript(..) | infer::Report::Drafted(..)) | Report::Mouth(_) => {}
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.begun + Duration::from_micros(self.now as u64 * 1_000 / 16);
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.conversation.handle(input, now) {
                self.carry_out(output, &mut inputs);
            }
        }
    }

    fn carry_out(&mut self, output: Output, inputs: &mut VecDeque<Input>) {
        let say = |line| self.threads.lines.send(line).expect("it speaks");
        match output {
            Output::Model(turn, job) => {
                if matches!(job, Job::Begin(_) | Job::Cancel) {
                    self.threads.interrupt.raise();
                }
                if let Job::Settle { said, .. } = &job {
                    self.record.said.clone_from(said);
                }
                self.threads.jobs.send((turn, job)).expect("it thinks");
            }
            Output::Listen(command) => {
                inputs.extend(self.listener.command(command).into_iter().map(Input::Heard));
            }
            Output::Call(turn, call) => {
                let result = self.home.call_blocking(&call);
                self.record.actions.push(Action { call, result: result.clone() });
                inputs.push_back(Input::Done(turn, result));
            }
            Output::Say(turn, text) => say(Line::Say(turn, text)),
            Output::Voice(turn, text) => say(Line::Voice(turn, text)),
            Output::EndSpeech(turn) => say(Line::End(turn)),
            Output::Ring(turn) => say(Line::Ring(turn)),
            Output::Hush(turn) => self.threads.hush.up_to(turn),
            Output::Play(earcon) => {
                say(Line::Play(earcon));
                // It is played at once: the room's clock runs faster than threads are woken up.
                let asked = Instant::now();
                while self.air.lock().expect("no thread panics with it").is_empty() && asked.elapsed() < LIMIT {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
            Output::Show(_) | Output::NothingSaid => {}
        }
    }
}

/// Numbers without structure.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn below(&mut self, n: usize) -> usize {
        (((self.next() + 1.0) / 2.0 * n as f32) as usize).min(n - 1)
    }

    /// So many seconds of hiss at this level.
    fn hiss(&mut self, seconds: usize, level: f32) -> Vec<f32> {
        (0..seconds * 16_000).map(|_| level * self.next()).collect()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn loud(mut samples: Vec<f32>, peak: f32) -> Vec<f32> {
    let most = samples.iter().fold(0.01_f32, |most, v| most.max(v.abs()));
    samples.iter_mut().for_each(|v| *v *= peak / most);
    samples
}

fn clip(path: &str) -> Vec<f32> {
    loud(wav::read_at(&root().join(path), 16_000).expect("it is in the repository").samples, 0.5)
}

fn resident_mb() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages: f64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096.0 / 1e6
}

#[test]
fn a_day_of_listening_costs_no_memory_and_no_thread() {
    let Some(hours) = std::env::var("HEARTH_SOAK").ok().and_then(|hours| hours.parse::<f64>().ok()) else {
        return eprintln!("SKIPPED: takes a quarter of an hour and more (HEARTH_SOAK=8, in hours of sound)");
    };
    let config = Config::read(Some(&root().join("config.toml"))).expect("the repository's configuration");
    onnx::init(&config.runtime.onnxruntime).expect("scripts/setup installs ONNX Runtime");
    let dir = tempfile::tempdir().expect("a folder");
    let mut house = House::new(&config, dir.path());
    let mut voice = ask::voice(&config).expect("scripts/setup installs the voice");
    let talk = [
        "The kettle was on the stove when she came in, and nobody had looked at the clock.",
        "He said that the train would be late again, as it had been all week.",
        "There were nine chairs around the table, and eight of them were taken.",
        "It rained in the morning, and by noon the road along the river was closed.",
    ];
    let talk = talk.map(|text| {
        let clip = speech::say(&mut voice, text).expect("it can be said");
        loud(resample::resample(&clip, 16_000).samples, 0.3)
    });
    let word = clip("tests/fixtures/computer.flac");
    let commands = ["light-over-the-stove", "pasta-timer-ten-minutes"];
    let commands = commands.map(|name| clip(&format!("onnx/starter/samples/{name}.flac")));
    let (mut chance, wanted) = (Chance(7), (hours * 3_600.0 * 16_000.0) as usize);
    let (mut told, mut first, started) = (0, None, Instant::now());
    println!("hours  turns  woken/called  calls  failed  resident MB  wall s");
    while house.now < wanted {
        let quiet = 5 + chance.below(25);
        let hiss = chance.hiss(quiet, 0.0005);
        house.hears(&hiss);
        for _ in 0..chance.below(4) {
            let sentence = talk[chance.below(talk.len())].clone();
            house.hears(&sentence);
        }
        if chance.below(4) == 0 {
            let noise = chance.hiss(6, 0.05);
            house.hears(&noise);
        }
        house.counts.commands += 1;
        let gap = chance.hiss(1, 0.0005);
        let command = &commands[chance.below(commands.len())];
        let parts: [&[f32]; 5] = [&gap, &word, &gap[..2_000], command, &gap];
        house.hears(&parts.concat());
        if house.now >= told + REPORT || house.now >= wanted {
            told = house.now;
            let (counts, resident) = (house.counts, resident_mb());
            if first.is_none() && house.now >= WARM.min(wanted / 2) {
                first = Some((counts.turns, resident));
            }
            println!(
                "{:5.2}  {:5}  {:5}/{:<6}  {:5}  {:6}  {resident:11.1}  {:6.0}",
                house.now as f64 / 57_600_000.0,
                counts.turns,
                counts.woken,
                counts.commands,
                counts.calls,
                counts.failed,
                started.elapsed().as_secs_f64()
            );
        }
    }
    let (turns, resident) = first.expect("it was long enough");
    let (more_turns, grown) = (house.counts.turns - turns, resident_mb() - resident);
    println!("{grown:.1} MB more after {more_turns} more turns");
    assert!(house.counts.woken * 2 > house.counts.commands, "{:?}", house.counts);
    assert!(house.counts.failed == 0, "{:?}", house.counts);
    // A megabyte per hundred turns (field note S22), the five of the sentences that are kept, and what the allocator keeps.
    assert!(grown < 7.0 + more_turns as f64 / 100.0, "{grown} MB in {more_turns} turns");
}

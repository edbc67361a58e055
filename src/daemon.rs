//! The daemon in one readable place: configuration to threads to channels to the select loop to shutdown.
//!
//! Four threads do the work (`listen`, `infer`, `voice`, `speak`, see `start`) and report over one bounded channel; the
//! [`Conversation`] decides; this file translates between the two, carries out calls, answers the control socket, lets
//! timers ring and tells systemd. It runs on the thread that called [`run`], in a current-thread runtime, and never blocks
//! for more than a millisecond: threads are given work with `try_send`, and one whose queue is full is stuck and is treated
//! as failed.

mod orders;
mod start;
mod turns;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};

use crate::ask::{self, Household, Presence, Teller};
use crate::config::{Config, ConfigError};
use crate::control::{self, Missing, Order, Publisher, Server};
use crate::conversation::{Conversation, EndSilences, Input, Job, Output, State, TurnTaking};
use crate::dialogue::{Effect, ToolCall, ToolResult, TurnId, Volume};
use crate::duck::Duck;
use crate::failure::{Failure, INTERNAL, LOST_THREAD};
use crate::home::Registry;
use crate::home::audit::AuditLog;
use crate::home::mqtt::Mqtt;
use crate::home::timers::SharedTimers;
use crate::listen::listener::{DeviceState, ListenCommand, ListenEvent};
use crate::mouth::{Hush, Line};
use crate::onnx::{self, Interrupt};
use crate::service::Service;
use crate::{infer, mouth, terminal};

use orders::Press;
use start::{Loaded, Notice, Threads};
use turns::Turns;

/// How often the daemon looks after itself, if systemd does not ask for more.
const LOOK: Duration = Duration::from_secs(5);
/// The time a load may take beyond the next look.
const MORE: Duration = Duration::from_secs(30);
/// All loads together: a model of 5 GB, prepared for the first time from a slow card, is done by then, and what hangs is
/// left to systemd.
const LONGEST_LOAD: Duration = Duration::from_secs(30 * 60);
/// All threads together may take so long to end.
const FAREWELL: Duration = Duration::from_secs(5);
/// Without a timer the loop wakes up for other things only.
const FAR: Duration = Duration::from_secs(3600);
/// What rings is named again at every so many looks, and only sounds at the others.
const RINGS: u32 = 4;
/// So long after the last turn the model may be asked about it: nobody is likely to go on speaking.
const REST: Duration = Duration::from_secs(8);

/// Runs until a signal ends it. The socket answers from the first moment, the microphone is heard once all is loaded.
///
/// # Errors
/// When something that it cannot be without is missing (69), the socket is taken, or a thread ends by itself (71).
pub fn run(read: impl Fn() -> Result<Config, ConfigError> + 'static) -> Result<(), Failure> {
    let config = read()?;
    onnx::init(&config.runtime.onnxruntime)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(INTERNAL, format!("no runtime: {error}")))?;
    LocalSet::new().block_on(&runtime, async {
        let (mut daemon, mut inbox) = Daemon::start(config, Box::new(read))?;
        let result = daemon.serve(&mut inbox).await;
        daemon.stop(inbox).await;
        result
    })
}

/// Where everything that happens comes from.
struct Inbox {
    notices: Receiver<Notice>,
    orders: Receiver<Order>,
    calls: JoinSet<(TurnId, ToolCall, ToolResult)>,
    /// The switch on the broker; nothing comes where there is none.
    mute_switch: Receiver<bool>,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What `status` calls it when it is missing.
const MICROPHONE: &str = "microphone";

/// Reads and checks the configuration.
type Read = Box<dyn Fn() -> Result<Config, ConfigError>>;

struct Daemon {
    config: Config,
    /// What does not change while it runs is as it was here.
    started_with: Config,
    /// Reads the configuration again.
    read: Read,
    service: Service,
    publisher: Publisher,
    duck: Duck,
    conversation: Conversation,
    threads: Threads,
    hush: Hush,
    home: Rc<Registry>,
    timers: SharedTimers,
    /// Where hearth's own state is shown, if there is a broker.
    mqtt: Option<Mqtt>,
    /// Tells the model what the home is like.
    teller: Teller,
    /// To stop the model, once there is one.
    stop_model: Option<Arc<Interrupt>>,
    has_voice: bool,
    /// How loud it speaks: 1 is as the voice was made.
    volume: f32,
    phrases: bool,
    reads_text: bool,
    turns: Turns,
    /// Who asked for the turn in progress, and waits for what comes of it.
    asked: Option<(TurnId, oneshot::Sender<Value>)>,
    press: Press,
    /// Somebody has called since something began to ring.
    answering: bool,
    /// Something rings, as the ears were told.
    ears_ring: bool,
    /// How often what rings has been heard in a row.
    rings: u32,
    /// When it was started.
    began: Instant,
    /// The last time that anything was said to the model.
    last_turn: Instant,
    /// Calls that are to be started.
    to_call: Vec<(TurnId, ToolCall)>,
    /// A thread that took no more work.
    stuck: Option<&'static str>,
}

impl Daemon {
    fn start(config: Config, read: Read) -> Result<(Self, Inbox), Failure> {
        let service = Service::from_env();
        let (publisher, orders) = Server::bind(&config.control)?.start();
        let on = |kind| signal(kind).map_err(|error| Failure::new(INTERNAL, format!("no signals: {error}")));
        let (terminate, interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
        let hangup = on(SignalKind::hangup())?;
        let household = ask::household_with(&config, ask::kept_timers(&config), Presence::Live)?;
        let Household { tools: home, timers, mqtt, mut teller, .. } = household;
        let home = home.audited(AuditLog::new(&config.state.path(), &config.audit));
        let hush = Hush::default();
        let (threads, notices) = start::threads(&config, teller.told(), &hush)?;
        let (turns, last) = Turns::open(&config);
        let duck = Duck::start(&config.duck, None);
        let volume = config.speech.volume;
        let mut daemon = Self {
            conversation: Conversation::new(turn_taking(&config, false, false), last, Instant::now()),
            started_with: config.clone(),
            config,
            read,
            service,
            publisher,
            duck,
            threads,
            hush,
            home: Rc::new(home),
            timers,
            mqtt,
            teller,
            stop_model: None,
            has_voice: false,
            volume,
            phrases: false,
            reads_text: false,
            turns,
            asked: None,
            press: Press::default(),
            answering: false,
            ears_ring: false,
            rings: 0,
            began: Instant::now(),
            last_turn: Instant::now(),
            to_call: Vec::new(),
            stuck: None,
        };
        let mute_switch = daemon.mqtt.as_ref().and_then(Mqtt::mute_requests);
        // Without a sender it is over at once, and is not asked again.
        let mute_switch = mute_switch.unwrap_or_else(|| tokio::sync::mpsc::channel(1).1);
        terminal::notice("loading the model");
        daemon.say(Line::Volume(daemon.volume));
        daemon.remember_mute();
        Ok((daemon, Inbox { notices, orders, calls: JoinSet::new(), mute_switch, terminate, interrupt, hangup }))
    }

    /// A microphone that was switched off stays off.
    fn remember_mute(&mut self) {
        if self.mute_file().exists() {
            let outputs = self.conversation.handle(Input::Mute(true), Instant::now());
            let quiet = outputs.into_iter().filter(|output| !matches!(output, Output::Play(_)));
            self.carry_out(quiet.collect());
        }
    }

    async fn serve(&mut self, inbox: &mut Inbox) -> Result<(), Failure> {
        let every = self.service.alive_every().unwrap_or(LOOK).min(LOOK);
        let mut look = tokio::time::interval(every);
        loop {
            if let Some(name) = self.stuck {
                return Err(Failure::new(LOST_THREAD, format!("thread {name} takes no more work")));
            }
            for (turn, call) in self.to_call.drain(..) {
                let home = Rc::clone(&self.home);
                inbox.calls.spawn_local(async move {
                    let result = home.call_in(Some(turn), &call).await;
                    (turn, call, result)
                });
            }
            let ring_at = self.timers.next_due().unwrap_or_else(|| Instant::now() + FAR);
            tokio::select! {
                Some(notice) = inbox.notices.recv() => self.notice(notice)?,
                Some(order) = inbox.orders.recv() => self.order(order),
                Some(mute) = inbox.mute_switch.recv() => drop(self.mute(mute)),
                Some(done) = inbox.calls.join_next(), if !inbox.calls.is_empty() => self.called(done),
                () = tokio::time::sleep_until(ring_at.into()) => self.ring(),
                _ = look.tick() => self.look(),
                _ = inbox.hangup.recv() => drop(self.reload()),
                _ = inbox.terminate.recv() => return Ok(()),
                _ = inbox.interrupt.recv() => return Ok(()),
            }
        }
    }

    fn is_ready(&self) -> bool {
        self.stop_model.is_some() && self.has_voice
    }

    fn notice(&mut self, notice: Notice) -> Result<(), Failure> {
        match notice {
            Notice::Loaded(loaded) => self.loaded(loaded),
            Notice::HasVoice => {
                self.has_voice = true;
                self.ready();
            }
            Notice::Heard(ListenEvent::Device(DeviceState::Ended)) => {
                return Err(Failure::new(LOST_THREAD, "thread capture: it ended by itself"));
            }
            Notice::Heard(event) => self.heard(event),
            Notice::Model(infer::Report::Reply(turn, event)) => self.input(Input::Reply(turn, event)),
            Notice::Model(infer::Report::Drafted(turn, pause, drafted)) => {
                self.input(Input::Drafted(turn, pause, drafted));
            }
            Notice::Model(infer::Report::Failed(turn)) => self.failed(turn, "the model failed, see the log"),
            Notice::Model(infer::Report::Times(turn, timeline)) => self.turns.times(turn, timeline),
            Notice::Model(infer::Report::Transcript(turn, heard, again)) => {
                self.turns.transcribed(turn, heard, again);
            }
            Notice::Mouth(mouth::Report::Began(turn)) => self.turns.began_to_speak(turn),
            Notice::Mouth(mouth::Report::Spoken(turn)) => {
                self.turns.close(turn);
                self.answered();
                self.input(Input::Spoken(turn));
            }
            Notice::Mouth(mouth::Report::Voiced(turn, samples)) => self.input(Input::Voiced(turn, samples)),
            Notice::Mouth(mouth::Report::Output(missing)) => {
                let name = self.config.audio.output.clone();
                self.missing("loudspeaker", name, missing);
            }
            Notice::Failed(failure) => return Err(failure),
            Notice::Ended(ended) => {
                let fault = ended.fault.unwrap_or_else(|| "it ended by itself".into());
                return Err(Failure::new(LOST_THREAD, format!("thread {}: {fault}", ended.name)));
            }
        }
        Ok(())
    }

    fn loaded(&mut self, loaded: Loaded) {
        (self.phrases, self.reads_text) = (loaded.phrases, loaded.reads_text);
        self.stop_model = Some(loaded.interrupt);
        let taking = turn_taking(&self.config, self.phrases, self.reads_text);
        self.conversation.handle(Input::Configure(taking), Instant::now());
        self.publisher.update(|public| {
            public.details.insert("model".into(), loaded.name.into());
        });
        self.ready();
    }

    /// Says so to everyone, once model and voice are there.
    fn ready(&mut self) {
        if self.is_ready() {
            self.show(self.conversation.state());
            self.service.ready("listening");
            tracing::info!("ready");
            terminal::notice("ready");
        }
    }

    fn heard(&mut self, event: ListenEvent) {
        match &event {
            ListenEvent::Device(state) => {
                let missing = match state {
                    DeviceState::Running(device) => {
                        self.publisher.update(|public| {
                            public.details.insert(MICROPHONE.into(), device.clone().into());
                        });
                        None
                    }
                    DeviceState::Missing(reason) => Some(reason.clone()),
                    DeviceState::Ended => None,
                };
                let name = self.config.audio.input.clone();
                self.missing(MICROPHONE, name, missing);
            }
            // Nothing can be answered yet.
            _ if !self.is_ready() => return,
            ListenEvent::Wake { word, score } => {
                self.answering = true;
                self.publisher.event("wake", &json!({"word": word, "score": score}));
                self.turns.because(format!("{word} ({score:.2})"));
            }
            ListenEvent::BargeIn => self.turns.because("speech into a reply".into()),
            ListenEvent::Stop { score } => {
                self.publisher.event("stop", &json!({"score": score}));
                self.answering = true;
                self.answered();
            }
            ListenEvent::Audio(samples) => self.turns.sound(self.conversation.turn(), samples),
            ListenEvent::End(reason) => self.turns.endpoint(self.conversation.turn(), *reason),
            _ => {}
        }
        self.input(Input::Heard(event));
    }

    fn called(&mut self, done: Result<(TurnId, ToolCall, ToolResult), tokio::task::JoinError>) {
        match done {
            Ok((turn, call, result)) => {
                let line = json!({"tool": call.name, "outcome": result.outcome});
                self.publisher.event("called", &line);
                if let Some(Effect::Volume(volume)) = &result.effect {
                    self.set_volume(*volume);
                }
                if let (Some(mqtt), Some(said)) = (&self.mqtt, &result.say) {
                    mqtt.show(|about| about.last_action.clone_from(said));
                }
                self.turns.called(turn, call, result.clone());
                self.input(Input::Done(turn, result));
            }
            // The registry answers for every tool; what is left is a panic in one.
            Err(error) => {
                tracing::error!(%error, "a tool broke");
                if let Some(turn) = self.conversation.turn() {
                    self.failed(turn, "a tool broke, see the log");
                }
            }
        }
    }

    /// A turn cannot go on.
    fn failed(&mut self, turn: TurnId, why: &str) {
        self.publisher.event("error", &json!({"error": why}));
        self.input(Input::Failed(turn));
    }

    fn set_volume(&mut self, volume: Volume) {
        let percent = match volume {
            Volume::To(percent) => f32::from(percent),
            Volume::By(points) => self.volume * 100.0 + f32::from(points),
        };
        self.volume = (percent / 100.0).clamp(0.0, 1.0);
        self.say(Line::Volume(self.volume));
    }

    fn input(&mut self, input: Input) {
        let outputs = self.conversation.handle(input, Instant::now());
        self.carry_out(outputs);
    }

    fn carry_out(&mut self, outputs: Vec<Output>) {
        let mut queue = VecDeque::from(outputs);
        // Ends: a failed turn has no jobs, and each output makes at most one further input.
        while let Some(output) = queue.pop_front() {
            match output {
                Output::Model(turn, job) => {
                    if !self.job(turn, job) {
                        queue.extend(self.conversation.handle(Input::Failed(turn), Instant::now()));
                    }
                }
                Output::Listen(command) => self.ears(command),
                Output::Call(turn, call) => {
                    self.turns.calls(turn);
                    self.to_call.push((turn, call));
                }
                Output::Say(turn, text) => self.say(Line::Say(turn, text)),
                Output::Voice(turn, text) => self.say(Line::Voice(turn, text)),
                Output::EndSpeech(turn) => self.say(Line::End(turn)),
                Output::Hush(turn) => {
                    self.hush.up_to(turn);
                    self.turns.hushed(turn);
                }
                Output::Play(earcon) => self.say(Line::Play(earcon)),
                Output::Ring(turn) => self.say(Line::Ring(turn)),
                Output::Show(state) => self.show(state),
                Output::NothingSaid => {
                    self.publisher.event("nothing_said", &json!({}));
                    self.turns.nothing_said();
                    self.answered();
                }
            }
        }
    }

    /// Gives the model work. False when it does not take any.
    fn job(&mut self, turn: TurnId, job: Job) -> bool {
        match &job {
            Job::Begin(_) => {
                self.turns.begin(turn);
                self.last_turn = Instant::now();
            }
            Job::Settle { said, .. } => {
                let record = self.turns.settled(turn, said);
                self.answer(turn, json!({"said": said, "actions": record}));
            }
            Job::Cancel => {
                self.turns.cancelled(turn);
                self.answer(turn, control::refused("cancelled", None));
            }
            _ => {}
        }
        if let (Job::Begin(_) | Job::Cancel, Some(interrupt)) = (&job, &self.stop_model) {
            interrupt.raise();
        }
        let taken = self.threads.jobs.try_send((turn, job));
        self.taken("infer", taken)
    }

    fn answer(&mut self, turn: TurnId, answer: Value) {
        if let Some((_, reply)) = self.asked.take_if(|(asked, _)| *asked == turn) {
            // Whoever asked may be gone.
            let _ = reply.send(answer);
        }
    }

    fn say(&mut self, line: Line) {
        let taken = self.threads.lines.try_send(line);
        self.taken("voice", taken);
    }

    fn ears(&mut self, command: ListenCommand) {
        let taken = self.threads.ears.try_send(command);
        self.taken("listen", taken);
    }

    /// Did a thread take its work? One with a full queue has hung; the end of one tells of itself.
    fn taken<T>(&mut self, name: &'static str, taken: Result<(), TrySendError<T>>) -> bool {
        if matches!(taken, Err(TrySendError::Full(_))) {
            self.stuck = Some(name);
        }
        taken.is_ok()
    }

    fn show(&mut self, state: State) {
        let state = if self.is_ready() { state } else { State::Loading };
        let muted = self.conversation.state() == State::Muted;
        self.service.status(&format!("{state:?}").to_lowercase());
        self.duck.show(state);
        self.publisher.update(|public| (public.state, public.muted) = (state, muted));
        if let Some(mqtt) = &self.mqtt {
            mqtt.show(|about| (about.state, about.muted) = (format!("{state:?}").to_lowercase(), muted));
        }
    }

    fn missing(&mut self, what: &str, name: Option<String>, reason: Option<String>) {
        let name = name.unwrap_or_else(|| "default".into());
        let known = self.publisher.public().missing.iter().any(|missing| missing.what == what);
        if let Some(reason) = reason.as_ref().filter(|_| self.is_ready() && !known) {
            self.publisher.event("error", &json!({"error": format!("no {what} ({name}): {reason}")}));
        }
        self.publisher.update(|public| {
            let since = public.missing.iter().find(|missing| missing.what == what).map(|m| m.since_unix_ms);
            public.missing.retain(|missing| missing.what != what);
            if let Some(reason) = reason {
                let since_unix_ms = since.unwrap_or_else(turns::now_unix_ms);
                public.missing.push(Missing { what: what.into(), name, reason, since_unix_ms });
            }
        });
        if let Some(mqtt) = &self.mqtt {
            let missing = self.publisher.public().missing;
            let error = missing.iter().map(|missing| format!("{}: {}", missing.what, missing.reason));
            let error = error.collect::<Vec<_>>().join("; ");
            mqtt.show(|about| about.error = error);
        }
    }

    fn ring(&mut self) {
        for timer in self.timers.due() {
            (self.answering, self.rings) = (false, 0);
            self.input(Input::Announce(timer.rings()));
        }
        self.tell_ringing();
    }

    /// The stop word is listened for while something rings.
    fn tell_ringing(&mut self) {
        let rings = !self.timers.ringing().is_empty();
        if rings != std::mem::replace(&mut self.ears_ring, rings) {
            self.ears(ListenCommand::Ringing(rings));
        }
    }

    /// What rings goes on ringing between turns, until somebody answers; now and then it is said what it is.
    fn ring_on(&mut self) {
        if self.conversation.turn().is_none()
            && let Some(timer) = self.timers.ringing().first()
        {
            self.rings += 1;
            let is_said = self.rings.is_multiple_of(RINGS);
            self.input(if is_said { Input::Announce(timer.rings()) } else { Input::Ring });
        }
    }

    /// Somebody called or pressed a key, and that turn is over: what still rings, and was not snoozed, has been heard.
    fn answered(&mut self) {
        if std::mem::take(&mut self.answering) {
            for timer in self.timers.stop() {
                tracing::info!(timer = timer.id, "stopped ringing");
            }
        }
    }

    /// Every few seconds: systemd, the conversation's memory.
    fn look(&mut self) {
        if !self.is_ready() {
            if self.began.elapsed() < LONGEST_LOAD {
                self.service.extend(LOOK + MORE);
            }
            self.service.alive();
        } else if let Some(name) = self.threads.stuck() {
            tracing::error!(name, "this thread has not moved for a while");
        } else {
            self.service.alive();
        }
        if self.is_ready() {
            self.ring_on();
            self.tell_ringing();
            if let Some(told) = self.teller.news() {
                let taken = self.threads.jobs.try_send((TurnId(0), Job::Declare(Box::new(told))));
                self.taken("infer", taken);
            }
            self.transcribe();
        }
        let memory = Duration::from_secs(self.config.turn.memory_s.into());
        if self.conversation.turn().is_none() && self.last_turn.elapsed() > memory {
            self.input(Input::Forget);
        }
    }

    /// Asks the model what it heard in a turn that is over, when there is nothing else to do.
    fn transcribe(&mut self) {
        let is_idle = self.conversation.turn().is_none() && self.last_turn.elapsed() > REST;
        if is_idle
            && self.phrases
            && self.reads_text
            && let Some((turn, samples)) = self.turns.untranscribed()
        {
            // The last interruption has done its work.
            self.stop_model.iter().for_each(|interrupt| interrupt.clear());
            self.job(turn, Job::Transcribe(samples));
        }
    }

    /// The only way out: everything is told to end, and what hangs is left behind.
    async fn stop(self, inbox: Inbox) {
        self.service.stopping();
        self.hush.up_to(TurnId(u64::MAX));
        if let Some(interrupt) = &self.stop_model {
            interrupt.raise();
        }
        // A thread that waits to report must find that nobody listens.
        drop(inbox.notices);
        self.duck.end().await;
        for name in self.threads.end(Instant::now() + FAREWELL) {
            tracing::warn!(name, "this thread did not end in time");
        }
    }
}

fn turn_taking(config: &Config, phrases: bool, reads_text: bool) -> TurnTaking {
    let turn = &config.turn;
    TurnTaking {
        phrases,
        reads_text,
        wait_ms: turn.wait_ms,
        follow_up_ms: turn.follow_up_ms,
        question_ms: turn.question_ms,
        barge_in: turn.barge_in,
        max_ms: config.listen.max_ms,
        ends: EndSilences { early_ms: config.listen.early_silence_ms, late_ms: config.listen.late_silence_ms },
        consent: config.risk.window(),
    }
}

//! Microphone and loudspeaker against a real PulseAudio server with null sinks, which each test starts for itself in a
//! folder of its own: what is played is captured, what goes away is noticed, what comes back is used again.
//!
//! A process has one environment and it cannot be changed safely, so each test runs itself again as a child whose
//! `XDG_RUNTIME_DIR` is that folder.

use std::cell::Cell;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use hearth::audio::capture::{CaptureConfig, CaptureState, Microphone};
use hearth::audio::playback::{Play, PlayError, Played, Speaker};
use hearth::audio::{Clip, device, wav};

mod sound;

use sound::{Recorder, Server, rms, until};

/// Marks the child.
const CHILD: &str = "HEARTH_TEST_SOUND_SERVER";
/// A test that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// A sine of 300 Hz and 0.5 changes by 0.0196 per sample at 48 kHz; by more where it was cut.
const CLICK: f32 = 0.03;

/// Runs `body` in a child with a sound server's folder. Skips where there is no PulseAudio.
fn with_server(name: &str, body: impl FnOnce(&Path)) {
    in_child(body, || run(name).expect("it passes"));
}

/// As [`with_server`], for what is to be heard without a gap, which is this machine's matter too: it may fail where
/// PulseAudio's own player, with as much sound in hand, has gaps at the same time, and besides twice.
fn unbroken(name: &str, body: impl FnOnce(&Path)) {
    in_child(body, || {
        if run(name).is_ok() {
            return;
        }
        let mut failed = 0;
        for _ in 0..5 {
            let peer = Peer::start();
            let Err(reason) = run(name) else { return };
            failed += usize::from(peer.was_whole());
            assert!(failed < 3, "{name} failed: {reason}");
        }
        eprintln!("SKIPPED: {name}: what this machine's own player plays has gaps too");
    });
}

fn in_child(body: impl FnOnce(&Path), parent: impl FnOnce()) {
    if let Some(dir) = std::env::var_os(CHILD) {
        return body(Path::new(&dir));
    }
    if sound::is_missing() {
        return;
    }
    let _alone = sound::alone();
    parent();
}

/// PulseAudio's own player, which plays a tone on a server of its own.
struct Peer {
    player: Child,
    recorder: Recorder,
    _server: Server,
    _dir: tempfile::TempDir,
}

impl Peer {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let server = Server::start(dir.path(), &[SPEAKER]);
        let recorder = server.record("spk");
        let player = server.play_with("spk", &tone(300.0, LIMIT.as_secs_f64(), 48_000), &["--latency-msec=80"]);
        Self { player, recorder, _server: server, _dir: dir }
    }

    fn was_whole(mut self) -> bool {
        let recorded = self.recorder.so_far();
        self.player.kill().expect("it runs");
        self.player.wait().expect("it is ours");
        let (first, last) = span(&recorded).expect("something was played");
        largest_step(&recorded[first..last]) < CLICK
    }
}

/// Runs one test as a child.
fn run(name: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, dir.path())
        .env("XDG_RUNTIME_DIR", dir.path())
        .env("HOME", dir.path())
        .env_remove("PULSE_SERVER")
        .env_remove("PULSE_RUNTIME_PATH")
        .spawn()
        .expect("this program starts");
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it is ours") {
            return if status.success() { Ok(()) } else { Err(format!("{status} after {:?}", begun.elapsed())) };
        }
        if begun.elapsed() > LIMIT {
            let _ = child.kill();
            // Its server would outlive it.
            if let Ok(id) = std::fs::read_to_string(dir.path().join("pulse/pid")) {
                let _ = Command::new("kill").arg(id.trim()).status();
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn speech() -> Clip {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/starter/samples/light-over-the-stove.flac");
    wav::read_at(&path, 16_000).expect("the sample is in the repository")
}

fn tone(hz: f64, seconds: f64, rate_hz: u32) -> Clip {
    let step = hz * std::f64::consts::TAU / f64::from(rate_hz);
    let n = (seconds * f64::from(rate_hz)) as usize;
    Clip { samples: (0..n).map(|i| (i as f64 * step).sin() as f32 * 0.5).collect(), rate_hz }
}

fn open(name: Option<&str>) -> Microphone {
    Microphone::open(&CaptureConfig { device: name.map(String::from) })
}

fn is_running(state: &CaptureState) -> bool {
    matches!(state, CaptureState::Running { .. })
}

/// Reads until the state is as wanted, and says how long that took.
fn wait_for(microphone: &mut Microphone, running: bool, limit: Duration) -> Duration {
    let mut heard = Vec::new();
    let what = if running { "the microphone runs" } else { "the loss is noticed" };
    until(what, limit, || is_running(&microphone.read(&mut heard)) == running)
}

fn hear(microphone: &mut Microphone, time: Duration) -> Vec<f32> {
    let (mut heard, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < time {
        microphone.read(&mut heard);
        std::thread::sleep(Duration::from_millis(10));
    }
    heard
}

/// The normalised correlation of `clip` with the part of `heard` that its first second is most like.
fn likeness(heard: &[f32], clip: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| f64::from(a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>());
    let alike = |a: &[f32], b: &[f32]| product(a, b) / (product(a, a) * product(b, b)).sqrt().max(1e-9);
    let head = &clip[..clip.len().min(16_000)];
    let lags = 0..heard.len().saturating_sub(clip.len());
    let at = |lag: usize| product(&heard[lag..lag + head.len()], head);
    let best = lags.map(|lag| (lag, at(lag))).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(lag, _)| lag);
    best.map_or(0.0, |lag| alike(&heard[lag..lag + clip.len()], clip))
}

/// Plays the sample into a sink and says how like it is what the microphone heard. Nothing may be lost.
fn heard_speech(server: &Server, sink: &str, microphone: &mut Microphone) -> f64 {
    let lost = microphone.overruns();
    let clip = speech();
    let mut player = server.play(sink, &clip);
    // A null sink mixes a new sound into what it is giving already: its first samples may be those read before.
    let mut heard = vec![0.0; 1_600];
    // The player ends when the server has played everything; some of that is still on its way here.
    until("the player ends", Duration::from_secs(10), || {
        microphone.read(&mut heard);
        player.try_wait().expect("it is ours").is_some()
    });
    heard.extend(hear(microphone, Duration::from_millis(300)));
    assert_eq!(microphone.overruns(), lost);
    likeness(&heard, &clip.samples)
}

/// First and last sample that is louder than 0.01.
fn span(samples: &[f32]) -> Option<(usize, usize)> {
    let loud = |x: &f32| x.abs() > 0.01;
    Some((samples.iter().position(loud)?, samples.iter().rposition(loud)?))
}

fn largest_step(samples: &[f32]) -> f32 {
    samples.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
}

#[test]
fn what_is_played_is_captured_at_every_rate_and_format() {
    unbroken("what_is_played_is_captured_at_every_rate_and_format", |dir| {
        let sinks = [
            ("mono48", 48_000, 1, "i16", "rate=48000 channels=1 format=s16le"),
            ("stereo44", 44_100, 2, "f32", "rate=44100 channels=2 format=float32le"),
            ("mono16", 16_000, 1, "i32", "rate=16000 channels=1 format=s32le"),
            ("eight96", 96_000, 8, "i24", "rate=96000 channels=8 format=s24le"),
        ];
        // Each null sink takes 2 s to wake up: all of them only when there is time.
        let slow = std::env::var_os("HEARTH_SLOW").is_some();
        let sinks = if slow { &sinks[..] } else { &sinks[1..2] };
        let lines: Vec<String> = sinks.iter().map(|(name, .., rest)| format!("sink_name={name} {rest}")).collect();
        let server = Server::start(dir, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        for &(name, rate, channel_count, sample_format, _) in sinks {
            let mut microphone = open(Some(&format!("{name}.monitor")));
            let opened = wait_for(&mut microphone, true, Duration::from_secs(8));
            let state = microphone.read(&mut Vec::new());
            let CaptureState::Running { rate_hz, channels, format, .. } = state else { panic!("{state:?}") };
            assert_eq!((rate_hz, channels, format), (rate, channel_count, sample_format), "{name}");
            let like = heard_speech(&server, name, &mut microphone);
            println!("{name}: open after {opened:?}, likeness {like:.4}");
            assert!(like > 0.95, "{name}: {like}");
        }
    });
}

const MIC: &str = "sink_name=mic rate=48000 channels=1";
const SPEAKER: &str = "sink_name=spk rate=48000 channels=2";

#[test]
fn a_device_that_goes_is_noticed_and_used_again_when_it_returns() {
    with_server("a_device_that_goes_is_noticed_and_used_again_when_it_returns", |dir| {
        let server = Server::start(dir, &[SPEAKER]);
        let module = server.load(MIC);
        let mut microphone = open(Some("mic.monitor"));
        wait_for(&mut microphone, true, Duration::from_secs(8));
        server.unload(&module);
        let noticed = wait_for(&mut microphone, false, Duration::from_secs(2));
        std::thread::sleep(Duration::from_millis(700));
        // Another device takes its place in the server's numbering.
        server.load("sink_name=other");
        server.load(MIC);
        let resumed = wait_for(&mut microphone, true, Duration::from_secs(4));
        let like = heard_speech(&server, "mic", &mut microphone);
        println!("noticed after {noticed:?}, resumed after {resumed:?}, likeness {like:.4}");
        assert!(like > 0.95, "{like}");
        let streams = server.pactl(&["list", "short", "source-outputs"]).expect("it answers");
        // The one that hears, and its pacemaker.
        assert_eq!(streams.lines().count(), 2, "{streams}");
    });
}

#[test]
fn the_only_device_is_ended_by_the_server_and_used_again() {
    with_server("the_only_device_is_ended_by_the_server_and_used_again", |dir| {
        let server = Server::start(dir, &[]);
        let mut microphone = open(None);
        for _ in 0..2 {
            let module = server.load(MIC);
            let resumed = wait_for(&mut microphone, true, Duration::from_secs(5));
            server.unload(&module);
            let noticed = wait_for(&mut microphone, false, Duration::from_secs(2));
            println!("running after {resumed:?}, noticed after {noticed:?}");
        }
    });
}

#[test]
fn a_stream_that_the_server_moves_elsewhere_returns_to_its_device() {
    with_server("a_stream_that_the_server_moves_elsewhere_returns_to_its_device", |dir| {
        let server = Server::start(dir, &[SPEAKER]);
        server.pactl(&["load-module", "module-rescue-streams"]).expect("it is loaded");
        let module = server.load(MIC);
        let mut microphone = open(Some("mic.monitor"));
        wait_for(&mut microphone, true, Duration::from_secs(8));
        server.unload(&module);
        let noticed = wait_for(&mut microphone, false, Duration::from_secs(2));
        server.load(MIC);
        let resumed = wait_for(&mut microphone, true, Duration::from_secs(4));
        println!("noticed after {noticed:?}, resumed after {resumed:?}");
    });
}

#[test]
fn a_stream_that_follows_a_new_default_returns_to_its_device() {
    with_server("a_stream_that_follows_a_new_default_returns_to_its_device", |dir| {
        let server = Server::start(dir, &[SPEAKER, MIC]);
        server.pactl(&["set-default-source", "mic.monitor"]).expect("it is there");
        let mut microphone = open(Some("mic.monitor"));
        wait_for(&mut microphone, true, Duration::from_secs(8));
        server.pactl(&["set-default-source", "spk.monitor"]).expect("it is there");
        let noticed = wait_for(&mut microphone, false, Duration::from_secs(4));
        let resumed = wait_for(&mut microphone, true, Duration::from_secs(8));
        println!("noticed after {noticed:?}, resumed after {resumed:?}");
        hear(&mut microphone, Duration::from_secs(2));
        let like = heard_speech(&server, "mic", &mut microphone);
        assert!(like > 0.95, "{like}");
    });
}

#[test]
fn a_server_that_dies_hangs_or_is_not_there_at_first_is_waited_for() {
    with_server("a_server_that_dies_hangs_or_is_not_there_at_first_is_waited_for", |dir| {
        let mut microphone = open(Some("mic.monitor"));
        assert!(hear(&mut microphone, Duration::from_millis(500)).is_empty());
        let state = microphone.read(&mut Vec::new());
        assert!(
            matches!(&state, CaptureState::Missing { wanted: Some(name), .. } if &**name == "mic.monitor"),
            "{state:?}"
        );
        let mut server = Server::start(dir, &[SPEAKER, MIC]);
        let found = wait_for(&mut microphone, true, Duration::from_secs(5));
        server.kill();
        let noticed = wait_for(&mut microphone, false, Duration::from_secs(2));
        drop(server);
        let server = Server::start(dir, &[MIC, SPEAKER]);
        let resumed = wait_for(&mut microphone, true, Duration::from_secs(5));
        println!("found after {found:?}; killed: noticed after {noticed:?}, resumed after {resumed:?}");
        server.signal("-STOP");
        let noticed = wait_for(&mut microphone, false, Duration::from_secs(2));
        std::thread::sleep(Duration::from_millis(1_500));
        server.signal("-CONT");
        let resumed = wait_for(&mut microphone, true, Duration::from_secs(5));
        println!("hung: noticed after {noticed:?}, resumed after {resumed:?}");
        hear(&mut microphone, Duration::from_secs(2));
        let like = heard_speech(&server, "mic", &mut microphone);
        assert!(like > 0.95, "{like}");
        let streams = server.pactl(&["list", "short", "source-outputs"]).expect("it answers");
        // The one that hears, and its pacemaker.
        assert_eq!(streams.lines().count(), 2, "{streams}");
    });
}

#[test]
fn a_microphone_of_a_server_that_hangs_is_given_up_and_heard_again() {
    with_server("a_microphone_of_a_server_that_hangs_is_given_up_and_heard_again", |dir| {
        let server = Server::start(dir, &[SPEAKER]);
        let missing = |microphone: &mut Microphone, why: &str| {
            // As long may an opening take, and the questions before it.
            until(why, Duration::from_secs(10), || {
                let state = microphone.read(&mut Vec::new());
                matches!(&state, CaptureState::Missing { reason, .. } if reason.contains(why))
            })
        };
        // It hangs while it is asked for the microphone.
        let mut microphone = open(Some("mic.monitor"));
        missing(&mut microphone, "there is no such input");
        server.signal("-STOP");
        let first = missing(&mut microphone, "does not answer");
        server.signal("-CONT");
        server.load(MIC);
        let found = wait_for(&mut microphone, true, Duration::from_secs(10));
        // It hangs while the microphone is open.
        server.signal("-STOP");
        let noticed = wait_for(&mut microphone, false, Duration::from_secs(2));
        let second = missing(&mut microphone, "does not answer");
        server.signal("-CONT");
        let resumed = wait_for(&mut microphone, true, Duration::from_secs(10));
        println!("given up after {first:?}, found after {found:?}");
        println!("noticed after {noticed:?}, given up after {second:?}, resumed after {resumed:?}");
        hear(&mut microphone, Duration::from_secs(2));
        let like = heard_speech(&server, "mic", &mut microphone);
        assert!(like > 0.95, "{like}");
        let streams = server.pactl(&["list", "short", "source-outputs"]).expect("it answers");
        // The one that hears, and its pacemaker.
        assert_eq!(streams.lines().count(), 2, "{streams}");
    });
}

#[test]
fn a_clip_is_heard_whole_at_every_rate_and_the_tap_sees_it() {
    unbroken("a_clip_is_heard_whole_at_every_rate_and_the_tap_sees_it", |dir| {
        let server = Server::start(dir, &[SPEAKER, "sink_name=cd rate=44100 channels=2"]);
        for name in ["spk", "cd"] {
            let recorder = server.record(name);
            let mut speaker = Speaker::open(Some(name)).expect("it is there");
            let mut tap = speaker.take_render_tap();
            let clip = speech();
            let begun = Instant::now();
            speaker.play(&clip).expect("it plays");
            let took = begun.elapsed();
            let recorded = recorder.finish();
            let mut tapped = Vec::new();
            tap.read(&mut tapped);
            let heard = hearth::audio::resample::resample(&Clip { samples: recorded, rate_hz: 48_000 }, 16_000).samples;
            let like = likeness(&heard, &clip.samples);
            // The tap holds 2 s: its newest sound is lost when nobody reads, so its beginning is compared.
            let second = &clip.samples[..16_000];
            let tap_like = likeness(&tapped, second);
            println!("{name}: {took:?} for {:.2} s, likeness {like:.4}, of the tap {tap_like:.4}", clip.seconds());
            assert!(like > 0.95, "{name}: {like}");
            assert!(tap_like > 0.95, "{name}: {tap_like}");
        }
    });
}

#[test]
fn a_word_of_an_eighth_of_a_second_is_heard_and_sentences_join_without_a_click() {
    unbroken("a_word_of_an_eighth_of_a_second_is_heard_and_sentences_join_without_a_click", |dir| {
        let server = Server::start(dir, &[SPEAKER]);
        let recorder = server.record("spk");
        let mut speaker = Speaker::open(Some("spk")).expect("it is there");
        let word = tone(300.0, 0.125, 22_050);
        speaker.play_until(&word, &|| false).expect("it plays");
        speaker.play(&word).expect("it plays");
        drop(speaker);
        let recorded = recorder.finish();
        let steps = largest_step(&recorded);
        let loud = recorded.iter().filter(|x| x.abs() > 0.01).count();
        let (first, last) = span(&recorded).expect("something was played");
        let pause_ms = (last - first) as f64 / 48.0 - 250.0;
        println!("largest step {steps:.4}, {:.1} ms are loud, {pause_ms:.1} ms between them", loud as f64 / 48.0);
        assert!(steps < CLICK, "a click of {steps}");
        assert!((loud as i64 - 12_000).abs() < 600, "{loud} samples are loud");
        // What the device holds is heard meanwhile: the second word does not wait for it.
        assert!(pause_ms < 80.0, "{pause_ms} ms");
    });
}

#[test]
fn a_stopped_clip_ends_soon_and_without_a_click() {
    unbroken("a_stopped_clip_ends_soon_and_without_a_click", |dir| {
        let server = Server::start(dir, &[SPEAKER]);
        let recorder = server.record("spk");
        let mut speaker = Speaker::open(Some("spk")).expect("it is there");
        let clip = tone(300.0, 3.0, 48_000);
        let (begun, asked) = (Instant::now(), Cell::new(None::<Instant>));
        let stop = || {
            let late = begun.elapsed() > Duration::from_secs(1);
            if late && asked.get().is_none() {
                asked.set(Some(Instant::now()));
            }
            late
        };
        let played = speaker.play_until(&clip, &stop).expect("it plays");
        let returned = asked.get().expect("it was stopped").elapsed();
        let Played::Stopped { after } = played else { panic!("{played:?}") };
        let recorded = recorder.finish();
        let (first, last) = span(&recorded).expect("something was played");
        let length = Duration::from_secs_f64((last - first) as f64 / 48_000.0);
        let steps = largest_step(&recorded);
        println!("returned after {returned:?}; taken {after:?}, heard {length:?}; largest step {steps:.4}");
        assert!(returned < Duration::from_millis(50), "{returned:?}");
        assert!(length < after + Duration::from_millis(50), "{length:?} of {after:?}");
        assert!(steps < CLICK, "a click of {steps}");
        // And the next one plays.
        assert_eq!(speaker.play_until(&tone(300.0, 0.1, 48_000), &|| false).expect("it plays"), Played::Whole);
    });
}

#[test]
fn an_output_that_was_lost_is_opened_again() {
    with_server("an_output_that_was_lost_is_opened_again", |dir| {
        // Without another sink: the server would move the stream there.
        let server = Server::start(dir, &[]);
        let mut speaker = Speaker::new(Some("spk"));
        assert!(matches!(speaker.play(&tone(300.0, 0.1, 48_000)), Err(PlayError::NoDevice { .. })));
        let module = server.load(SPEAKER);
        let clip = tone(300.0, 2.0, 48_000);
        speaker.play(&tone(300.0, 0.1, 48_000)).expect("it plays");
        // Lost in the middle of a clip.
        let (begun, gone) = (Instant::now(), Cell::new(None::<Instant>));
        let lost = speaker.play_until(&clip, &|| {
            if begun.elapsed() > Duration::from_millis(500) && gone.get().is_none() {
                server.unload(&module);
                gone.set(Some(Instant::now()));
            }
            false
        });
        assert!(matches!(lost, Err(PlayError::Lost { .. })), "{lost:?}");
        println!("loss noticed after {:?}", gone.get().expect("it was unloaded").elapsed());
        assert!(matches!(speaker.play(&clip), Err(PlayError::NoDevice { .. })));
        server.load(SPEAKER);
        let recorder = server.record("spk");
        speaker.play(&tone(300.0, 0.3, 48_000)).expect("it plays again");
        assert!(rms(&recorder.finish()) > 0.01);
    });
}

#[test]
fn an_output_of_a_server_that_hangs_is_given_up_and_used_again() {
    with_server("an_output_of_a_server_that_hangs_is_given_up_and_used_again", |dir| {
        let server = Server::start(dir, &[SPEAKER, MIC]);
        let (mut speaker, clip) = (Speaker::new(Some("spk")), tone(300.0, 0.3, 48_000));
        speaker.play(&clip).expect("it plays");
        server.signal("-STOP");
        let lost = speaker.play(&clip);
        assert!(matches!(lost, Err(PlayError::Lost { .. })), "{lost:?}");
        for limit in [Duration::from_secs(6), Duration::from_millis(500)] {
            let begun = Instant::now();
            let hangs = speaker.ready();
            assert!(matches!(hangs, Err(PlayError::Unavailable { .. })), "{hangs:?}");
            assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
        }
        server.signal("-CONT");
        until("it answers again", Duration::from_secs(10), || speaker.ready().is_ok());
        let recorder = server.record("spk");
        speaker.play(&clip).expect("it plays again");
        assert!(rms(&recorder.finish()) > 0.01);
    });
}

/// Without a sound server of its own, hearth takes ALSA. Here ALSA's default is its plugin for PulseAudio, and the server
/// is where only that plugin finds it. A real card was never tried.
#[test]
fn without_a_sound_server_alsa_hears_and_plays() {
    unbroken("without_a_sound_server_alsa_hears_and_plays", |dir| {
        let plugin = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let plugin = plugin.map(|entry| entry.path().join("alsa-lib/libasound_module_pcm_pulse.so"));
        if !plugin.into_iter().any(|plugin| plugin.exists()) {
            return eprintln!("SKIPPED: ALSA's plugin for PulseAudio is not installed (scripts/setup does it)");
        }
        let hidden = dir.join("server");
        std::fs::create_dir(&hidden).expect("a folder");
        let server = Server::start(&hidden, &[MIC, SPEAKER]);
        server.pactl(&["set-default-sink", "spk"]).expect("it is set");
        server.pactl(&["set-default-source", "mic.monitor"]).expect("it is set");
        let socket = hidden.join("pulse/native");
        assert!(socket.exists(), "{}", socket.display());
        let part = |kind: &str| format!("{kind}.!default {{ type pulse server \"unix:{}\" }}\n", socket.display());
        std::fs::write(dir.join(".asoundrc"), part("pcm") + &part("ctl")).expect("it is written");
        assert!(device::outputs().iter().any(|output| output.id.starts_with("alsa:")), "{:?}", device::outputs());

        let mut microphone = open(None);
        let opened = wait_for(&mut microphone, true, Duration::from_secs(15));
        let state = microphone.read(&mut Vec::new());
        hear(&mut microphone, Duration::from_secs(3));
        let like = heard_speech(&server, "mic", &mut microphone);
        println!("open after {opened:?}: {state:?}; likeness {like:.4}");
        assert!(like > 0.95, "{like}");
        drop(microphone);

        let recorder = server.record("spk");
        let mut speaker = Speaker::open(None).expect("it opens");
        let clip = speech();
        speaker.play(&clip).expect("it plays");
        let recorded = recorder.finish();
        let heard = hearth::audio::resample::resample(&Clip { samples: recorded, rate_hz: 48_000 }, 16_000).samples;
        let like = likeness(&heard, &clip.samples);
        println!("played on {:?}, likeness {like:.4}", speaker.device());
        assert!(like > 0.95, "{like}");
    });
}

#[test]
fn devices_are_listed_and_tried() {
    with_server("devices_are_listed_and_tried", |dir| {
        let server = Server::start(dir, &[MIC, SPEAKER]);
        server.pactl(&["set-default-sink", "spk"]).expect("it is set");
        server.pactl(&["set-default-source", "mic.monitor"]).expect("it is set");
        let (inputs, outputs) = (device::inputs(), device::outputs());
        let input = inputs.iter().find(|input| input.default).expect("there is a default");
        assert_eq!((input.id.as_str(), input.rate_hz), ("pulseaudio:mic.monitor", Some(48_000)));
        let output = outputs.iter().find(|output| output.default).expect("there is a default");
        assert_eq!((output.id.as_str(), output.channels), ("pulseaudio:spk", Some(2)));
        let hearth = |args: &[&str]| {
            let output =
                Command::new(env!("CARGO_BIN_EXE_hearth")).arg("devices").args(args).output().expect("it starts");
            let text = String::from_utf8_lossy(&output.stdout).to_string();
            (output.status.code(), text, String::from_utf8_lossy(&output.stderr).to_string())
        };
        let (code, text, _) = hearth(&[]);
        println!("{text}");
        assert!(code == Some(0) && text.contains("[pulseaudio:spk]"), "{text}");
        let (_, text, _) = hearth(&["--json"]);
        let listing: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(listing["outputs"].as_array().map(Vec::len), Some(2), "{text}");
        let mut player = server.play("mic", &tone(300.0, 9.0, 48_000));
        let (code, text, error) = hearth(&["--meter", "2"]);
        println!("{text}");
        assert_eq!((code, text.lines().count()), (Some(0), 4), "{text}{error}");
        // A sine of 0.5 has -9 dB.
        assert!(text.contains("-9."), "{text}");
        let recorder = server.record("spk");
        let (code, text, error) = hearth(&["--loop"]);
        assert!(code == Some(0) && text.contains("played on"), "{text}{error}");
        assert!(rms(&recorder.finish()) > 0.05);
        player.wait().expect("it is ours");
    });
}

//! Scenes played to a listener. Speech is the two sentences in `onnx/starter/samples`.

use super::*;
use crate::audio::wav;
use crate::listen::process::NoiseSuppression;
use crate::listen::tests::hum;
use crate::listen::wake::Woken;
use std::path::Path;
use std::sync::mpsc;

const PASTA: &str = "pasta-timer-ten-minutes";
const STOVE: &str = "light-over-the-stove";

/// A room at -66 dB: unlike silence, no piece of it is like another.
fn room(ms: usize) -> Vec<f32> {
    let mut state = ms as u64 + 99;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..ms * 16).map(|_| next() * 0.0008).collect()
}

/// A sentence without the silence around it.
fn sentence(name: &str) -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("onnx/starter/samples/{name}.flac"));
    let samples = wav::read_at(&path, 16_000).expect("the sample is in the repository").samples;
    let loud = |v: &f32| v.abs() > 0.01;
    let from = samples.iter().position(loud).expect("somebody speaks in it");
    let to = samples.iter().rposition(loud).expect("somebody speaks in it");
    samples[from..to].to_vec()
}

/// Says its word when so many more samples have been heard, wherever that is.
struct At {
    left: usize,
    stop: bool,
}

impl Spot for At {
    fn push(&mut self, sound: Sound<'_>, _: bool) -> Result<Option<Woken>, OnnxError> {
        assert_eq!(sound.processed.len(), sound.raw.len());
        let (before, after) = (self.left, self.left.saturating_sub(sound.raw.len()));
        self.left = after;
        Ok((before > 0 && after == 0).then(|| Woken { word: "computer".into(), score: 0.9, stop: self.stop }))
    }
    fn rendered(&mut self, _: &[f32]) -> Result<(), OnnxError> {
        Ok(())
    }
    fn replying(&mut self, _: bool) {}
    fn ringing(&mut self, _: bool) {}
    fn set_thresholds(&mut self, _: &[WakeConfig]) {}
    fn reset(&mut self) {}
}

const ARM: ListenCommand = ListenCommand::Arm { pre_roll: true, wait_ms: 3000, hold: false };
const HOLD: ListenCommand = ListenCommand::Arm { pre_roll: true, wait_ms: 30_000, hold: true };

/// Plays a scene: commands come at samples; [`ARM`] also follows each wake word. Gives events with their samples.
fn play(
    mut listener: Listener,
    sound: &[f32],
    rendered: &[f32],
    commands: &[(usize, ListenCommand)],
) -> Vec<(usize, ListenEvent)> {
    let mut events = Vec::new();
    for from in (0..sound.len()).step_by(160) {
        let to = (from + 160).min(sound.len());
        for (_, command) in commands.iter().filter(|(at, _)| (from..to).contains(at)) {
            events.extend(listener.command(command.clone()).into_iter().map(|event| (from, event)));
        }
        let played = &rendered[from.min(rendered.len())..to.min(rendered.len())];
        for event in listener.push(&sound[from..to], played).expect("no graph runs") {
            let woken = matches!(event, ListenEvent::Wake { .. });
            events.push((to, event));
            if woken {
                events.extend(listener.command(ARM).into_iter().map(|event| (to, event)));
            }
        }
    }
    events
}

fn listener(wake_at: usize) -> Listener {
    Listener::new(
        &ListenConfig::default(),
        (wake_at > 0).then(|| Box::new(At { left: wake_at, stop: false }) as Box<dyn Spot>),
    )
}

/// The events in short: `W`ake, `S`peech, `P`ause, `Q` the same pause again, `R`esumed, `B`arge-in, `.silence`, `.cap`, `.released`, `.nothing`.
fn short(events: &[(usize, ListenEvent)]) -> String {
    let letter = |event: &ListenEvent| match event {
        ListenEvent::Wake { .. } => "W",
        ListenEvent::SpeechStarted => "S",
        ListenEvent::Pause(_) => "P",
        ListenEvent::StillPaused(_) => "Q",
        ListenEvent::Resumed => "R",
        ListenEvent::BargeIn => "B",
        ListenEvent::Stop { .. } => "!",
        ListenEvent::End(EndReason::Silence(_)) => ".silence",
        ListenEvent::End(EndReason::Cap) => ".cap",
        ListenEvent::End(EndReason::Released) => ".released",
        ListenEvent::End(EndReason::Nothing) => ".nothing",
        ListenEvent::Waiting | ListenEvent::Audio(_) | ListenEvent::Device(_) | ListenEvent::Level(_) => "",
    };
    // Sentences pause where they like; twice is once more.
    events.iter().map(|(_, event)| letter(event)).collect::<String>().replace("PR", "")
}

/// Samples by which the echo canceller is late.
const LATE: usize = 64;

/// What was told of the sound: the range of samples, which has no gaps.
fn told(events: &[(usize, ListenEvent)], sound: &[f32]) -> std::ops::Range<usize> {
    let mut audio = Vec::new();
    for (_, event) in events {
        if let ListenEvent::Audio(samples) = event {
            assert!(!samples.is_empty() && samples.len() <= CHUNK);
            audio.extend_from_slice(samples);
        }
    }
    let n = audio.len();
    assert!(n > 0, "nothing was told");
    // The echo canceller gives silence first, for as long as it is late.
    let sound = [&[0.0; LATE], sound].concat();
    let from = (0..=sound.len() - n).find(|&i| sound[i..i + n] == audio).expect("a piece of the sound, in order");
    from.saturating_sub(LATE)..from + n - LATE
}

fn end_at(events: &[(usize, ListenEvent)]) -> usize {
    events.iter().rfind(|(_, event)| matches!(event, ListenEvent::End(_))).expect("it ended").0
}

#[test]
fn a_command_after_the_wake_word_is_told_without_the_word() {
    let (word, command) = (sentence(STOVE), sentence(PASTA));
    let check = |gap_ms: usize, lag_ms: usize| {
        let before = [room(1000), word.clone()].concat();
        let word_ends = before.len();
        let sound = [before, room(gap_ms), command.clone(), room(1501)].concat();
        let begins = word_ends + gap_ms * 16;
        let events = play(listener(word_ends + lag_ms * 16), &sound, &[], &[]);
        let name = format!("gap {gap_ms} ms, lag {lag_ms} ms");
        assert_eq!(short(&events), "WSP.silence", "{name}");
        // Who goes on speaking is not spoken over.
        let waited = events.iter().any(|(_, event)| *event == ListenEvent::Waiting);
        assert_eq!(waited, gap_ms > 300, "{name}");
        let told = told(&events, &sound);
        assert!(told.start + 960 >= word_ends, "{name}: {} of the word", word_ends - told.start);
        assert!(told.start <= begins, "{name}: {} samples of the command are missing", told.start - begins);
        assert!(told.start + 1300 * 16 > begins, "{name}: a long pre-roll");
        assert!(told.end >= begins + command.len(), "{name}: the end is missing");
        // S6: within a second.
        assert!(end_at(&events) < begins + command.len() + 16_000, "{name}");
    };
    check(200, 100);
    check(400, 200);
    check(700, 100);
    check(2500, 200);
}

#[test]
fn nobody_speaks() {
    let check = |name: &str, commands: &[(usize, ListenCommand)], expected: &str, at_ms: usize| {
        let mut events = play(listener(0), &room(9000), &[], commands);
        assert_eq!(short(&events), expected, "{name}");
        events.retain(|(_, event)| *event != ListenEvent::Waiting);
        if let Some((at, _)) = events.last() {
            assert!((at_ms..at_ms + 40).contains(&(at / 16)), "{name}: {}", at / 16);
        }
    };
    check("idle", &[], "", 0);
    check("armed", &[(16_000, ARM)], ".nothing", 4000);
    check("a tap on the key", &[(16_000, HOLD), (17_600, ListenCommand::Release)], ".nothing", 1090);
    check("let go without holding", &[(16_000, ListenCommand::Release)], "", 0);
    check("disarmed", &[(16_000, ARM), (17_000, ListenCommand::Disarm)], "", 0);
    check("muted", &[(16_000, ListenCommand::Mute(true)), (17_000, ARM)], "", 0);
}

#[test]
fn a_key_ends_at_once_and_keeps_the_last_samples() {
    let command = sentence(PASTA);
    let sound = [room(1000), command.clone(), room(2000)].concat();
    let release = 16_000 + 16_000;
    let events = play(listener(0), &sound, &[], &[(14_400, HOLD), (release, ListenCommand::Release)]);
    assert_eq!(short(&events), "S.released");
    assert_eq!(end_at(&events), release);
    let range = told(&events, &sound);
    // The canceller keeps up to 159 samples.
    assert!((release - 160..=release).contains(&range.end), "{range:?}");
    assert!(range.start <= 16_000 && range.start >= 16_000 - 800 * 16, "{range:?}");
    // While it is held no silence is the end.
    let sound = [room(1000), command.clone(), room(3000), command, room(1000)].concat();
    let events = play(listener(0), &sound, &[], &[(0, HOLD), (sound.len() - 8000, ListenCommand::Release)]);
    assert_eq!(short(&events), "SP.released");
    told(&events, &sound);
}

#[test]
fn what_never_stops_ends_by_the_cap() {
    let command = sentence(PASTA);
    let sound = [room(1000), command.clone(), command.clone(), command.clone(), command].concat();
    let config = ListenConfig { max_ms: 3000, ..ListenConfig::default() };
    for arm in [ARM, HOLD] {
        let events = play(Listener::new(&config, None), &sound, &[], &[(8000, arm)]);
        assert_eq!(short(&events), "S.cap");
        assert_eq!(told(&events, &sound).len(), 3000 * 16);
    }
}

/// The cap comes while the silence after the command lasts: nothing that was said is missing.
#[test]
fn who_is_silent_when_the_cap_comes_was_heard_out_but_for_a_key_that_is_held() {
    let command = sentence(PASTA);
    let max_ms = (800 + command.len() / 16 + 400) as u32;
    let config = ListenConfig { max_ms, ..ListenConfig::default() };
    let sound = [room(1000), command, room(1500)].concat();
    for (arm, expected) in [(ARM, "SP.silence"), (HOLD, "SP.cap")] {
        let events = play(Listener::new(&config, None), &sound, &[], &[(8000, arm)]);
        assert_eq!(short(&events), expected);
        let Some((_, ListenEvent::End(reason))) = events.last() else { panic!("{events:?}") };
        println!("{reason:?} after at most {max_ms} ms");
        // Sooner than silence ends it.
        assert!(matches!(reason, EndReason::Silence(..640) | EndReason::Cap), "{reason:?}");
    }
}

#[test]
fn a_pause_is_taken_back_and_its_sound_follows() {
    let sound = [room(1000), sentence(STOVE), room(450), sentence(PASTA), room(1502)].concat();
    let events = play(listener(0), &sound, &[], &[(8000, ARM)]);
    assert_eq!(short(&events), "SP.silence");
    let mut paused = false;
    for (_, event) in &events {
        match event {
            ListenEvent::Pause(_) => paused = true,
            ListenEvent::Resumed => paused = false,
            ListenEvent::Audio(_) => assert!(!paused, "sound in a pause"),
            _ => {}
        }
    }
    assert!(events.iter().any(|(_, event)| *event == ListenEvent::Resumed));
    told(&events, &sound);
}

#[test]
fn the_earcon_is_not_told() {
    let tone: Vec<f32> = (0..2400).map(|i| (i as f32 * 0.35).sin() * 0.3).collect();
    let (at, begins) = (16_000, 16_000 + 16_000);
    let command = sentence(PASTA);
    let mut sound = [room(2000), command.clone(), room(1503)].concat();
    let mut rendered = vec![0.0; sound.len()];
    rendered[at..at + tone.len()].copy_from_slice(&tone);
    for (i, v) in tone.iter().enumerate() {
        sound[at + 1600 + i] += v * 0.3;
    }
    let events = play(listener(0), &sound, &rendered, &[(at, ARM)]);
    assert_eq!(short(&events), "SP.silence");
    let n: usize = events.iter().map(|(_, e)| if let ListenEvent::Audio(s) = e { s.len() } else { 0 }).sum();
    // From after the earcon has died away to the command's end and the pause after it.
    let most = command.len() + (begins - at - tone.len() - ECHO_TAIL) + 300 * 16;
    assert!((command.len()..=most).contains(&n), "{n} of {}..{most}", command.len());
}

#[test]
fn speech_interrupts_a_reply_and_its_echo_does_not() {
    let reply = sentence(STOVE).repeat(4);
    let speaking = [(0, ListenCommand::Speaking(Some("the light is on".into())))];
    let n = reply.len();
    let echo: Vec<f32> = (0..n).map(|i| if i < 960 { 0.0 } else { 0.4 * reply[i - 960] }).collect();
    assert_eq!(short(&play(listener(0), &echo, &reply, &speaking)), "");
    let mut both = echo;
    for (i, v) in sentence(PASTA).iter().enumerate() {
        both[n / 4 + i] += v;
    }
    assert_eq!(short(&play(listener(0), &both, &reply, &speaking)), "B");
    // With nothing playing it is speech like any other.
    assert_eq!(short(&play(listener(0), &reply, &[], &[])), "");
}

#[test]
fn a_one_word_command_ends_within_a_second() {
    // S6. Nothing was heard before: the detector's first frames are not taken for silence.
    let word = sentence(STOVE)[..7200].to_vec();
    for before_ms in [0, 100, 1000] {
        let sound = [room(before_ms), word.clone(), room(2500)].concat();
        let events = play(listener(0), &sound, &[], &[(0, ARM)]);
        assert_eq!(short(&events), "SP.silence", "after {before_ms} ms");
        assert!(end_at(&events) < before_ms * 16 + word.len() + 16_000, "after {before_ms} ms");
        assert!(told(&events, &sound).start <= before_ms * 16, "after {before_ms} ms");
    }
}

#[test]
fn a_fan_after_a_command_ends_it_by_the_cap_at_the_latest() {
    // S7.
    let command = sentence(STOVE);
    let config = ListenConfig { max_ms: 5000, ..ListenConfig::default() };
    for gain in [1.0, 10.0, 100.0, 400.0] {
        let fan: Vec<f32> = room(8000).iter().map(|v| v * gain).collect();
        let sound = [room(1000), command.clone(), fan].concat();
        let events = play(Listener::new(&config, None), &sound, &[], &[(8000, ARM)]);
        let reasons = events.iter().filter(|(_, event)| matches!(event, ListenEvent::End(_))).count();
        assert_eq!(reasons, 1, "at {gain}: {}", short(&events));
        assert!(end_at(&events) <= 16_000 + 5000 * 16, "at {gain}: {}", end_at(&events));
    }
    // Somebody on the television goes on and on.
    let sound = [room(1000), command.clone(), command.clone(), command.clone(), command].concat();
    assert_eq!(short(&play(Listener::new(&config, None), &sound, &[], &[(8000, ARM)])), "S.cap");
}

#[test]
fn the_model_hears_raw_sound_whatever_the_ears_hear() {
    let (command, raw) = (sentence(PASTA), ListenConfig::default());
    let sound = [room(1000), command, room(1504)].concat();
    let suppressed = ListenConfig { noise_suppression: NoiseSuppression::High, gain_control: true, ..raw.clone() };
    let audio = |config: &ListenConfig, commands: &[(usize, ListenCommand)]| -> Vec<f32> {
        let events = play(Listener::new(config, None), &sound, &[], commands);
        assert_eq!(short(&events), "SP.silence");
        let audio = events.into_iter().filter_map(|(_, e)| if let ListenEvent::Audio(s) = e { Some(s) } else { None });
        audio.flatten().collect()
    };
    let is_raw = |audio: &[f32]| sound.windows(audio.len()).any(|piece| piece == audio);
    let arm = [(8000, ARM)];
    assert!(is_raw(&audio(&suppressed, &arm)));
    let processed = ListenConfig { model_hears: ModelHears::Processed, ..suppressed.clone() };
    assert!(!is_raw(&audio(&processed, &arm)));
    // Settings change while it runs.
    let configure = |config: &ListenConfig| (1600, ListenCommand::Configure(config.clone(), Vec::new()));
    assert!(!is_raw(&audio(&raw, &[configure(&processed), arm[0].clone()])));
    assert!(is_raw(&audio(&processed, &[configure(&raw), arm[0].clone()])));
}

#[test]
fn the_stop_word_is_told_and_changes_nothing() {
    let sound = [room(1000), sentence(PASTA), room(1505)].concat();
    let listener = Listener::new(&ListenConfig::default(), Some(Box::new(At { left: 24_000, stop: true })));
    let events = play(listener, &sound, &[], &[(8000, ARM)]);
    assert_eq!(short(&events), "S!P.silence");
    told(&events, &sound);
}

#[test]
fn a_wake_word_ends_at_the_silence_after_it() {
    let check = |drawing: &str, expected: usize| {
        let frame = |c| match c {
            '#' => Frame { probability: 0.9, level_db: -20.0 },
            _ => Frame { probability: 0.1, level_db: -60.0 },
        };
        let frames: Vec<Frame> = drawing.chars().map(frame).collect();
        assert_eq!(word_end(&frames), expected, "{drawing}");
    };
    check("", 0);
    check("####################", 0);
    check("..........##########", 0);
    check("..........##########....", 0);
    check("..........##########..........", 8);
    check("..........##########..........####", 12);
    check("..........##########........................................##########", 14);
    check("..........##########........................................##############################", 0);
    check("..........########...####", 0);
}

#[test]
fn the_thread_hears_what_came_before_a_key_is_let_go() {
    struct Once(Vec<f32>, bool);
    impl Ear for Once {
        fn read(&mut self, heard: &mut Vec<f32>, _: &mut Vec<f32>) -> Option<DeviceState> {
            heard.append(&mut self.0);
            (!std::mem::replace(&mut self.1, true)).then(|| DeviceState::Running("a test".into()))
        }
    }
    let sound = [room(300), sentence(PASTA)].concat();
    let (send, commands) = mpsc::channel();
    for command in [HOLD, ListenCommand::Release, ListenCommand::Shutdown] {
        send.send(command).expect("the receiver lives");
    }
    let mut events = Vec::new();
    let deliver = |event| {
        events.push((0, event));
        true
    };
    run(Once(sound.clone(), false), listener(0), &commands, deliver).expect("no graph runs");
    assert_eq!(events[0].1, ListenEvent::Device(DeviceState::Running("a test".into())));
    // The sound came in one piece before the key was pressed: its end is the pre-roll.
    assert_eq!(short(&events), "S.released");
    assert!(sound.len() - told(&events, &sound).end < 160);
}

/// Every pause is to be told again at 304 ms, and is to be the end at 400 ms once it was; with `stale` the wishes name the
/// pause before.
fn play_wishing(arm: ListenCommand, sound: &[f32], stale: bool) -> Vec<(usize, ListenEvent)> {
    let (mut listener, mut events) = (listener(0), Vec::new());
    listener.command(arm);
    for from in (0..sound.len()).step_by(160) {
        let to = (from + 160).min(sound.len());
        for event in listener.push(&sound[from..to], &[]).expect("no graph runs") {
            let named = |pause: u32| if stale { pause - 1 } else { pause };
            let wish = match &event {
                ListenEvent::Pause(pause) => Some(ListenCommand::PauseAgain { pause: named(*pause), silence_ms: 304 }),
                ListenEvent::StillPaused(pause) => {
                    Some(ListenCommand::EndPause { pause: named(*pause), silence_ms: 400 })
                }
                _ => None,
            };
            events.push((to, event));
            events.extend(wish.into_iter().flat_map(|wish| listener.command(wish)).map(|event| (to, event)));
        }
    }
    events
}

#[test]
fn sound_told_at_a_release_is_not_told_to_the_next_command() {
    let sound = [room(1000), sentence(PASTA), sentence(STOVE), room(1500)].concat();
    // In the middle of a frame, while somebody speaks on.
    let release = 24_000 + 100;
    for gap in [0, 160, 320, 4800] {
        let commands = [(14_400, HOLD), (release, ListenCommand::Release), (release + gap, HOLD)];
        let events = play(listener(0), &sound, &[], &commands);
        let end = events.iter().position(|(_, event)| matches!(event, ListenEvent::End(_))).expect("it ended");
        let (first, second) = (told(&events[..end], &sound), told(&events[end..], &sound));
        // Pressed again at once, the frame under way is the beginning of the next.
        let shared = if gap == 0 { FRAME } else { 0 };
        assert!(first.end <= second.start + shared, "{gap}: {first:?} {second:?}");
        assert!(second.start < first.end + 1600, "{gap}: {first:?} {second:?}");
    }
}

#[test]
fn the_thread_rests_only_while_nothing_depends_on_it() {
    let mut ears = listener(0);
    let check = |ears: &mut Listener, name: &str, sound: &[f32], rendered: &[f32], rests: bool| {
        ears.push(sound, rendered).expect("no graph runs");
        assert_eq!(ears.at_rest(), rests, "{name}");
    };
    check(&mut ears, "at first", &[], &[], true);
    check(&mut ears, "a quiet room", &room(1000), &[], true);
    check(&mut ears, "somebody speaks", &sentence(PASTA)[..12_000], &[], false);
    check(&mut ears, "quiet again", &room(1000), &[], true);
    ears.command(ARM);
    check(&mut ears, "a command is waited for", &room(100), &[], false);
    ears.command(ListenCommand::Disarm);
    check(&mut ears, "no longer", &room(100), &[], true);
    ears.command(ListenCommand::Speaking(Some("Ten past nine.".into())));
    check(&mut ears, "a reply", &room(100), &[], false);
    ears.command(ListenCommand::Speaking(None));
    check(&mut ears, "over", &room(100), &[], true);
    check(&mut ears, "something plays", &room(100), &hum(1600), false);
}

#[test]
fn a_wish_ends_its_pause_sooner_and_no_sound_is_lost() {
    // The pause within is shorter than 400 ms, with what the detector takes off it.
    let sound = [room(1000), sentence(STOVE), room(380), sentence(PASTA), room(1504)].concat();
    let events = play_wishing(ARM, &sound, false);
    assert_eq!(short(&events).replace("PQR", ""), "SPQ.silence");
    let Some((_, ListenEvent::End(EndReason::Silence(silence_ms)))) = events.last() else { panic!("{events:?}") };
    assert_eq!(*silence_ms, 400);
    let all = told(&events, &sound);
    // The sound of a pause comes when it is told again: all but its last 96 ms is heard.
    let at = |what: fn(&ListenEvent) -> bool| events.iter().rposition(|(_, event)| what(event)).expect("it is told");
    let (again, end) = (at(|event| matches!(event, ListenEvent::StillPaused(_))), events.len() - 1);
    assert_eq!(end, again + 1, "sound after a pause was told again");
    assert!(all.end + 2048 >= events[again].0, "{all:?} {}", events[again].0);
}

#[test]
fn wishes_for_another_pause_or_under_a_key_are_none() {
    let sound = [room(1000), sentence(PASTA), room(1505)].concat();
    let stale = play_wishing(ARM, &sound, true);
    assert_eq!(short(&stale), "SP.silence");
    assert_eq!(stale.last().map(|(_, event)| event), Some(&ListenEvent::End(EndReason::Silence(704))));
    assert_eq!(short(&play_wishing(HOLD, &sound, false)), "SP");
}

/// What waits to become a frame is as long as each stage allows: the canceller keeps up to 63 samples, the processor 159.
fn in_step(listener: &Listener, name: &str) {
    let (raw, clean, processed) = (listener.raw.len(), listener.clean.suppressed.len(), listener.processed.len());
    assert!(clean <= raw && raw < clean + 64, "{name}: {raw} raw, {clean} clean");
    assert!(processed <= clean && clean < processed + 160, "{name}: {clean} clean, {processed} processed");
    assert!(processed < FRAME && listener.clean.subtracted.len() == clean, "{name}");
}

/// All that the ears can be given but for what the model hears.
const PROCESSING: [(NoiseSuppression, bool); 4] = [
    (NoiseSuppression::Off, false),
    (NoiseSuppression::High, false),
    (NoiseSuppression::Off, true),
    (NoiseSuppression::High, true),
];

#[test]
fn blocks_of_any_size_stay_in_step_and_nothing_from_before_a_mute_is_heard_after_it() {
    for (noise_suppression, gain_control) in PROCESSING {
        let config = ListenConfig { noise_suppression, gain_control, ..ListenConfig::default() };
        let mut listener = Listener::new(&config, None);
        for size in 1..400 {
            let name = format!("{noise_suppression:?}, gain {gain_control}, blocks of {size}");
            for value in [0.5, 0.0] {
                for _ in 0..=600 / size {
                    listener.push(&vec![value; size], &[]).expect("no graph runs");
                    in_step(&listener, &name);
                }
                if value == 0.0 {
                    assert!(listener.sound.iter().chain(&listener.clean.subtracted).all(|v| *v == 0.0), "{name}");
                }
                listener.command(ListenCommand::Mute(true));
                listener.push(&vec![0.5; size], &[]).expect("no graph runs");
                listener.command(ListenCommand::Mute(false));
            }
        }
    }
}

#[test]
fn no_sample_is_lost_when_the_processing_changes() {
    let sound = room(20_000);
    let configs = PROCESSING.map(|(noise_suppression, gain_control)| {
        let model_hears = ModelHears::Processed;
        ListenConfig { noise_suppression, gain_control, model_hears, ..ListenConfig::default() }
    });
    let mut listener = Listener::new(&configs[0], None);
    let (mut at, mut switches) = (0, 0);
    while at + 16_000 < sound.len() {
        let n = 1 + switches * 37 % 400;
        listener.push(&sound[at..at + n], &[]).expect("no graph runs");
        at += n;
        switches += 1;
        listener.command(ListenCommand::Configure(configs[switches % configs.len()].clone(), Vec::new()));
        listener.push(&[], &[]).expect("no graph runs");
        in_step(&listener, &format!("after {switches} switches"));
    }
    // With all of it off, sound passes as it came and when it came.
    listener.command(ListenCommand::Configure(configs[0].clone(), Vec::new()));
    listener.push(&sound[at..], &[]).expect("no graph runs");
    let last: Vec<f32> = listener.sound.range(listener.sound.len() - 8000..).copied().collect();
    let to = listener.now - LATE;
    assert!(last == sound[to - 8000..to], "shifted after {switches} switches");
}

#[test]
fn a_hum_like_a_vowel_does_not_keep_a_wait_from_ending() {
    let hum: Vec<f32> = hum(9 * 16_000).iter().map(|v| v * 0.3).collect();
    let mut ears = listener(0);
    ears.push(&hum, &[]).expect("no graph runs");
    let least = ears.frames.iter().map(|frame| frame.probability).fold(1.0, f32::min);
    assert!(least >= VOICE, "{least}: not like a voice");
    for hold in [false, true] {
        let arm = ListenCommand::Arm { pre_roll: true, wait_ms: 3000, hold };
        let events = play(listener(0), &hum, &[], &[(16_000, arm)]);
        assert_eq!(short(&events), ".nothing", "held: {hold}");
        assert!((4000..4600).contains(&(end_at(&events) / 16)), "held: {hold}, {} ms", end_at(&events) / 16);
    }
    // Whoever begins just before the end of the wait is heard out.
    let sound = [room(3900), sentence(PASTA), room(1505)].concat();
    assert_eq!(short(&play(listener(0), &sound, &[], &[(16_000, ARM)])), "SP.silence");
}

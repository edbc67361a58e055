//! The daemon in use, beyond a single command: speech into a reply, other devices and volumes by reload, ringing, other
//! players, a model that phrases and is asked what it heard, and, slow, whether the spoken words are the right ones.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hearth::audio::{Clip, resample, wav};
use serde_json::Value;
use tokio::task::LocalSet;

#[path = "sound/house.rs"]
mod house;
mod mpris;
mod sound;

use house::{House, LIMIT, SINKS, STOVE, done, root, sample, scene, speech_s, wake_word};
use mpris::{Bus, PLAYS, Player};
use sound::{rms, until};

const LONG: &str = "The light over the stove is on, and the lamp in the bedroom is off. ";

#[test]
fn plain_speech_interrupts_a_reply_where_it_may() {
    let Some(house) = House::new(&SINKS, "") else { return };
    let command = sample("light-over-the-stove.flac");
    let reply = LONG.repeat(4);
    // Says the reply, speaks into it, and tells whether that stopped it before its end.
    let interrupted = || {
        assert!(house.hearth(&["say", "--daemon", &reply]).0);
        // In the first seconds that anything plays, the canceller takes who speaks for its echo.
        let recorder = house.server.record("spk");
        until("the reply is heard", LIMIT, || recorder.so_far().iter().any(|v| v.abs() > 0.02));
        drop(recorder.finish());
        std::thread::sleep(Duration::from_millis(6000));
        let mut playing = house.server.play("mic", &scene(&[(0, &command)]));
        let mut stopped = false;
        until("the reply is over", LIMIT, || {
            let state = house.state();
            stopped |= state == "listening";
            stopped || state == "idle"
        });
        playing.wait().expect("it ends");
        stopped
    };
    assert!(interrupted());
    until("the turn is over", LIMIT, || !house.turns().is_empty() && house.state() == "idle");
    let turn = house.turns().pop().expect("there is one");
    assert_eq!(turn["by"], "speech into a reply", "{turn}");
    println!("what was said into the reply: {}", done(&turn));

    house.reload("barge_in = false");
    let before = house.turns().len();
    assert!(!interrupted());
    assert_eq!(house.turns().len(), before, "{:?}", house.turns().last());
}

#[test]
fn other_devices_and_volumes_are_taken_without_a_restart() {
    let others = ["sink_name=mic2 rate=44100 channels=2", "sink_name=spk2 rate=44100 channels=2"];
    let devices = |n: &str| format!("input = \"mic{n}.monitor\"\noutput = \"spk{n}\"");
    let Some(house) = House::new(&[&SINKS[..], &others[..]].concat(), &devices("")) else { return };
    // How loud a sentence is on both outputs.
    let said = || {
        let recorders = ["spk", "spk2"].map(|sink| house.server.record(sink));
        assert!(house.hearth(&["say", "--daemon", LONG]).0);
        house.wait_for("speaking");
        house.wait_for("idle");
        recorders.map(|recorder| rms(&recorder.finish()))
    };
    let [first, second] = said();
    assert!(first > 0.005 && second == 0.0, "{first} and {second}");

    let text = house.reload(&devices("2"));
    assert!(!text.contains("audio"), "{text}");
    until("the other microphone is open", LIMIT, || {
        let status = house.status();
        let is_other = status["microphone"].as_str().is_some_and(|device| device.contains("44100 Hz, 2 channels"));
        is_other && house.missing().is_empty()
    });
    let [none, loud] = said();
    assert!(none == 0.0 && loud > 0.005, "{none} and {loud}");
    let word = wake_word();
    let before = house.turns().len();
    let heard = scene(&[(1500, &word), (200, &sample("light-over-the-stove.flac"))]);
    let mut playing = house.server.play("mic2", &heard);
    until("a turn is over", LIMIT, || house.turns().len() > before && house.state() == "idle");
    playing.wait().expect("it ends");

    // Quieter by 12 dB.
    house.reload(&format!("{}\nvolume = 0.25", devices("2")));
    let [_, quiet] = said();
    assert!((0.12..0.5).contains(&(quiet / loud)), "{loud} and {quiet}");

    // One that is not there is missing, and the rest goes on.
    house.reload("input = \"mic2.monitor\"\noutput = \"nothing\"");
    until("the loudspeaker is missing", LIMIT, || house.missing() == ["loudspeaker"]);
    house.reload(&devices(""));
    until("all is there", LIMIT, || house.missing().is_empty());
    let [again, none] = said();
    assert!(again > 0.005 && none == 0.0, "{again} and {none}");
}

#[test]
fn the_volume_is_set_by_voice() {
    let Some(house) = House::new(&SINKS, "") else { return };
    // The same take each time, since it was said before.
    let loudness = || {
        let recorder = house.server.record("spk");
        assert!(house.hearth(&["say", "--daemon", LONG]).0);
        house.wait_for("speaking");
        house.wait_for("idle");
        rms(&recorder.finish())
    };
    let before = loudness();
    // The text is spoken to the starter, which does not understand every take.
    let percent = (0..8).find_map(|_| {
        house.hearth(&["ask", "--daemon", "--text", "set the volume to forty percent"]);
        house.wait_for("idle");
        let turn = house.turns().pop()?;
        println!("{}", turn["actions"]);
        let call = &turn["actions"][0]["call"];
        (call["name"] == "set_volume").then(|| call["arguments"]["percent"].as_u64()).flatten()
    });
    let percent = percent.expect("one of eight takes is understood");
    let after = loudness();
    println!("{percent} %: {after} of {before}");
    assert!((after / before - percent as f32 / 100.0).abs() < 0.1, "{percent} %: {after} of {before}");
}

/// The share of a recording's power, at 48 kHz, that lies at these frequencies, in its best quarter of a second.
fn share(recorded: &[f32], frequencies: &[f32]) -> f32 {
    let of = |window: &[f32]| {
        let power = window.iter().map(|v| v * v).sum::<f32>() * window.len() as f32 / 2.0;
        let at = |hz: &f32| {
            let step = std::f32::consts::TAU * hz / 48_000.0;
            let wave =
                |part: fn(f32) -> f32| window.iter().zip(0..).map(|(v, i)| v * part(step * i as f32)).sum::<f32>();
            wave(f32::cos).powi(2) + wave(f32::sin).powi(2)
        };
        if power < 1.0 { 0.0 } else { frequencies.iter().map(at).sum::<f32>() / power }
    };
    recorded.chunks(12_000).map(of).fold(0.0, f32::max)
}

#[test]
fn what_rings_sounds_between_its_announcements_until_somebody_stops_it() {
    let Some(house) = House::new(&SINKS, "") else { return };
    let (set, text) = house.hearth(&["timers", "set", "2s", "--name", "egg"]);
    assert!(set, "{text}");
    let mut recorder = Some(house.server.record("spk"));
    house.wait_for("speaking");
    house.wait_for("idle");
    let announced = recorder.take().expect("it records").finish();
    assert!(speech_s(&announced) > 0.5, "{} s were spoken", speech_s(&announced));
    let recorder = house.server.record("spk");
    house.wait_for("speaking");
    house.wait_for("idle");
    let rung = recorder.finish();
    let (bell, voice) = (share(&rung, &[784.0, 987.8, 1174.7]), share(&announced, &[784.0, 987.8, 1174.7]));
    println!("power at the bell's notes: {bell:.2}, of the voice {voice:.2}");
    assert!(bell > 0.5 && voice < bell / 2.0, "{bell} and {voice}");

    // Stopped in the middle of a ring, it stays silent.
    house.wait_for("speaking");
    assert!(house.hearth(&["cancel"]).0);
    house.wait_for("idle");
    let stopped = Instant::now();
    while stopped.elapsed() < Duration::from_secs(8) {
        assert_eq!(house.state(), "idle");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn other_players_are_quiet_while_it_listens_and_speaks() {
    let Some(bus) = Bus::start() else { return };
    let environment = [("DBUS_SESSION_BUS_ADDRESS", bus.address.as_str())];
    let Some(house) = House::with(&SINKS, "", &environment) else { return };
    // How loud the player was, one after another, and when it ends.
    let (volumes, over) = (Arc::new(Mutex::new(Vec::<f64>::new())), Arc::new(AtomicBool::new(false)));
    let (seen, ends, address) = (volumes.clone(), over.clone(), bus.address.clone());
    let player = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            let player = Player::start(&address, "radio", PLAYS).await;
            while !ends.load(Ordering::Relaxed) {
                let (_, volume) = player.seen();
                {
                    let mut volumes = seen.lock().expect("nobody panics with it");
                    if volumes.last() != Some(&volume) {
                        volumes.push(volume);
                    }
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    });
    let so_far = || volumes.lock().expect("nobody panics with it").clone();
    until("the radio plays", LIMIT, || so_far() == [0.8]);
    let (turn, _) = house.says(&scene(&[(1000, &wake_word()), (200, &sample("light-over-the-stove.flac"))]));
    assert_eq!(done(&turn), STOVE, "{turn}");
    until("the radio is as loud as before", LIMIT, || so_far().last() == Some(&0.8));
    assert_eq!(so_far(), [0.8, 0.16, 0.8]);
    over.store(true, Ordering::Relaxed);
    player.join().expect("the player ends");
}

/// With weights that are chance: what it answers and hears is chance too, and that it answers and writes down is not.
#[test]
fn a_model_that_phrases_is_spoken_and_writes_down_what_it_heard() {
    let model = root().join("target/fixtures/tiny-split-fp32");
    if !model.exists() {
        return eprintln!("SKIPPED: {} is not there (scripts/setup makes it)", model.display());
    }
    let settings = format!("dir = \"{}\"\nclips = true\ntranscribe = true\nmax_tokens = 64", model.display());
    let Some(house) = House::new(&SINKS, &settings) else { return };
    let recorder = house.server.record("spk");
    let texts = ["hello", "what time is it", "tell me a story", "good morning", "one two three", "why"];
    let answer = texts.iter().find_map(|text| {
        let (answered, answer) = house.hearth(&["ask", "--daemon", "--json", "--text", text]);
        assert!(answered, "{answer}");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        // The next one would interrupt what is still said.
        until("it has spoken", LIMIT, || house.state() == "idle");
        let is_words = answer["actions"].as_array().is_some_and(Vec::is_empty);
        let words = answer["said"].as_str().unwrap_or_default();
        (is_words && words.chars().any(char::is_alphanumeric)).then(|| words.to_owned())
    });
    println!("it said {answer:?}");
    let recorded = recorder.finish();
    assert!(answer.is_some() && rms(&recorded) > 1e-4, "{answer:?}, {}", rms(&recorded));

    // What it heard is asked in idle time and put beside the turn.
    assert!(house.hearth(&["ptt", "start"]).0);
    let spoken = scene(&[(900, &sample("light-over-the-stove.flac"))]);
    assert!(house.server.play("mic", &spoken).wait().expect("it ends").success());
    assert!(house.hearth(&["ptt", "stop"]).0);
    let heard = || house.turns().into_iter().find(|turn| turn["by"] == "the key").map(|turn| turn["heard"].clone());
    until("it was asked what it heard", LIMIT, || heard().is_some_and(|heard| heard.is_string()));
    println!("it heard {:?}", heard());
    assert_eq!(house.state(), "idle");
}

/// The words in a recording of the loudspeaker, by another program's ear.
fn words(recorded: &[f32], dir: &std::path::Path) -> Option<String> {
    let ear = std::env::var_os("HEARTH_EAR").map_or_else(|| root().join(".local/ear"), PathBuf::from);
    let python = ear.join("venv/bin/python");
    if !python.exists() {
        eprintln!("SKIPPED: there is no ear in {} (benches/versus/fetch.sh FOLDER)", ear.display());
        return None;
    }
    let clip = Clip { samples: recorded.to_vec(), rate_hz: 48_000 };
    let file = dir.join("reply.wav");
    wav::write(&file, &resample::resample(&clip, 16_000)).expect("it is written");
    let script = "import sys\nfrom faster_whisper import WhisperModel\n\
                  ear = WhisperModel(sys.argv[1], device='cpu', compute_type='int8', cpu_threads=2)\n\
                  pieces, _ = ear.transcribe(sys.argv[2], language='en', beam_size=1)\n\
                  print(' '.join(piece.text.strip() for piece in pieces))";
    let output = Command::new(python).args(["-c", script]).arg(ear.join("whisper-base")).arg(&file).output();
    let output = output.expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).trim().to_lowercase())
}

#[test]
fn the_right_words_come_out_of_the_loudspeaker() {
    if std::env::var_os("HEARTH_SLOW").is_none() {
        return eprintln!("SKIPPED: slow (HEARTH_SLOW=1)");
    }
    let Some(house) = House::new(&SINKS, "") else { return };
    let (turn, played) = house.says(&scene(&[(1000, &wake_word()), (200, &sample("light-over-the-stove.flac"))]));
    assert_eq!(done(&turn), STOVE, "{turn}");
    let Some(heard) = words(&played, house.dir.path()) else { return };
    println!("said {}, heard {heard:?}", turn["said"]);
    for word in ["light", "over", "stove", "on"] {
        assert!(heard.contains(word), "{word} is not in {heard:?}");
    }
    // Several sentences, figures among them.
    let recorder = house.server.record("spk");
    let text = "The pasta timer is set for 10 minutes. It is 21 degrees in the bedroom. The front door is locked.";
    assert!(house.hearth(&["say", "--daemon", text]).0);
    house.wait_for("speaking");
    house.wait_for("idle");
    let heard = words(&recorder.finish(), house.dir.path()).expect("the ear is there");
    println!("heard {heard:?}");
    // The ear may spell one of them in its own way ("posta").
    let words = ["pasta", "timer", "minutes", "degrees", "bedroom", "front door", "locked"];
    let missing: Vec<_> = words.into_iter().filter(|word| !heard.contains(word)).collect();
    assert!(missing.len() < 2, "{missing:?} are not in {heard:?}");
}

//! The whole daemon as its users meet it: the built program on a real PulseAudio server with null sinks. What is said into
//! the microphone is recorded speech; what comes out of the loudspeaker is recorded and looked at.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

mod client;
#[path = "sound/house.rs"]
mod house;
mod sound;

use client::Client;
use house::{House, LIMIT, SINKS, STOVE, called, done, sample, scene, speech_s, start, wake_word};
use sound::{Server, until};

#[test]
fn a_command_after_the_wake_word_is_carried_out_and_answered() {
    let Some(mut house) = House::new(&SINKS, "clips = true") else { return };
    let (word, command) = (wake_word(), sample("light-over-the-stove.flac"));

    // Breath taken after the word, and none.
    for gap_ms in [1200, 80] {
        let (turn, played) = house.says(&scene(&[(1000, &word), (gap_ms, &command)]));
        assert_eq!(done(&turn), STOVE, "gap {gap_ms} ms: {turn}");
        // What is left of the word may be taken for a command that is none; then the microphone stays open.
        let woken = |turn: &Value| turn["by"].as_str().is_some_and(|by| by.starts_with("computer"));
        assert!(house.turns().iter().rev().take(2).any(woken), "{turn}");
        assert!(turn["said"].as_str().is_some_and(|said| said.contains("light over the stove")), "{turn}");
        assert!(speech_s(&played) > 0.8, "gap {gap_ms} ms: {} s were spoken", speech_s(&played));
        let after = &turn["after"];
        println!("gap {gap_ms} ms: {after}");
        let t = &turn["timeline"];
        println!("{} of {} tokens drafted, {} drafts", t["drafted_tokens"], t["tokens"], t["drafts"]);
        assert!(t["while_heard_ms"].as_f64() > Some(0.0) && t["drafts"].as_u64() >= Some(1), "{t}");
        assert!(after["first_sound_ms"].as_f64() > after["call_ms"].as_f64(), "{after}");
    }

    // What was recorded is heard again.
    let understood = house.turns().into_iter().find(|turn| done(turn) == STOVE).expect("two of them were");
    let number = understood["turn"].to_string();
    let (replayed, text) = house.hearth(&["replay", &number, "--json"]);
    let answer: Value = serde_json::from_str(&text).expect(&text);
    assert!(replayed && done(&answer) == STOVE, "{text}");

    // By text, which this model has to be told aloud; no two takes of the voice are alike, nor how they are understood.
    let (asked, text) = house.hearth(&["ask", "--daemon", "--json", "--text", "turn on the light over the stove"]);
    let answer: Value = serde_json::from_str(&text).expect(&text);
    assert!(asked && answer["said"].as_str().is_some_and(|said| !said.is_empty()), "{text}");
    house.wait_for("idle");

    // Muted, nobody is heard, also after a restart.
    assert!(house.hearth(&["mute"]).0);
    house.wait_for("muted");
    assert_eq!(house.stop(), Some(0));
    house.daemon = start(house.dir.path(), &[]);
    house.wait_for("muted");
    let before = house.turns().len();
    assert!(house.server.play("mic", &scene(&[(500, &word), (300, &command)])).wait().expect("it ends").success());
    assert_eq!((house.state(), house.turns().len()), ("muted".into(), before));
    assert!(house.hearth(&["unmute"]).0);
    house.wait_for("idle");
    let (turn, _) = house.says(&scene(&[(1000, &word), (300, &command)]));
    assert_eq!(done(&turn), STOVE, "{turn}");
    assert_eq!(house.stop(), Some(0));
}

#[test]
fn a_reply_is_interrupted_and_does_not_hear_itself() {
    let Some(house) = House::new(&SINKS, "") else { return };
    let word = wake_word();
    let long = "The light over the stove is on, and the lamp in the bedroom is off. ".repeat(3);

    // The wake word stops it.
    let recorder = house.server.record("spk");
    assert!(house.hearth(&["say", "--daemon", &long]).0);
    house.wait_for("speaking");
    std::thread::sleep(Duration::from_millis(1500));
    let mut playing = house.server.play("mic", &scene(&[(0, &word)]));
    let stopped = house.wait_for("listening");
    println!("interrupted {stopped:?} after the word began");
    playing.wait().expect("it ends");
    // Nobody goes on: it waits, and gives up.
    house.wait_for("idle");
    let recorded = recorder.finish();
    assert!(speech_s(&recorded) < 5.0, "it spoke for {} s", speech_s(&recorded));

    // S10: what the loudspeaker plays comes back through the air, the wake word with it.
    let air = ["load-module", "module-loopback", "source=spk.monitor", "sink=mic", "latency_msec=40"];
    let air = house.server.pactl(&air).expect("the module is loaded");
    let before = house.turns().len();
    assert!(house.hearth(&["say", "--daemon", &format!("{}{long}", "My name is computer. ".repeat(4))]).0);
    house.wait_for("speaking");
    let spoke = house.wait_for("idle");
    assert!(spoke > Duration::from_secs(6), "it was over after {spoke:?}");
    assert_eq!(house.turns().len(), before, "it heard itself: {:?}", house.turns().last());

    // And when the microphone opens after it, to hear what somebody may add.
    house.reload("follow_up_ms = 3000");
    assert!(house.hearth(&["say", "--daemon", "My name is computer. The light over the stove is on."]).0);
    house.wait_for("speaking");
    house.wait_for("listening");
    house.wait_for("idle");
    let turns = house.turns();
    assert_eq!((turns.len(), &turns[before]["ending"]), (before + 1, &Value::from("nothing_said")), "{turns:?}");
    house.reload("");
    house.server.unload(&air);

    // Cancel stops it as well, and what was done stands in the history at once.
    let mut playing = house.server.play("mic", &scene(&[(500, &word), (300, &sample("light-over-the-stove.flac"))]));
    house.wait_for("speaking");
    assert!(house.hearth(&["cancel"]).0);
    assert!(house.wait_for("idle") < Duration::from_secs(2));
    assert_eq!(house.turns().last().map(done).as_deref(), Some(STOVE), "{:?}", house.turns());
    playing.wait().expect("it ends");
}

#[test]
fn the_key_is_held_tapped_and_forgotten() {
    let Some(house) = House::new(&SINKS, "max_ms = 6000") else { return };
    let command = sample("light-over-the-stove.flac");

    // Muted, so that only the meter hears the word.
    assert!(house.hearth(&["mute"]).0);
    let mut playing = house.server.play("mic", &scene(&[(2500, &wake_word())]));
    let (measured, text) = house.hearth(&["devices", "--input", "mic.monitor", "--wake", "5"]);
    assert!(measured && text.contains("computer was said"), "{text}");
    assert!(playing.wait().expect("it ends").success() && house.hearth(&["unmute"]).0);

    // S5: a tap.
    assert!(house.hearth(&["ptt", "start"]).0 && house.hearth(&["ptt", "stop"]).0);
    assert!(house.wait_for("idle") < Duration::from_secs(1));
    assert_eq!(house.turns().last().map(|turn| turn["ending"].clone()), Some(Value::from("nothing_said")));

    // Held while somebody speaks; the key repeats itself until it is let go.
    let before = house.turns().len();
    assert!(house.hearth(&["ptt", "start"]).0);
    let mut speaks = house.server.play("mic", &scene(&[(900, &command)]));
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(700));
        assert!(house.hearth(&["ptt", "start"]).0);
    }
    assert!(speaks.wait().expect("it ends").success());
    assert!(house.hearth(&["ptt", "start"]).0);
    let _ = house.hearth(&["ptt", "stop"]);
    until("a turn is over", LIMIT, || house.turns().len() > before && house.state() == "idle");
    let turn = house.turns().pop().expect("there is one more");
    assert_eq!((done(&turn), turn["by"].as_str()), (STOVE.into(), Some("the key")), "{turn}");

    // S21: never let go, and nobody speaks.
    assert!(house.hearth(&["ptt", "start"]).0);
    house.wait_for("listening");
    let held = house.wait_for("idle");
    assert!(held > Duration::from_secs(4) && held < Duration::from_secs(15), "{held:?}");
    // It is still there for the next one.
    assert!(house.hearth(&["ptt", "toggle"]).0);
    house.wait_for("listening");
    assert!(house.hearth(&["cancel"]).0);
}

#[test]
fn a_microphone_comes_and_goes_and_settings_change() {
    let Some(mut house) = House::new(&SINKS[1..], "input = \"mic\"") else { return };
    // S8: it was missing at boot, and the daemon is up and says so.
    assert_eq!(house.missing(), ["microphone"]);
    let mut module = house.server.load(SINKS[0]);
    for _ in 0..2 {
        until("the microphone is found", LIMIT, || house.missing().is_empty());
        assert!(house.hearth(&["ptt", "toggle"]).0);
        house.wait_for("listening");
        house.server.unload(&module);
        let noticed = until("the loss is noticed", LIMIT, || house.missing() == ["microphone"]);
        println!("noticed after {noticed:?}");
        // Nobody is waited for who cannot be heard.
        house.wait_for("idle");
        let (pressed, text) = house.hearth(&["ptt", "start"]);
        assert!(!pressed && text.contains("no microphone"), "{text}");
        module = house.server.load(SINKS[0]);
    }
    until("the microphone is found", LIMIT, || house.missing().is_empty());
    let (word, command) = (wake_word(), sample("light-over-the-stove.flac"));
    let (turn, _) = house.says(&scene(&[(1000, &word), (300, &command)]));
    assert_eq!(done(&turn), STOVE, "{turn}");

    // Settings: a bad file is refused and the old one stays, a good one is taken.
    let config = house.dir.path().join("config.toml");
    let good = std::fs::read_to_string(&config).expect("it is there");
    std::fs::write(&config, good.replace("wait_ms = 5000", "wait_ms = 1")).expect("it is written");
    let (taken, text) = house.hearth(&["reload"]);
    assert!(!taken && text.contains("turn.wait_ms"), "{text}");
    std::fs::write(&config, good.replace("wait_ms = 5000", "wait_ms = 1000").replace("threads = 2", "threads = 1"))
        .expect("it is written");
    for _ in 0..2 {
        // What it still runs with is named again.
        let (taken, text) = house.hearth(&["reload"]);
        assert!(taken && text.contains("model"), "{text}");
    }
    assert!(house.hearth(&["ptt", "toggle"]).0);
    house.wait_for("listening");
    assert!(house.wait_for("idle") < Duration::from_secs(4));

    // The sound server dies and comes back.
    house.server.kill();
    until("the loss is noticed", LIMIT, || house.missing().contains(&"microphone".to_owned()));
    house.server = Server::start(house.dir.path(), &SINKS);
    let started = Instant::now();
    until("all is found", LIMIT, || house.missing().is_empty());
    println!("all found {:?} after the server was back", started.elapsed());
    house.server.pactl(&["set-default-sink", "spk"]).expect("it has one");
    // The server takes streams along to its new default, and they come back.
    std::thread::sleep(Duration::from_secs(3));
    until("all is found", LIMIT, || house.missing().is_empty());
    let (turn, played) = house.says(&scene(&[(1000, &word), (300, &command)]));
    assert_eq!(done(&turn), STOVE, "{turn}");
    assert!(speech_s(&played) > 0.8, "{} s were spoken", speech_s(&played));
}

#[test]
fn a_loudspeaker_comes_and_goes() {
    let Some(house) = House::new(&SINKS, "input = \"mic\"\noutput = \"spk\"") else { return };
    let (word, command) = (wake_word(), sample("light-over-the-stove.flac"));
    let modules = house.server.pactl(&["list", "short", "modules"]).expect("it answers");
    let module = modules.lines().find(|line| line.contains("sink_name=spk")).and_then(|line| line.split('\t').next());
    house.server.unload(module.expect("it was loaded"));
    until("the loss is told", LIMIT, || house.missing() == ["loudspeaker"]);
    // What is asked for is done all the same.
    let (before, spoken) = (house.turns().len(), scene(&[(1000, &word), (300, &command)]));
    assert!(house.server.play("mic", &spoken).wait().expect("it ends").success());
    until("a turn is over", LIMIT, || house.turns().len() > before && house.state() == "idle");
    assert_eq!(house.turns().last().map(done).as_deref(), Some(STOVE), "{:?}", house.turns());
    house.server.load(SINKS[1]);
    let found = until("it is found", LIMIT, || house.missing().is_empty());
    println!("found after {found:?}");
    let (turn, played) = house.says(&spoken);
    assert_eq!(done(&turn), STOVE, "{turn}");
    assert!(speech_s(&played) > 0.8, "{} s were spoken", speech_s(&played));
}

#[test]
fn two_clients_are_served_from_the_first_second_on() {
    let Some(mut house) = House::new(&SINKS, "") else { return };
    let socket = house.dir.path().join("hearth.sock");
    let mut restarted = || {
        assert_eq!(house.stop(), Some(0));
        house.daemon = start(house.dir.path(), &[]);
        until("the socket is there", LIMIT, || UnixStream::connect(&socket).is_ok());
        let (mut one, mut two) = (Client::new(&socket, LIMIT), Client::new(&socket, LIMIT));
        let both = [&mut one, &mut two].map(|client| client.ask(r#"{"do":"watch"}"#)["state"].clone());
        two.send(r#"{"do":"mute"}"#);
        assert_eq!(awaited(&mut two, |line| line["event"].is_null())["ok"], true);
        let muted = awaited(&mut one, |line| line["muted"] == true)["state"].clone();
        let served = [both[0].clone(), both[1].clone(), muted] == ["loading"; 3];
        assert!(served || house.hearth(&["unmute"]).0);
        served.then_some((one, two))
    };
    // A machine that is busy elsewhere may be late for it.
    let (mut one, mut two) = (0..5).find_map(|_| restarted()).expect("it answers while it loads");
    awaited(&mut one, |line| line["state"] == "muted");
    awaited(&mut two, |line| line["state"] == "muted");
    one.send(r#"{"do":"unmute"}"#);
    for client in [&mut one, &mut two] {
        awaited(client, |line| line["state"] == "idle");
    }
    // Who asks is told what goes on before the answer comes.
    two.send(r#"{"do":"ask","text":"turn on the light over the stove"}"#);
    let told: Vec<Value> = std::iter::from_fn(|| {
        let line = two.line().expect("the daemon goes on");
        line["said"].is_null().then_some(line)
    })
    .collect();
    assert!(told.iter().any(|line| line["event"] == "thinking"), "{told:?}");
    awaited(&mut one, |line| line["event"] == "speaking");
    for client in [&mut one, &mut two] {
        awaited(client, |line| line["event"] == "idle");
    }
}

/// The next line of which that is true.
fn awaited(client: &mut Client, is_it: impl Fn(&Value) -> bool) -> Value {
    std::iter::from_fn(|| client.line()).find(is_it).expect("the daemon goes on")
}

#[test]
fn a_call_that_two_drafts_make_ends_a_command_sooner_where_it_may() {
    let Some(house) = House::new(&SINKS, "early_silence_ms = 400") else { return };
    let spoken = scene(&[(1000, &wake_word()), (300, &sample("light-over-the-stove.flac"))]);
    let endpoint_ms = || {
        let (turn, _) = house.says(&spoken);
        assert_eq!(done(&turn), STOVE, "{turn}");
        let endpoint_ms = turn["after"]["endpoint_ms"].as_f64().expect("it is told");
        println!("ended {endpoint_ms} ms after the last sample of speech, {} drafts", turn["timeline"]["drafts"]);
        endpoint_ms
    };
    // A machine that is busy elsewhere may once be too slow for two drafts.
    let early = (0..3).map(|_| endpoint_ms()).find(|&ms| ms < 600.0);
    assert!(early.is_some_and(|ms| ms >= 400.0), "{early:?}");
    house.reload("");
    let usual = endpoint_ms();
    assert!((650.0..1000.0).contains(&usual), "{usual}");
}

#[test]
fn a_timer_rings() {
    let Some(house) = House::new(&SINKS, "") else { return };
    let (_, text) = house.hearth(&["ask", "--daemon", "--json", "--text", "set a timer for five seconds"]);
    let answer: Value = serde_json::from_str(&text).expect(&text);
    if !called(&answer).starts_with("set_timer") {
        println!("SKIPPED: this model took it for {}", called(&answer));
        return;
    }
    house.wait_for("idle");
    let recorder = house.server.record("spk");
    house.wait_for("speaking");
    house.wait_for("idle");
    assert!(speech_s(&recorder.finish()) > 0.5);
}

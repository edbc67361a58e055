//! Words said into a reply, with the reply in the microphone and without, and the reply alone. The voice is that of the
//! configuration, the words are of people (`../shared/speech`) and of the voice. `HEARTH_SLOW=1` takes all of them and prints
//! the table of onnx/wake/README.md.

use std::path::PathBuf;

use hearth::audio::resample::resample;
use hearth::audio::wav;
use hearth::config::Config;
use hearth::listen::ListenConfig;
use hearth::listen::listener::{ListenCommand, ListenEvent, Listener};
use hearth::listen::wake::{WakeConfig, WakeWords};
use hearth::speech::{self, Piper};
use sha2::{Digest, Sha256};

const SECOND: usize = 16_000;
/// The reply has played for so long when the word comes: the canceller knows the room.
const WORD_AT: usize = 4 * SECOND;
/// What hearth says of itself; the wake words and the stop word are among it.
const REPLIES: [&str; 12] = [
    "The light over the stove is on, and the lamp in the bedroom is off.",
    "My name is computer. You can also call me Jarvis.",
    "The timer for the pasta is set to ten minutes.",
    "I stopped the vacuum. Say stop, and I stop.",
    "It is half past seven, and the kitchen is at twenty one degrees.",
    "Computer, Jarvis and stop are the words that I listen for.",
    "I did not understand that. Which lamp do you mean?",
    "Your alarm rings tomorrow at a quarter to seven.",
    "The garage door is closed. The dishwasher will be done in forty minutes.",
    "The computer in the office is off. The store is open until eight, and the bus stop is around the corner.",
    "The blinds in the living room are half open.",
    "All lights are off. Good night.",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn slow() -> bool {
    std::env::var_os("HEARTH_SLOW").is_some()
}

/// The default configuration, with ONNX Runtime opened; none, with a word on why, when it is not installed.
fn runtime() -> Option<Config> {
    let config = Config::default();
    if !config.runtime.onnxruntime.exists() {
        println!("SKIPPED: ONNX Runtime is missing, run scripts/setup");
        return None;
    }
    hearth::onnx::init(&root().join(&config.runtime.onnxruntime)).expect("ONNX Runtime opens");
    Some(config)
}

/// The voice of the default configuration; none, with a word on why, when it is not installed.
fn voice() -> Option<Piper> {
    let config = runtime()?;
    if !config.speech.voice.exists() {
        println!("SKIPPED: the voice is missing, run scripts/setup");
        return None;
    }
    Some(Piper::open(&config.speech.voice()).expect("the voice opens"))
}

fn said(voice: &mut Piper, text: &str) -> Vec<f32> {
    resample(&speech::say(voice, text).expect("it speaks"), 16_000).samples
}

fn listener() -> Listener {
    let wake = Config::default().wake;
    let words = ["computer", "jarvis"].map(|word| WakeConfig { word: word.into(), threshold: 0.9 });
    let words = WakeWords::load(&root().join("onnx/wake"), &words, wake.stop().as_ref()).expect("the graphs are here");
    Listener::new(&ListenConfig::default(), Some(Box::new(words)))
}

/// What comes back of a reply: later, with reflections.
fn echo(rendered: &[f32], delay_ms: usize, gain: f32) -> Vec<f32> {
    let taps = [(0, 1.0), (93, 0.45), (411, -0.3), (1187, 0.15), (2311, -0.07)];
    let at = |i: usize, later: usize| i.checked_sub(delay_ms * 16 + later).map_or(0.0, |i| rendered[i]);
    (0..rendered.len()).map(|i| gain * taps.iter().map(|&(later, share)| share * at(i, later)).sum::<f32>()).collect()
}

/// Root mean square of what is loud in a sound.
fn loudness(sound: &[f32]) -> f32 {
    let mut powers: Vec<f32> =
        sound.chunks(160).map(|c| c.iter().map(|v| v * v).sum::<f32>() / c.len() as f32).collect();
    powers.sort_by(f32::total_cmp);
    let loud = &powers[powers.len() / 2..];
    (loud.iter().sum::<f32>() / loud.len() as f32).sqrt()
}

/// The room, at -66 dB.
fn room(n: usize) -> Vec<f32> {
    let mut state = 99u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next() * 0.0008).collect()
}

/// Takes of a reply, and of a word that the voice says into it: no two are alike.
const TAKES: usize = 5;

/// Plays a reply and what the microphone hears meanwhile; the words heard, with the sample.
fn heard(heard: &[f32], rendered: &[f32]) -> Vec<(String, usize)> {
    let mut listener = listener();
    listener.command(ListenCommand::Speaking(Some("a reply".into())));
    let mut words = Vec::new();
    for (i, (samples, played)) in heard.chunks(160).zip(rendered.chunks(160)).enumerate() {
        for event in listener.push(samples, played).expect("the graphs run") {
            match event {
                ListenEvent::Wake { word, .. } => words.push((word, i * 160)),
                ListenEvent::Stop { .. } => words.push(("stop".into(), i * 160)),
                _ => {}
            }
        }
    }
    words
}

/// As `onnx/wake/train.py` keeps a fifth of the clips out.
fn held_out(name: &str) -> bool {
    Sha256::digest(name.as_bytes()).iter().fold(0u32, |rest, &byte| (rest * 256 + u32::from(byte)) % 5) == 0
}

/// People saying a word, on clips that no head was trained on.
fn people(word: &str, most: usize) -> Vec<Vec<f32>> {
    let Ok(files) = std::fs::read_dir(root().join("../shared/speech/wake").join(word)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| held_out(&name.to_string_lossy())));
    paths.sort();
    paths.iter().take(most).map(|path| wav::read_at(path, 16_000).expect("the recordings are sound").samples).collect()
}

/// Where the reply's echo is, and how loud beside the word, in dB.
#[derive(Clone, Copy)]
enum Air {
    None,
    Echo(f32),
    /// Until the word comes: the loudspeaker was moved, or its plug pulled.
    Gone(f32),
}

/// How many of the clips are heard in the reply, and how long after they began at the median, in ms.
fn detected(word: &str, clips: &[Vec<f32>], replies: &[Vec<f32>], air: Air) -> (usize, usize) {
    let mut after = Vec::new();
    for (clip, reply) in clips.iter().zip(replies.iter().cycle()) {
        let rendered: Vec<f32> = reply.iter().copied().cycle().take(WORD_AT + clip.len() + SECOND).collect();
        let mut sound = room(rendered.len());
        let gain = |db: f32| loudness(clip) / loudness(&rendered) * 10f32.powf(db / 20.0);
        let (gain, until) = match air {
            Air::None => (0.0, 0),
            Air::Echo(db) => (gain(db), usize::MAX),
            Air::Gone(db) => (gain(db), WORD_AT),
        };
        let echo = echo(&rendered, 90, gain);
        sound.iter_mut().zip(&echo).take(until).for_each(|(v, echo)| *v += echo);
        sound[WORD_AT..].iter_mut().zip(clip).for_each(|(v, word)| *v += word);
        if let Some((_, at)) = heard(&sound, &rendered).iter().find(|(heard, at)| heard == word && *at > WORD_AT) {
            after.push((at - WORD_AT) / 16);
        }
    }
    after.sort_unstable();
    (after.len(), after.get(after.len() / 2).copied().unwrap_or(0))
}

#[test]
fn a_word_said_into_a_reply_is_heard() {
    let Some(mut voice) = voice() else { return };
    let text = [REPLIES[0], REPLIES[2], REPLIES[4], REPLIES[6]].join(" ");
    let replies: Vec<_> = (0..TAKES).map(|_| said(&mut voice, &text)).collect();
    let airs = [
        ("none", Air::None),
        ("-20 dB", Air::Echo(-20.0)),
        ("-10 dB", Air::Echo(-10.0)),
        ("-6 dB", Air::Echo(-6.0)),
        ("0 dB", Air::Echo(0.0)),
        ("gone, -6 dB before", Air::Gone(-6.0)),
    ];
    for word in ["computer", "jarvis", "stop"] {
        let takes = if word == "jarvis" { 0 } else { TAKES };
        let own: Vec<_> = (0..takes).map(|_| said(&mut voice, &format!("{word}."))).collect();
        let people = people(word, if slow() { 12 } else { 3 });
        for (clips, who) in [(people, "people"), (own, "the voice")] {
            for (name, air) in airs.iter().filter(|_| !clips.is_empty()) {
                let (n, after_ms) = detected(word, &clips, &replies, *air);
                println!("{word} by {who}, echo {name}: {n} of {}, {after_ms} ms after it began", clips.len());
                let loud = matches!(air, Air::Echo(db) if *db > -6.0);
                assert!(loud || n * 10 >= clips.len() * 6, "{word} by {who}, echo {name}: {n} of {}", clips.len());
            }
        }
    }
}

#[test]
fn a_reply_does_not_hear_its_own_words() {
    let Some(mut voice) = voice() else { return };
    let speech: Vec<f32> =
        REPLIES.iter().flat_map(|text| [said(&mut voice, text), vec![0.0; SECOND / 3]].concat()).collect();
    let minutes = speech.len() as f32 / SECOND as f32 / 60.0;
    let (mut false_words, mut listened) = (Vec::new(), 0.0);
    let all = [(60, 0.5), (900, 0.1), (90, 0.1), (140, 1.0), (220, 0.5), (320, 0.3), (40, 1.5)];
    for (delay_ms, gain) in all.into_iter().take(if slow() { all.len() } else { 2 }) {
        let mut sound = echo(&speech, delay_ms, gain);
        sound.iter_mut().zip(room(speech.len())).for_each(|(v, noise)| *v += noise);
        listened += minutes;
        let words = heard(&sound, &speech);
        println!("echo after {delay_ms} ms, gain {gain}: {words:?}");
        false_words.extend(words);
    }
    println!("{} of its own words heard in {listened:.1} min of its own speech", false_words.len());
    assert!(false_words.is_empty(), "{false_words:?}");
}

#[test]
fn the_end_of_a_reply_does_not_wake_it() {
    let Some(mut voice) = voice() else { return };
    for text in ["My name is computer.", "You can call me Jarvis.", "Just say stop."] {
        let mut rendered = said(&mut voice, text);
        let end = rendered.len();
        rendered.resize(end + 2 * SECOND, 0.0);
        let mut sound = echo(&rendered, 180, 0.5);
        sound.iter_mut().zip(room(rendered.len())).for_each(|(v, noise)| *v += noise);
        let mut listener = listener();
        listener.command(ListenCommand::Speaking(Some(text.into())));
        for (i, (samples, played)) in sound.chunks(160).zip(rendered.chunks(160)).enumerate() {
            // It has been handed over whole; the room hears it later.
            if i == end / 160 {
                listener.command(ListenCommand::Speaking(None));
            }
            for event in listener.push(samples, played).expect("the graphs run") {
                let word = matches!(event, ListenEvent::Wake { .. } | ListenEvent::Stop { .. });
                assert!(!word, "{text}: {event:?}, {} ms after its end", i as i64 * 10 - end as i64 / 16);
            }
        }
    }
}

#[test]
fn the_end_of_a_command_does_not_stop_its_reply() {
    if runtime().is_none() {
        return;
    }
    let clip = |path: &str| {
        let samples = wav::read_at(&root().join(path), 16_000).expect("it is in the repository").samples;
        let peak = samples.iter().fold(0.01_f32, |peak, v| peak.max(v.abs()));
        let last = samples.iter().rposition(|v| v.abs() > 0.01).expect("it is a word");
        samples[..last].iter().map(|v| v * 0.5 / peak).collect::<Vec<f32>>()
    };
    let stove = [
        clip("tests/fixtures/computer.flac"),
        vec![0.0; 4_800],
        clip("onnx/starter/samples/light-over-the-stove.flac"),
    ]
    .concat();
    // How long after the word the reply begins, of which nothing is heard yet, and where in a chunk of 80 ms.
    for (silence_ms, offset_ms) in
        [200, 300, 400, 500, 700, 900].into_iter().flat_map(|ms| [0, 20, 40, 60].map(|o| (ms, o)))
    {
        let from = SECOND + offset_ms * 16;
        let begins = from + stove.len() + silence_ms * 16;
        let mut sound = vec![0.0; begins + 2 * SECOND];
        sound[from..].iter_mut().zip(&stove).for_each(|(v, word)| *v += word);
        let mut listener = listener();
        for (i, samples) in sound.chunks(160).enumerate() {
            if i == begins / 160 {
                listener.command(ListenCommand::Speaking(Some("The light over the stove is on.".into())));
            }
            for event in listener.push(samples, &[0.0; 160]).expect("the graphs run") {
                let after_ms = i as i64 * 10 - begins as i64 / 16;
                assert!(!matches!(event, ListenEvent::Stop { .. }), "{silence_ms} ms: {event:?} {after_ms} ms later");
            }
        }
    }
}

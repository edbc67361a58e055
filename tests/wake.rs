//! Wake words through the graphs as the daemon runs them. Noise needs nothing; people need `../shared/speech`.

use std::path::{Path, PathBuf};

use hearth::audio::wav;
use hearth::listen::ListenConfig;
use hearth::listen::listener::{ListenEvent, Listener};
use hearth::listen::process::NoiseSuppression;
use hearth::listen::wake::{Sound, Spot, WakeConfig, WakeWords};
use hearth::onnx;
use sha2::{Digest, Sha256};

const WORDS: [&str; 2] = ["computer", "jarvis"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn words() -> WakeWords {
    onnx::init(&root().join(".local/lib/libonnxruntime.so")).expect("scripts/setup installs ONNX Runtime");
    let config = |word: &&str| WakeConfig { word: (*word).to_owned(), threshold: 0.9 };
    WakeWords::load(&root().join("onnx/wake"), &WORDS.iter().map(config).collect::<Vec<_>>(), None)
        .expect("the graphs are in the repository")
}

/// Numbers in [-1, 1) without structure.
fn white(n: usize) -> Vec<f32> {
    let mut state = 12_345u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// A quiet room with a clip in it.
fn in_a_room(clip: &[f32]) -> Vec<f32> {
    let mut room: Vec<f32> = white(2 * 16_000 + clip.len() + 16_000).iter().map(|v| v * 0.0003).collect();
    room[32_000..].iter_mut().zip(clip).for_each(|(room, v)| *room += v);
    room
}

/// Plays sound to a listener in pieces of 10 ms; the wake words heard.
fn woken(listener: &mut Listener, sound: &[f32]) -> Vec<String> {
    let events = sound.chunks(160).flat_map(|samples| listener.push(samples, &[]).expect("the graphs run"));
    events.filter_map(|e| if let ListenEvent::Wake { word, .. } = e { Some(word) } else { None }).collect()
}

/// Time that this thread has computed, in seconds; what others do on the machine is not in it.
fn busy() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).expect("a number") / 1e9
}

fn clips(folder: &str) -> Vec<(String, Vec<f32>)> {
    let Ok(files) = std::fs::read_dir(root().join("../shared/speech").join(folder)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "flac"));
    paths.sort();
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let read = |path: &PathBuf| (name(path), wav::read_at(path, 16_000).expect("the recordings are sound").samples);
    paths.iter().map(read).collect()
}

/// As `onnx/wake/train.py` keeps a fifth of the clips out.
fn held_out(name: &str) -> bool {
    Sha256::digest(name.as_bytes()).iter().fold(0u32, |rest, &byte| (rest * 256 + u32::from(byte)) % 5) == 0
}

#[test]
fn noise_wakes_nobody() {
    for gain in [0.0, 0.001, 0.05, 0.8] {
        let mut words = words();
        let sound: Vec<f32> = white(20 * 16_000).iter().map(|v| v * gain).collect();
        for samples in sound.chunks(160) {
            assert_eq!(words.push(Sound::plain(samples), true).expect("the graphs run"), None, "at {gain}");
        }
        assert_eq!(words.scores().count(), 2);
    }
}

#[test]
fn a_word_without_a_head_is_named() {
    onnx::init(&root().join(".local/lib/libonnxruntime.so")).expect("scripts/setup installs ONNX Runtime");
    let config = [WakeConfig { word: "abracadabra".into(), threshold: 0.5 }];
    let error = WakeWords::load(&root().join("onnx/wake"), &[], config.first()).err().expect("there is no such head");
    assert!(error.to_string().contains("abracadabra.onnx"), "{error}");
}

#[test]
fn people_wake_it_and_other_words_do_not() {
    let all: Vec<_> = WORDS.iter().map(|word| clips(&format!("wake/{word}"))).collect();
    if all.iter().any(Vec::is_empty) {
        println!("SKIPPED: there are no recordings of people in ../shared/speech");
        return;
    }
    let new = || Listener::new(&ListenConfig::default(), Some(Box::new(words())));
    for (word, clips) in WORDS.iter().zip(&all) {
        let (mut n, mut missed, mut confused) = (0, Vec::new(), 0);
        for (name, clip) in clips.iter().filter(|(name, _)| held_out(name)) {
            n += 1;
            let heard = woken(&mut new(), &in_a_room(clip));
            confused += usize::from(heard.iter().any(|heard| heard != word));
            if !heard.iter().any(|heard| heard == word) {
                missed.push(name);
            }
        }
        println!("{word}: {} of {n} missed, {confused} taken for the other word: {missed:?}", missed.len());
        assert!(missed.len() * 10 <= n && confused * 20 <= n, "{word}");
    }
    let slow = std::env::var_os("HEARTH_SLOW").is_some();
    let orders = clips("coffee");
    let (mut seconds, mut false_wakes) = (0.0, 0);
    for (_, clip) in orders.iter().take(if slow { usize::MAX } else { 40 }) {
        let sound = in_a_room(clip);
        seconds += sound.len() as f64 / 16_000.0;
        false_wakes += woken(&mut new(), &sound).len();
    }
    println!("{false_wakes} false wakes in {:.2} h of orders", seconds / 3600.0);
    // The aim is none, which "jarvis" misses (see onnx/wake/README.md): this only notices when it gets worse.
    assert!(false_wakes <= if slow { 12 } else { 2 });
}

/// Pink, by three one-pole filters over white noise.
fn pink(n: usize) -> Vec<f32> {
    let mut poles = [(0.997, 0.03, 0.0), (0.85, 0.09, 0.0), (0.55, 0.25, 0f32)];
    let mut filtered = |v: f32| {
        poles.iter_mut().for_each(|(keep, gain, state)| *state = *keep * *state + *gain * v);
        poles.iter().map(|(_, _, state)| state).sum::<f32>()
    };
    white(n).into_iter().map(&mut filtered).collect()
}

/// A clip in a room with noise so many dB below its loud half.
fn in_noise(clip: &[f32], noise: &[f32], snr_db: f32) -> Vec<f32> {
    let power = |x: &[f32]| x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
    let mut frames: Vec<f32> = clip.chunks(160).map(power).collect();
    frames.sort_by(f32::total_cmp);
    let loud = &frames[frames.len() / 2..];
    let gain = (loud.iter().sum::<f32>() / loud.len() as f32 / power(noise)).sqrt() * 10f32.powf(-snr_db / 20.0);
    let mut room = in_a_room(clip);
    room.iter_mut().zip(noise.iter().cycle()).for_each(|(v, noise)| *v += noise * gain);
    room
}

/// What noise suppression and gain control do to wake words: a table, and that the default is no worse than any.
#[test]
fn processing_does_not_make_it_deaf() {
    let orders = clips("coffee");
    if orders.is_empty() {
        return println!("SKIPPED: there are no recordings of people in ../shared/speech");
    }
    let most = if std::env::var_os("HEARTH_SLOW").is_some() { usize::MAX } else { 6 };
    let chain =
        |noise_suppression, gain_control| ListenConfig { noise_suppression, gain_control, ..ListenConfig::default() };
    let chains = [
        ("raw", chain(NoiseSuppression::Off, false)),
        ("low", chain(NoiseSuppression::Low, false)),
        ("moderate", chain(NoiseSuppression::Moderate, false)),
        ("high", chain(NoiseSuppression::High, false)),
        ("gain", chain(NoiseSuppression::Off, true)),
        ("moderate and gain", chain(NoiseSuppression::Moderate, true)),
    ];
    let babble = |from: usize| {
        let voice = |k: usize| orders.iter().cycle().skip(from + k * 31).flat_map(|(_, clip)| clip.iter().copied());
        let voices = voice(0).zip(voice(1)).zip(voice(2).zip(voice(3)));
        voices.map(|((a, b), (c, d))| a + b + c + d).take(6 * 16_000).collect::<Vec<f32>>()
    };
    let (pink, quieter) = (pink(6 * 16_000), |clip: &[f32]| clip.iter().map(|v| v * 0.03).collect::<Vec<f32>>());
    let mut misses = Vec::new();
    for (name, config) in &chains {
        let mut row = [0; 4];
        let mut n = 0;
        for word in WORDS {
            for (i, (_, clip)) in
                clips(&format!("wake/{word}")).iter().filter(|(name, _)| held_out(name)).take(most).enumerate()
            {
                n += 1;
                let scenes = [
                    in_a_room(clip),
                    in_noise(clip, &pink, 10.0),
                    in_noise(clip, &babble(i), 10.0),
                    in_a_room(&quieter(clip)),
                ];
                for (missed, scene) in row.iter_mut().zip(&scenes) {
                    let mut listener = Listener::new(config, Some(Box::new(words())));
                    *missed += usize::from(!woken(&mut listener, scene).iter().any(|heard| heard == word));
                }
            }
        }
        let heard = |clip: &[f32]| {
            let sound = hearth::listen::process::processed(clip, config);
            !hearth::listen::utterances(&sound, config).is_empty()
        };
        let noisy = |clip: &[f32]| heard(&in_noise(clip, &pink, 10.0));
        let unheard = orders.iter().take(most).filter(|(_, clip)| !heard(clip)).count();
        let unheard_in_noise = orders.iter().take(most).filter(|(_, clip)| !noisy(clip)).count();
        println!(
            "{name}: {row:?} of {n} missed (clean, pink, babble, 30 dB quieter); orders without speech: {unheard} and {unheard_in_noise} of {} (clean, pink)",
            orders.len().min(most)
        );
        misses.push(row.iter().sum::<usize>());
    }
    // A few clips more or less are chance.
    assert!(misses.iter().all(|missed| misses[0] <= missed + 4), "{misses:?}");
}

#[test]
fn what_it_costs_to_be_always_on() {
    let mut listener = Listener::new(&ListenConfig::default(), Some(Box::new(words())));
    let mut share = |name: &str, sound: &[f32]| {
        let from = busy();
        woken(&mut listener, sound);
        let share = (busy() - from) / (sound.len() as f64 / 16_000.0) * 100.0;
        println!("{name}: {share:.2} % of one core");
        share
    };
    let room: Vec<f32> = white(120 * 16_000).iter().map(|v| v * 0.0005).collect();
    let quiet = share("quiet room", &room);
    let sentence = root().join("onnx/starter/samples/pasta-timer-ten-minutes.flac");
    let talk = wav::read_at(&sentence, 16_000).expect("the sample is in the repository").samples;
    let radio: Vec<f32> = talk.iter().copied().cycle().take(60 * 16_000).collect();
    let talking = share("talking radio", &radio);
    // The aims are 2 and 4 %; a busy machine computes the same slower.
    assert!(quiet < 4.0 && talking < 12.0);
}

//! The real voice that `scripts/setup` installs: what it says is whole, and nothing in a text stops it.

use std::path::{Path, PathBuf};

use hearth::audio::Clip;
use hearth::config::Config;
use hearth::speech::{self, Piper, SpeechError, Synthesize, VoiceConfig};

/// The voice of the default configuration; none, with a word on why, when it is not installed.
fn installed() -> Option<VoiceConfig> {
    let config = Config::default();
    let voice = config.speech.voice();
    for path in [&voice.path, &config.runtime.onnxruntime] {
        if !path.exists() {
            eprintln!("skipped: {} is missing, run scripts/setup", path.display());
            return None;
        }
    }
    hearth::onnx::init(&config.runtime.onnxruntime).expect("ONNX Runtime opens");
    Some(voice)
}

/// Milliseconds from the first to the last sample that can be heard (above -46 dB).
fn audible_ms(clip: &Clip) -> usize {
    let loud = |sample: &&f32| sample.abs() > 0.005;
    let first = clip.samples.iter().position(|sample| loud(&sample)).unwrap_or(0);
    let last = clip.samples.iter().rposition(|sample| loud(&sample)).unwrap_or(0);
    (last - first) * 1_000 / clip.rate_hz as usize
}

/// One test, since a voice takes a second to open.
#[test]
fn the_installed_voice_speaks() {
    let Some(config) = installed() else { return };
    let mut voice = Piper::open(&config).expect("the voice opens");
    says_anything_and_goes_on(&mut voice);
    one_word_has_silence_around_it_and_is_not_clipped(&mut voice);
    a_long_text_is_said_sentence_by_sentence(&mut voice);
    let slow = VoiceConfig { speed: 0.5, volume: 0.1, ..config };
    let slow = Piper::open(&slow).expect("the voice opens").synthesize("It is on.").expect("a sentence");
    assert!(audible_ms(&slow) > 700, "{} ms", audible_ms(&slow));
    assert!(slow.samples.iter().all(|sample| sample.abs() < 0.15));
}

fn says_anything_and_goes_on(voice: &mut Piper) {
    assert_eq!((voice.language(), voice.rate_hz()), ("en_US", 22_050));
    let long = "It is 21.5 °C, and the lights in the kitchen are on. ".repeat(76);
    assert!(long.len() > 4_000);
    let odd = ["...", "👍\u{0}\u{FFFD}", "(", "button", "Свет 灯", "n\u{329} [[x]]", "ªº№℗", &long[..320]];
    for text in odd {
        voice.synthesize(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let next = voice.synthesize("It is on.").expect("the next sentence");
        let ms = audible_ms(&next);
        assert!((350..1_500).contains(&ms), "after {text:?} it takes {ms} ms");
    }
    for nothing in ["", "...", "👍", "\u{0}\u{FFFD}", "("] {
        assert!(voice.synthesize(nothing).expect("nothing is no error").samples.is_empty(), "{nothing:?}");
    }
}

fn one_word_has_silence_around_it_and_is_not_clipped(voice: &mut Piper) {
    for word in ["Done.", "Yes.", "No.", "OK.", "Stop."] {
        let clip = voice.synthesize(word).expect("a word");
        let rate = clip.rate_hz as usize;
        assert!(clip.samples[..rate * 50 / 1_000].iter().all(|s| *s == 0.0), "{word}: lead-in");
        assert!(clip.samples[clip.samples.len() - rate / 10..].iter().all(|s| *s == 0.0), "{word}: tail");
        let peak = clip.samples.iter().fold(0.0f32, |peak, s| peak.max(s.abs()));
        assert!((0.05..1.0).contains(&peak), "{word}: peak {peak}");
        assert!((120..1_200).contains(&audible_ms(&clip)), "{word}: {} ms", audible_ms(&clip));
    }
}

fn a_long_text_is_said_sentence_by_sentence(voice: &mut Piper) {
    let one = speech::say(voice, "The kitchen light is on.").expect("a sentence");
    let two = speech::say(voice, "The kitchen light is on. The kitchen light is on.").expect("two");
    assert!(two.seconds() > 1.6 * one.seconds(), "{} s and {} s", one.seconds(), two.seconds());
}

#[test]
fn a_truncated_or_foreign_graph_is_named() {
    let Some(config) = installed() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("voice.onnx");
    let json = |path: &Path| PathBuf::from(format!("{}.json", path.display()));
    std::fs::copy(json(&config.path), json(&path)).expect("a copy");
    let whole = std::fs::read(&config.path).expect("the voice");
    for length in [0, 100, whole.len() / 2] {
        std::fs::write(&path, &whole[..length]).expect("a file");
        let error = Piper::open(&VoiceConfig { path: path.clone(), ..config.clone() }).err().expect("it is damaged");
        assert!(matches!(error, SpeechError::Session { .. }), "{error}");
        assert!(error.to_string().contains("voice.onnx"), "{error}");
    }
}

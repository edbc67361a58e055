//! A Piper voice: its files, its checks, and the sound of one sentence.
//!
//! Owns the session of the voice; runs on the `voice` thread. Plays nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use piper_rs::ModelConfig;
use serde::Deserialize;

use super::normalise::{LONGEST_SENTENCE_CHARS, sentences, speakable};
use super::phonemes::phonemes;
use super::{SpeechError, Synthesize};
use crate::audio::Clip;
use crate::onnx::{self, Session};

/// Silence before the first sound: devices that wake up swallow their first milliseconds (field note C12).
const LEAD_MS: u32 = 50;
/// Silence after the last sound: the pause between two sentences, and room for devices that stop early.
const TAIL_MS: u32 = 100;
/// Ramp at both ends of what the voice made, so that no join clicks (field note C11).
const RAMP_MS: u32 = 5;
/// Loudest sample that is passed on; the whole sentence is turned down when it is louder, never clipped.
const LOUDEST: f32 = 0.97;
/// Speeds outside of this are no speech any more.
const SPEED_RANGE: (f32, f32) = (0.25, 4.0);
/// A sentence has at most this many ids after phonemes; what follows is left out. Far beyond what one sentence of
/// [`LONGEST_SENTENCE_CHARS`] gives; bounds memory for any voice and language.
const MOST_PHONEMES: usize = 4_000;

/// Stands for the mark of the beginning in what piper-rs is given. piper-rs puts that mark first but leaves out the
/// pause that voices were trained to hear after it, and the first phoneme comes out short (measured with the voice joe:
/// the "s" of "stop" lost 70 ms). So its own mark is made a pause, and this character, in front, is the mark: a pause
/// more than in training, which adds about 25 ms of silence, and the phonemes are whole.
const BEGIN: char = '\u{E000}';

/// What is needed to open a voice.
#[derive(Debug, Clone)]
pub struct VoiceConfig {
    /// The graph, `NAME.onnx`; the configuration is `NAME.onnx.json` beside it.
    pub path: PathBuf,
    /// A speaker of a voice that has several, by name or number; the first when none.
    pub speaker: Option<String>,
    /// 1 is the voice's own speed, 2 twice as fast.
    pub speed: f32,
    /// 1 is the voice's own loudness.
    pub volume: f32,
    /// Threads for the session.
    pub threads: usize,
}

/// The part of a voice's configuration that is read here. Other keys are ignored: voices of several generations of
/// Piper carry different ones.
#[derive(Debug, Deserialize)]
struct VoiceFile {
    audio: AudioPart,
    #[serde(default)]
    espeak: Option<EspeakPart>,
    #[serde(default)]
    inference: InferencePart,
    #[serde(default = "one")]
    num_speakers: u32,
    #[serde(default)]
    num_symbols: Option<i64>,
    #[serde(default)]
    speaker_id_map: BTreeMap<String, i64>,
    phoneme_id_map: BTreeMap<String, Vec<i64>>,
    #[serde(default)]
    phoneme_type: Option<String>,
    #[serde(default)]
    language: Option<LanguagePart>,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Deserialize)]
struct AudioPart {
    sample_rate: u32,
}

#[derive(Debug, Deserialize)]
struct EspeakPart {
    voice: String,
}

#[derive(Debug, Deserialize)]
struct LanguagePart {
    code: String,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct InferencePart {
    noise_scale: f32,
    length_scale: f32,
    noise_w: f32,
}

impl Default for InferencePart {
    /// Piper's own defaults.
    fn default() -> Self {
        Self { noise_scale: 0.667, length_scale: 1.0, noise_w: 0.8 }
    }
}

/// A voice, ready to speak.
pub struct Piper {
    piper: piper_rs::Piper,
    /// `en_US`; decides how numbers are read.
    language: String,
    /// espeak-ng's name of the language; none when the voice reads letters instead of phonemes.
    espeak_voice: Option<String>,
    /// Phonemes that the voice has a sound for.
    sounds: Vec<char>,
    rate_hz: u32,
    speaker: Option<i64>,
    length_scale: f32,
    volume: f32,
}

impl Piper {
    /// Opens a voice and checks that it can speak: both files, the graph's inputs and output, phonemes, speaker. ONNX
    /// Runtime must be open; see [`super::open_espeak`] for espeak-ng.
    ///
    /// # Errors
    /// Every variant of [`SpeechError`] but `Sentence`.
    pub fn open(config: &VoiceConfig) -> Result<Self, SpeechError> {
        let json_path = json_path(&config.path);
        let json = std::fs::read(&json_path)
            .map_err(|source| SpeechError::VoiceMissing { path: json_path.clone(), source })?;
        let damaged = |reason: String| SpeechError::VoiceDamaged { path: json_path.clone(), reason };
        let file: VoiceFile = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        let model = model_config(&file).map_err(damaged)?;
        if let Err(source) = std::fs::File::open(&config.path) {
            return Err(SpeechError::VoiceMissing { path: config.path.clone(), source });
        }
        let session = onnx::open_session(&config.path, config.threads)
            .map_err(|source| SpeechError::Session { path: config.path.clone(), source })?;
        check_graph(&session, file.num_speakers)
            .map_err(|reason| SpeechError::VoiceDamaged { path: config.path.clone(), reason })?;
        let espeak_voice = match (file.phoneme_type.as_deref(), &file.espeak) {
            (Some("text"), _) => None,
            (_, Some(espeak)) => Some(espeak.voice.clone()),
            (_, None) => return Err(damaged("it names no espeak voice".into())),
        };
        if let Some(voice) = &espeak_voice {
            phonemes("a", voice)?;
        }
        let language = file.language.as_ref().map(|language| language.code.clone());
        let speed = if config.speed.is_finite() { config.speed.clamp(SPEED_RANGE.0, SPEED_RANGE.1) } else { 1.0 };
        Ok(Self {
            piper: piper_rs::Piper::from_session(session, model),
            language: language.or_else(|| espeak_voice.clone()).unwrap_or_default(),
            espeak_voice,
            sounds: sounds(&file),
            rate_hz: file.audio.sample_rate,
            speaker: speaker(&file, config.speaker.as_deref())?,
            length_scale: file.inference.length_scale / speed,
            volume: if config.volume.is_finite() { config.volume.max(0.0) } else { 1.0 },
        })
    }

    /// The voice's language, such as `en_US`.
    pub fn language(&self) -> &str {
        &self.language
    }

    /// Samples per second of the clips.
    pub fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Raw samples of text that has been made speakable; none when no phoneme of it has a sound.
    fn samples(&mut self, text: &str) -> Result<Vec<f32>, SpeechError> {
        let spoken = match &self.espeak_voice {
            Some(voice) => phonemes(text, voice)?,
            None => text.to_lowercase(),
        };
        if !spoken.chars().any(|c| self.sounds.contains(&c)) {
            return Ok(Vec::new());
        }
        let spoken: String = std::iter::once(BEGIN).chain(spoken.chars().take(MOST_PHONEMES)).collect();
        let (samples, _) = self
            .piper
            .create(&spoken, true, self.speaker, Some(self.length_scale), None, None)
            .map_err(|error| SpeechError::Sentence { reason: error.to_string() })?;
        Ok(samples)
    }
}

impl Synthesize for Piper {
    /// Text that is longer than a sentence should be is said in parts, in one clip.
    fn synthesize(&mut self, sentence: &str) -> Result<Clip, SpeechError> {
        let text = speakable(sentence, &self.language);
        let parts: Vec<String> =
            if text.chars().count() > LONGEST_SENTENCE_CHARS { sentences(&text).collect() } else { vec![text] };
        let mut samples = Vec::new();
        for part in parts {
            samples.extend(finished(self.samples(&part)?, self.rate_hz, self.volume));
        }
        Ok(Clip { samples, rate_hz: self.rate_hz })
    }
}

/// `NAME.onnx.json` of `NAME.onnx`.
fn json_path(graph: &Path) -> PathBuf {
    let mut name = graph.as_os_str().to_owned();
    name.push(".json");
    PathBuf::from(name)
}

/// The configuration as piper-rs reads it, without what it cannot read or what would make the graph fail: names of
/// several characters, and ids that the voice's table has no row for (field note C51).
fn model_config(file: &VoiceFile) -> Result<ModelConfig, String> {
    if !(4_000..=192_000).contains(&file.audio.sample_rate) {
        return Err(format!("a sample rate of {} Hz", file.audio.sample_rate));
    }
    let scales = [file.inference.noise_scale, file.inference.length_scale, file.inference.noise_w];
    if !scales.iter().all(|scale| scale.is_finite() && (0.0..=10.0).contains(scale)) || scales[1] <= 0.0 {
        return Err("its inference scales are out of range".into());
    }
    let known = |ids: &Vec<i64>| ids.iter().all(|id| *id >= 0 && file.num_symbols.is_none_or(|rows| *id < rows));
    let names = file.phoneme_id_map.iter().filter_map(|(name, ids)| Some((single(name)?, ids)));
    let mut map: BTreeMap<char, &Vec<i64>> = names.filter(|(_, ids)| !ids.is_empty() && known(ids)).collect();
    let mark = |name: char| map.get(&name).copied().ok_or(format!("phoneme_id_map has no usable {name:?}"));
    let (pause, begin, _end) = (mark('_')?, mark('^')?, mark('$')?);
    map.insert('^', pause);
    map.insert(BEGIN, begin);
    let json = serde_json::json!({
        "audio": { "sample_rate": file.audio.sample_rate },
        "espeak": { "voice": file.espeak.as_ref().map_or("", |espeak| &espeak.voice) },
        "inference": { "noise_scale": scales[0], "length_scale": scales[1], "noise_w": scales[2] },
        "num_speakers": file.num_speakers,
        "speaker_id_map": file.speaker_id_map,
        "phoneme_id_map": map,
    });
    serde_json::from_value(json).map_err(|error| error.to_string())
}

/// The character of a name of one character.
fn single(name: &str) -> Option<char> {
    let mut chars = name.chars();
    chars.next().filter(|_| chars.next().is_none())
}

/// Phonemes that make a sound by themselves: letters, without marks of stress and length.
fn sounds(file: &VoiceFile) -> Vec<char> {
    file.phoneme_id_map
        .keys()
        .filter_map(|name| single(name))
        .filter(|c| c.is_alphabetic() && !matches!(c, 'ˈ' | 'ˌ' | 'ː' | 'ˑ' | 'ʰ' | 'ʲ'))
        .collect()
}

/// The number of a speaker.
fn speaker(file: &VoiceFile, wanted: Option<&str>) -> Result<Option<i64>, SpeechError> {
    let Some(name) = wanted.filter(|name| !name.is_empty()) else { return Ok(None) };
    let by_number = name.parse().ok().filter(|number| (0..i64::from(file.num_speakers)).contains(number));
    if let Some(number) = file.speaker_id_map.get(name).copied().or(by_number) {
        return Ok(Some(number));
    }
    let names: Vec<&str> = file.speaker_id_map.keys().take(20).map(String::as_str).collect();
    let known = if names.is_empty() { format!("numbers below {}", file.num_speakers) } else { names.join(", ") };
    Err(SpeechError::NoSpeaker { name: name.to_string(), known })
}

/// piper-rs passes its tensors by position and does not look: ids, lengths, scales and, with several speakers, speaker.
fn check_graph(session: &Session, num_speakers: u32) -> Result<(), String> {
    let expected: &[&str] = match num_speakers {
        0 | 1 => &["input", "input_lengths", "scales"],
        _ => &["input", "input_lengths", "scales", "sid"],
    };
    let found: Vec<&str> = session.inputs().iter().map(|input| input.name()).collect();
    if found != expected {
        return Err(format!("expected the inputs {expected:?}, found {found:?}"));
    }
    match session.outputs().first() {
        Some(output) if output.dtype().is_tensor() => Ok(()),
        _ => Err("it has no tensor as its first output".into()),
    }
}

/// What the voice made, at the wanted loudness and never clipped, with ramps and silence at both ends.
fn finished(mut samples: Vec<f32>, rate_hz: u32, volume: f32) -> Vec<f32> {
    if samples.is_empty() {
        return samples;
    }
    for sample in &mut samples {
        *sample = if sample.is_finite() { *sample * volume } else { 0.0 };
    }
    let peak = samples.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
    let gain = if peak > LOUDEST { LOUDEST / peak } else { 1.0 };
    let count = |ms: u32| (u64::from(rate_hz) * u64::from(ms) / 1_000) as usize;
    let ramp = count(RAMP_MS).min(samples.len() / 2);
    let last = samples.len() - 1;
    for (at, sample) in samples.iter_mut().enumerate() {
        let edge = at.min(last - at);
        *sample *= if edge < ramp { gain * edge as f32 / ramp as f32 } else { gain };
    }
    let mut whole = vec![0.0; count(LEAD_MS)];
    whole.append(&mut samples);
    whole.resize(whole.len() + count(TAIL_MS), 0.0);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"audio":{"sample_rate":22050},"espeak":{"voice":"en-us"},"num_symbols":4,"num_speakers":2,
        "speaker_id_map":{"amy":0,"joe":1},"phoneme_id_map":{"_":[0],"^":[1],"$":[2],"a":[3],"b":[99],"ch":[3],"ː":[3]}}"#;

    fn file(json: &str) -> VoiceFile {
        serde_json::from_str(json).expect("the test's own JSON")
    }

    #[test]
    fn ids_without_a_row_and_long_names_are_left_out() {
        let model = model_config(&file(GOOD)).expect("a good configuration");
        let mut names: Vec<char> = model.phoneme_id_map.keys().copied().collect();
        names.sort_unstable();
        assert_eq!(names, ['$', '^', '_', 'a', 'ː', BEGIN]);
        assert_eq!((&model.phoneme_id_map[&'^'], &model.phoneme_id_map[&BEGIN]), (&vec![0], &vec![1]));
        assert_eq!(sounds(&file(GOOD)), ['a', 'b']);
    }

    #[test]
    fn a_damaged_configuration_says_what_is_wrong() {
        let check = |from: &str, to: &str, expected: &str| {
            let error = model_config(&file(&GOOD.replace(from, to))).err();
            assert_eq!(error.as_deref(), Some(expected), "{from} -> {to}");
        };
        check("22050", "0", "a sample rate of 0 Hz");
        check(r#""^":[1],"#, "", "phoneme_id_map has no usable '^'");
        check(r#""^":[1]"#, r#""^":[-1]"#, "phoneme_id_map has no usable '^'");
        check(
            r#""num_symbols""#,
            r#""inference":{"length_scale":0},"num_symbols""#,
            "its inference scales are out of range",
        );
    }

    #[test]
    fn speakers_are_found_by_name_and_number() {
        let check = |name: Option<&str>, expected: Option<Option<i64>>| {
            assert_eq!(speaker(&file(GOOD), name).ok(), expected, "{name:?}");
        };
        check(None, Some(None));
        check(Some(""), Some(None));
        check(Some("joe"), Some(Some(1)));
        check(Some("1"), Some(Some(1)));
        check(Some("2"), None);
        check(Some("bob"), None);
    }

    #[test]
    fn sound_is_never_clipped_and_has_silence_and_ramps_at_both_ends() {
        let loud = finished(vec![3.0; 2_205], 22_050, 1.0);
        assert_eq!(loud.len(), 1_102 + 2_205 + 2_205);
        assert!(loud.iter().all(|sample| sample.abs() <= LOUDEST + 1e-6));
        let step = loud.windows(2).map(|two| (two[1] - two[0]).abs()).fold(0.0, f32::max);
        assert!(step < 0.01, "a step of {step} would click");
        let quiet = finished(vec![0.1; 2_205], 22_050, 0.5);
        assert!((quiet[1_102 + 1_000] - 0.05).abs() < 1e-6);
        assert!(finished(vec![f32::NAN, f32::INFINITY], 22_050, 1.0).iter().all(|sample| *sample == 0.0));
        assert!(finished(Vec::new(), 22_050, 1.0).is_empty());
    }

    #[test]
    fn missing_and_damaged_files_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("voice.onnx");
        let config = VoiceConfig { path: path.clone(), speaker: None, speed: 1.0, volume: 1.0, threads: 1 };
        let error = || Piper::open(&config).err().expect("this is no voice").to_string();
        assert!(error().starts_with(&format!("voice file {}.json cannot be read", path.display())), "{}", error());
        let json = json_path(&path);
        for damaged in ["", "not json", "{}", "[1]", r#"{"audio":{"sample_rate":"x"}}"#] {
            std::fs::write(&json, damaged).expect("a file");
            assert!(error().contains("voice.onnx.json is damaged or no Piper voice: "), "{}", error());
        }
        std::fs::write(&json, GOOD).expect("a file");
        assert!(error().starts_with(&format!("voice file {} cannot be read", path.display())), "{}", error());
    }
}

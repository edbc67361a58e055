//! The shipped starter on the shipped clips: voices that its training never heard.

use std::path::PathBuf;

use hearth::ask::{Hearth, Question};
use hearth::audio::wav;
use hearth::config::Config;
use hearth::speech::{SpeechError, Synthesize};
use serde_json::{Value, json};

/// Speaks nothing: what is said is looked at as text.
struct Mute;

impl Synthesize for Mute {
    fn synthesize(&mut self, _sentence: &str) -> Result<hearth::audio::Clip, SpeechError> {
        Ok(hearth::audio::Clip { samples: Vec::new(), rate_hz: 16_000 })
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_sample_commands_are_understood_carried_out_and_answered() {
    let config = Config::read(Some(&root().join("config.toml"))).expect("the repository's configuration");
    let mut hearth = Hearth::load(&config).expect("scripts/setup installs what is needed");
    let mut check = |clip: &str, tool: &str, arguments: Value, said: &str| {
        let question = Question::heard(&root().join("onnx/starter/samples").join(clip), &config).expect("a sample");
        let answer = hearth.answer(question, &mut Mute).expect("an answer");
        let calls: Vec<(&str, Value)> =
            answer.actions.iter().map(|a| (a.call.name.as_str(), Value::Object(a.call.arguments.clone()))).collect();
        assert_eq!(calls, [(tool, arguments)], "{clip}");
        assert_eq!(answer.said, said, "{clip}");
    };
    let light = json!({"kind": "light", "room": "stove"});
    check("light-over-the-stove.flac", "turn_on", light.clone(), "The light over the stove is on.");
    check("light-over-the-stove.flac", "turn_on", light, "The light over the stove is already on.");
    let timer = json!({"minutes": 10, "name": "pasta"});
    check("pasta-timer-ten-minutes.flac", "set_timer", timer, "The pasta timer is set for 10 minutes.");
}

/// The whole evaluation on recordings of people, where they are at hand: reported, not asserted.
#[test]
fn people_are_heard_without_a_fault() {
    let folder = root().join("../shared/speech/coffee");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("SKIPPED: there are no recordings of people in {}", folder.display());
        return;
    };
    let config = Config::read(Some(&root().join("config.toml"))).expect("the repository's configuration");
    let mut hearth = Hearth::load(&config).expect("scripts/setup installs what is needed");
    let clips = files.flatten().map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "flac"));
    let (mut heard, mut called) = (0, 0);
    for clip in clips.take(40) {
        assert!(wav::read(&clip).is_ok());
        let (calls, latency) = hearth.calls_for(&clip).expect("the model answers");
        heard += usize::from(latency.is_some());
        called += usize::from(!calls.is_empty());
    }
    // They order coffee; how many of the orders are right is what `hearth eval` says.
    println!("{heard} recordings of people heard, {called} of them taken for a command");
    assert!(heard >= 38);
}

/// A command whose drafts agree ends sooner where that is wished, with the same call, and none of it is lost.
#[test]
fn drafts_that_agree_end_a_command_sooner() {
    let config = Config::read(Some(&root().join("config.toml"))).expect("the repository's configuration");
    let dir = tempfile::tempdir().expect("a folder can be made");
    let clip = root().join("onnx/starter/samples/light-over-the-stove.flac");
    let mut clip = wav::read_at(&clip, 16_000).expect("a sample");
    let speech_s = clip.samples.iter().rposition(|v| v.abs() > 0.01).expect("somebody speaks") as f64 / 16_000.0;
    clip.samples.extend(vec![0.0; 2 * 16_000]);
    wav::write(&dir.path().join("stove.wav"), &clip).expect("it is written");
    let slots = json!({"kind": "light", "room": "stove"});
    let label = json!({"stove.wav": {"intent": "turn_on", "slots": slots, "speech_s": speech_s}});
    std::fs::write(dir.path().join("labels.json"), label.to_string()).expect("they are written");
    let settings = ["-/700/-", "400/700/-", "-/700/1200"].map(|text| text.parse().expect("a setting"));
    let ends = hearth::bench::ends::measure(&config, dir.path(), &settings).expect("it is measured");
    println!("{ends}");
    let [usual, early, late] = &ends.settings[..] else { panic!("{ends}") };
    assert!(ends.settings.iter().all(|of| of.right == 1 && of.cut_off.is_empty()), "{ends}");
    assert!((650.0..950.0).contains(&usual.mean_ms) && late.mean_ms == usual.mean_ms, "{ends}");
    assert!(early.mean_ms < usual.mean_ms - 200.0, "{ends}");
}

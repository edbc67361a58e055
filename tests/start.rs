//! What makes a start fast changes nothing: the prefix from disk, and weights in the processor's form.

use std::path::{Path, PathBuf};

use hearth::dialogue::{ReplyEvent, ToolSpec, TurnId};
use hearth::home::schema;
use hearth::model::generate::ModelConfig;
use hearth::model::manifest::Folder;
use hearth::model::parts::Parts;
use hearth::model::{Gemma, Respond, Start, prepack};
use hearth::onnx;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn tools() -> Vec<ToolSpec> {
    onnx::init(&root().join(".local/lib/libonnxruntime.so")).expect("scripts/setup installs ONNX Runtime");
    let tools = schema::load(&root().join("onnx/starter/tools.json")).expect("the starter's tools load");
    // All of them would not fit the context of a model that spells every word.
    tools[4..5].to_vec()
}

/// A fixture that declares the tools in its prompt, so that its prefix is long.
fn talkative(name: &str, into: &Path) -> PathBuf {
    let (from, to) = (root().join("target/fixtures").join(name), into.join(name));
    for file in hearth::model::manifest::files_below(&from) {
        let path = to.join(&file);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        std::fs::copy(from.join(&file), &path).expect("scripts/setup builds the fixtures");
    }
    let manifest = to.join("manifest.json");
    if let Ok(text) = std::fs::read_to_string(&manifest) {
        let text = text.replace("\"declares_tools\": false", "\"declares_tools\": true");
        std::fs::write(manifest, text).expect("it is written");
    }
    to
}

fn replies(model: &mut Gemma) -> Vec<ReplyEvent> {
    let samples: Vec<f32> = (0..20_000).map(|i| 0.3 * (i as f32 * 0.05).sin() * (i as f32 * 0.0007).sin()).collect();
    model.begin(TurnId(1), Start::Fresh).expect("a turn begins");
    model.hear(&samples).expect("it is heard");
    model.draft().expect("it drafts");
    let mut events = Vec::new();
    model.commit(&mut |event| events.push(event)).expect("it answers");
    events
}

#[test]
fn a_prefix_from_disk_is_the_one_that_was_prefilled() {
    let tools = tools();
    for name in ["tiny-split-fp32", "lookalike-q4", "lookalike-kv-fp16"] {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = dir.path().join("cache");
        let config = ModelConfig {
            dir: talkative(name, dir.path()),
            max_tokens: 24,
            cache: Some(cache.clone()),
            ..ModelConfig::default()
        };
        let load = |config: &ModelConfig| Gemma::load(config.clone(), &tools).expect("it loads");
        let mut first = load(&config);
        assert!(!first.start().prefix_restored && first.start().prefix_rows > 100, "{name}: {:?}", first.start());
        let mut second = load(&config);
        assert!(second.start().prefix_restored, "{name}");
        assert_eq!(second.start().prefix_rows, first.start().prefix_rows);
        assert_eq!(replies(&mut second), replies(&mut first), "{name}");
        // Another prompt has another prefix, and does not disturb this one.
        let other = ModelConfig { system: "Answer like a pirate.".into(), ..config.clone() };
        assert!(!load(&other).start().prefix_restored);
        assert!(load(&other).start().prefix_restored && load(&config).start().prefix_restored);
        // A damaged one is refused and made anew.
        for entry in std::fs::read_dir(cache.join("prefix")).expect("it is there").flatten() {
            let mut bytes = std::fs::read(entry.path()).expect("it can be read");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(entry.path(), bytes).expect("it is written");
        }
        let mut anew = load(&config);
        assert!(!anew.start().prefix_restored, "{name}");
        assert_eq!(replies(&mut anew), replies(&mut first), "{name}");
        assert!(load(&config).start().prefix_restored);
        // Another model does not take it.
        let manifest = config.dir.join("manifest.json");
        let description = if manifest.exists() { manifest } else { config.dir.join("config.json") };
        let text = std::fs::read_to_string(&description).expect("it is there");
        std::fs::write(&description, text + "\n").expect("it is written");
        assert!(!load(&config).start().prefix_restored, "{name}");
    }
}

#[test]
fn weights_in_the_processors_form_give_the_same_answers() {
    let tools = tools();
    let folder = Folder::read(&root().join("target/fixtures/tiny-split-q8")).expect("it is a model");
    let dir = tempfile::tempdir().expect("a folder");
    let same = prepack::prepared(folder.clone(), dir.path(), 1, 0);
    assert_eq!(same, folder, "8-bit matrices do not come back as they were stored");
    for name in ["tiny-split-q4", "tiny-split-fp32", "lookalike-q4"] {
        let dir = tempfile::tempdir().expect("a folder");
        let config =
            ModelConfig { dir: root().join("target/fixtures").join(name), max_tokens: 24, ..ModelConfig::default() };
        let expected = replies(&mut Gemma::load(config.clone(), &tools).expect("it loads"));
        let folder = || Folder::read(&config.dir).expect("it is a model");
        let small = prepack::prepared(folder(), dir.path(), 1, prepack::LEAST_BYTES);
        assert_eq!(small, folder(), "a small model is left as it is");
        let stored = prepack::prepared(folder(), dir.path(), 1, 0);
        let moved = stored.manifest.parts.values().filter(|part| part.file.starts_with(dir.path())).count();
        assert_eq!(moved, if name == "lookalike-q4" { 2 } else { 3 }, "{name}");
        let place = stored.manifest.parts.values().find(|part| part.file.is_absolute()).expect("there is one");
        let made = std::fs::metadata(&place.file).and_then(|meta| meta.modified()).expect("it is there");
        let again = prepack::prepared(folder(), dir.path(), 1, 0);
        assert_eq!(again, stored);
        let still = std::fs::metadata(&place.file).and_then(|meta| meta.modified()).expect("it is there");
        assert_eq!(made, still, "it is made once");
        let parts = Parts::open(&again, &config, &tools);
        let mut model = Gemma::assemble(again, config.clone(), &tools, parts).expect("it loads");
        assert_eq!(replies(&mut model), expected, "{name}");
    }
}

/// `hearth_onnx adopt`: two halves and a streaming encoder over the weights of a published folder.
#[test]
fn graphs_over_published_weights_give_the_published_answers() {
    let tools = tools();
    let load = |name: &str| {
        let dir = root().join("target/fixtures").join(name);
        let config = ModelConfig { dir, max_tokens: 24, ..ModelConfig::default() };
        Gemma::load(config, &tools).expect("scripts/setup builds the fixtures")
    };
    let (mut published, mut adopted) = (load("lookalike-q4"), load("adopted-q4"));
    assert!(adopted.folder().manifest.parts.contains_key("audio_stream"));
    assert_eq!(replies(&mut adopted), replies(&mut published));
    assert!(adopted.folder().wrong_sums().is_empty());
}

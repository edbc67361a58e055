//! The runtime against `transformers`: the same numbers on small random models that keep every feature of Gemma 4 E4B.
//!
//! `scripts/setup` builds the model folders under `target/fixtures`; the goldens were made by the command named in them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Instant;

use hearth::model::ModelError;
use hearth::model::decoder::Decoder;
use hearth::model::encoder::{Embedder, Encoder, Rows};
use hearth::model::features::{self, BINS, FeatureConfig, LogMel};
use hearth::model::hearing::Hearing;
use hearth::model::manifest::Folder;
use hearth::model::tokenizer::Tokenizer;
use hearth::onnx::{self, Interrupt, Options};
use serde_json::Value;

mod models;

/// The largest error between goldens and fp32 graphs, relative to the largest golden number.
const LIMIT: f32 = 1e-4;
const OPTIONS: Options = Options { threads: 2, spin: true };

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn golden(name: &str) -> Value {
    let path = root().join("tests/fixtures/goldens").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).expect("the golden is in the repository")).expect("it is JSON")
}

fn numbers(value: &Value) -> Vec<f32> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().expect("a number") as f32],
    }
}

/// The test signal of the goldens: sums of sines and noise of a linear congruential generator (see `made_with.signal`).
fn signal(spec: &Value) -> Vec<f32> {
    let n = spec["samples"].as_u64().expect("a length") as usize;
    let gate = spec["gate_samples"].as_u64().unwrap_or(0) as usize;
    let noise = spec["noise"].as_f64().unwrap_or(0.0);
    let mut state = spec["seed"].as_u64().unwrap_or(1) as u32;
    let pair = |pair: &Value| (pair[0].as_f64().expect("a frequency"), pair[1].as_f64().expect("an amplitude"));
    let sines: Vec<(f64, f64)> =
        spec.get("sines").and_then(Value::as_array).map_or(Vec::new(), |pairs| pairs.iter().map(pair).collect());
    let mut samples = Vec::with_capacity(n);
    for i in 0..n {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let u = f64::from(state >> 8) / f64::from(1 << 23) - 1.0;
        let tones: f64 = sines.iter().map(|(f, a)| a * (std::f64::consts::TAU * f * i as f64 / 16_000.0).sin()).sum();
        let silent = gate > 0 && (i / gate) % 2 == 1;
        samples.push(if silent { 0.0 } else { (tones + noise * u) as f32 });
    }
    samples
}

fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    found.iter().zip(expected).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

/// Everything that is open of one folder.
struct Model {
    folder: Folder,
    features: FeatureConfig,
    encoder: Encoder,
    embedder: Embedder,
    decoder: Decoder,
    interrupt: Arc<Interrupt>,
}

impl Model {
    fn open(name: &str) -> Self {
        static RUNTIME: Once = Once::new();
        RUNTIME.call_once(|| {
            onnx::init(&root().join(".local/lib/libonnxruntime.so")).expect("scripts/setup installs ONNX Runtime");
        });
        let dir = root().join("target/fixtures").join(name);
        let folder = Folder::read(&dir).expect("scripts/setup builds the fixtures");
        let interrupt = Arc::new(Interrupt::new().expect("run options can be made"));
        let description = std::fs::read_to_string(dir.join("processor_config.json")).expect("it is in the folder");
        Self {
            features: FeatureConfig::parse(&description).expect("it is well-formed"),
            encoder: Encoder::open(&folder, BINS, OPTIONS).expect("the encoder opens"),
            embedder: Embedder::open(&folder, OPTIONS, &interrupt).expect("the embedding opens"),
            decoder: Decoder::open(&folder, OPTIONS).expect("the decoder opens"),
            folder,
            interrupt,
        }
    }

    fn audio_rows(&mut self, samples: &[f32]) -> Vec<f32> {
        let mut frames = Vec::new();
        LogMel::new(self.features.clone()).push(samples, &mut frames);
        self.encoder.encode(&frames, &self.interrupt).expect("the encoder runs")
    }

    fn text(&mut self, ids: &[u32]) -> Rows {
        self.embedder.embed(ids, &self.interrupt).expect("the embedding runs")
    }

    fn step(&mut self, rows: &Rows) -> Vec<f32> {
        self.decoder.step(rows, &self.interrupt).expect("the decoder runs")
    }

    fn prefill(&mut self, rows: &Rows) {
        self.decoder.prefill(rows, &self.interrupt).expect("the decoder runs");
    }

    /// The golden prompt as rows, audio in place.
    fn prompt(&mut self, golden: &Value) -> Rows {
        let samples = signal(&golden["clip"]["signal"]);
        let encoded = self.audio_rows(&samples);
        let tokenizer = Tokenizer::load(&self.folder.dir.join("tokenizer.json")).expect("the tokenizer loads");
        let piece = |name: &str| golden["prompt"][name].as_str().expect("a text").to_owned();
        let head = tokenizer.encode(&piece("head"));
        let tail = tokenizer.encode(&piece("tail"));
        let audio = self.embedder.audio(&encoded);
        let ids: Vec<u32> = numbers(&golden["prompt"]["ids"]).iter().map(|&id| id as u32).collect();
        let place = self.folder.config.audio_token_id;
        let ours: Vec<u32> =
            head.iter().copied().chain(std::iter::repeat_n(place, audio.len)).chain(tail.iter().copied()).collect();
        assert_eq!(ours, ids, "prompt ids");
        let mut rows = self.text(&head);
        rows.extend(&audio);
        rows.extend(&self.text(&tail));
        rows
    }
}

fn argmax(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    best.expect("there are logits") as u32
}

#[test]
fn features_equal_the_reference_extractor() {
    let golden = golden("features.json");
    let mut worst = 0.0_f32;
    let mut check = |name: &str, case: &Value, config: FeatureConfig| {
        let samples = signal(&case["signal"]);
        let mut frames = Vec::new();
        LogMel::new(config).push(&samples, &mut frames);
        assert_eq!(frames.len() / BINS, case["valid_frames"].as_u64().expect("a count") as usize, "{name}");
        assert_eq!(features::frames(samples.len()), frames.len() / BINS, "{name}");
        let values: Vec<f64> = frames.iter().map(|&v| f64::from(v)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
        let extreme = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick).expect("there are frames");
        let statistics =
            [("mean", mean), ("deviation", deviation), ("min", extreme(f64::min)), ("max", extreme(f64::max))];
        for (what, found) in statistics {
            let expected = case[what].as_f64().expect("a number");
            assert!((found - expected).abs() <= 1e-4, "{name}: {what} {found} for {expected}");
        }
        for (bin, expected) in numbers(&case["bin_means"]).into_iter().enumerate() {
            let of_bin = frames.iter().skip(bin).step_by(BINS);
            let found = of_bin.map(|&v| f64::from(v)).sum::<f64>() / (frames.len() / BINS) as f64;
            assert!((found - f64::from(expected)).abs() <= 1e-4, "{name}: mean of bin {bin}");
        }
        for (at, row) in case["rows"].as_object().expect("rows by number") {
            let at: usize = at.parse().expect("a number");
            let found = &frames[at * BINS..(at + 1) * BINS];
            let error = found.iter().zip(numbers(row)).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
            worst = worst.max(error);
            assert!(error <= 1e-4, "{name}, frame {at}: {error}");
        }
    };
    for (name, case) in golden["cases"].as_object().expect("cases by name") {
        check(name, case, FeatureConfig::default());
    }
    let normalised = FeatureConfig {
        per_bin_mean: Some((0..BINS).map(|bin| -3.0 + bin as f32 / 64.0).collect()),
        per_bin_stddev: Some((0..BINS).map(|bin| 1.0 + bin as f32 / 128.0).collect()),
    };
    check("normalised", &golden["normalised"], normalised);
    println!("features: max abs error {worst:.1e}");
}

/// Keys and values of all layers at the rows of the golden: the largest relative error of a tensor.
fn kv_error(model: &Model, expected: &Value) -> f32 {
    let mut worst = 0.0_f32;
    for (name, rows) in expected["kv"].as_object().expect("tensors by name") {
        let (layer, what) = name.split_once('.').expect("layer.key or layer.value");
        let layer = layer.parse().expect("a number");
        let positions = numbers(&expected["kv_positions"]);
        let found: Vec<f32> = positions
            .iter()
            .flat_map(|&row| {
                let what = usize::from(what == "value");
                model.decoder.key_or_value(layer, what, row as usize).expect("a row of the context")
            })
            .collect();
        worst = worst.max(error(&found, &numbers(rows)));
    }
    worst
}

/// Audio rows, first logits and 40 greedy tokens against `transformers`.
fn check_generation(name: &str, precision: &str, limit: f32) {
    let golden = golden("tiny.json");
    let expected = &golden[precision];
    let mut model = Model::open(name);
    let encoded = model.audio_rows(&signal(&golden["clip"]["signal"]));
    let width = model.folder.config.text_config.hidden_size;
    let known = numbers(&expected["audio_rows"]);
    let audio_error = error(&encoded[..known.len().min(encoded.len())], &known);
    assert_eq!(known.len() % width, 0);
    let prompt = model.prompt(&golden);
    let mut logits = model.step(&prompt);
    let logit_error = error(&logits, &numbers(&expected["first_logits"]));
    let ids: Vec<u32> = numbers(&expected["greedy_ids"]).iter().map(|&id| id as u32).collect();
    let best = numbers(&expected["best_logits"]);
    let mut worst_best = 0.0_f32;
    for (&id, best) in ids.iter().zip(best) {
        let token = argmax(&logits);
        assert_eq!(token, id, "{name}");
        worst_best = worst_best.max((logits[token as usize] - best).abs() / best.abs());
        let row = model.text(&[token]);
        logits = model.step(&row);
    }
    let kv_error = kv_error(&model, expected);
    println!(
        "{name}: audio rows {audio_error:.1e}, first logits {logit_error:.1e}, best logits {worst_best:.1e}, kv {kv_error:.1e}"
    );
    assert!(audio_error <= limit && logit_error <= limit && worst_best <= limit && kv_error <= limit);
}

#[test]
fn streamed_audio_rows_equal_transformers() {
    let golden = golden("tiny.json");
    let expected = numbers(&golden["fp32"]["audio_rows"]);
    let samples = signal(&golden["clip"]["signal"]);
    let model = Model::open("tiny-split-fp32");
    let mut hearing = Hearing::open(&model.folder, model.features.clone(), OPTIONS).expect("the encoder opens");
    let mut worst = 0.0_f32;
    for block_rows in 1..=50 {
        hearing.reset().expect("a fresh start");
        let mut rows = Vec::new();
        for block in samples.chunks(block_rows * 640) {
            hearing.push(block);
            rows.extend(hearing.whole_rows(1, &model.interrupt).expect("it runs"));
        }
        rows.extend(hearing.tail(&model.interrupt).expect("it runs"));
        worst = worst.max(error(&rows, &expected));
    }
    println!("streamed rows, blocks of 1 to 50 rows: {worst:.1e}");
    assert!(worst <= LIMIT);
}

/// Drafts and resumes between the blocks: the rows of a draft are those of the sound that it heard, and those that are given out in
/// the end are those of the whole.
#[test]
fn drafts_that_are_taken_back_leave_the_rows_as_they_were() {
    let spec = serde_json::json!({"samples": 32_123, "seed": 11, "noise": 0.2, "gate_samples": 7_000, "sines": [[190.0, 0.3]]});
    let samples = signal(&spec);
    let mut state = 3_u32;
    let mut below = |n: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % n
    };
    for name in ["tiny-split-fp32", "lookalike-fp32"] {
        let mut model = Model::open(name);
        let width = model.folder.config.text_config.hidden_size;
        let mut hearing = Hearing::open(&model.folder, model.features.clone(), OPTIONS).expect("the encoder opens");
        assert_eq!(hearing.carries_state(), name == "tiny-split-fp32");
        let expected = model.audio_rows(&samples);
        let (mut worst, mut worst_draft, mut drafts) = (0.0_f32, 0.0_f32, 0);
        // Blocks of 1 to 50 rows, then random cuts; the window encoder does it with fewer, since it is dear.
        let rounds: Vec<usize> = (1..=60).filter(|round| hearing.carries_state() || round % 5 == 3).collect();
        for round in rounds {
            hearing.reset().expect("a fresh start");
            let (mut rows, mut heard) = (Vec::new(), 0);
            while heard < samples.len() {
                let n = if round <= 50 { round * 640 } else { 1 + below(16_000) };
                let to = (heard + n).min(samples.len());
                hearing.push(&samples[heard..to]);
                heard = to;
                rows.extend(hearing.whole_rows(1 + below(8), &model.interrupt).expect("it runs"));
                if features::frames(heard) == 0 || below(3) > 0 {
                    continue;
                }
                drafts += 1;
                // As a draft does it.
                if hearing.carries_state() {
                    rows.extend(hearing.whole_rows(1, &model.interrupt).expect("it runs"));
                }
                rows.extend(hearing.tail(&model.interrupt).expect("it runs"));
                if drafts % 3 == 0 {
                    worst_draft = worst_draft.max(error(&rows, &model.audio_rows(&samples[..heard])));
                }
                rows.truncate(hearing.resume() * width);
            }
            if hearing.carries_state() {
                rows.extend(hearing.whole_rows(1, &model.interrupt).expect("it runs"));
            }
            rows.extend(hearing.tail(&model.interrupt).expect("it runs"));
            worst = worst.max(error(&rows, &expected));
        }
        println!("{name}: rows after {drafts} drafts {worst:.1e}, of drafts {worst_draft:.1e}");
        assert!(drafts > 10 && worst <= LIMIT && worst_draft <= LIMIT);
    }
}

/// A published folder has the whole encoder only: each block is encoded behind all that it depends on.
#[test]
fn audio_rows_of_windows_equal_those_of_the_whole() {
    let spec =
        serde_json::json!({"samples": 96_123, "seed": 5, "noise": 0.2, "gate_samples": 9_000, "sines": [[210.0, 0.3]]});
    let samples = signal(&spec);
    let mut model = Model::open("lookalike-fp32");
    let expected = model.audio_rows(&samples);
    let back = model.folder.config.audio_config.rows_back() * model.folder.config.text_config.hidden_size;
    assert!(expected.len() > 3 * back, "most windows begin within the clip");
    let mut hearing = Hearing::open(&model.folder, model.features.clone(), OPTIONS).expect("the encoder opens");
    let mut worst = 0.0_f32;
    for block_rows in [1, 3, 7, 12, 25, 47, 100] {
        hearing.reset().expect("a fresh start");
        let mut rows = Vec::new();
        for block in samples.chunks(block_rows * 640) {
            hearing.push(block);
            rows.extend(hearing.whole_rows(1, &model.interrupt).expect("it runs"));
            // A draft in between changes nothing.
            if block_rows > 7 {
                hearing.tail(&model.interrupt).expect("it runs");
            }
        }
        rows.extend(hearing.tail(&model.interrupt).expect("it runs"));
        worst = worst.max(error(&rows, &expected));
    }
    println!("rows of windows, blocks of 1 to 100 rows: {worst:.1e}");
    assert!(worst <= LIMIT);
}

/// Cancelling does not wait for a long prefill, and leaves nothing of it.
#[test]
fn a_prefill_is_cut_short_within_its_run() {
    let mut model = Model::open("tiny-split-fp32");
    let ids: Vec<u32> = (0..4_000).map(|i| 300 + i % 500).collect();
    let rows = model.text(&ids);
    let started = Instant::now();
    let expected = model.step(&rows);
    let took = started.elapsed();
    // On a busy machine the raise may come late: then it is tried again.
    let cut = (0..10).any(|_| {
        model.decoder.rewind(0).expect("it is emptied");
        let interrupt = Arc::clone(&model.interrupt);
        let raise = std::thread::spawn(move || {
            std::thread::sleep(took / 8);
            interrupt.raise();
        });
        let result = model.decoder.prefill(&rows, &model.interrupt);
        raise.join().expect("it does not panic");
        model.interrupt.clear();
        match result {
            Ok(()) => false,
            Err(ModelError::Interrupted) => model.decoder.is_empty(),
            Err(error) => panic!("{error}"),
        }
    });
    assert!(cut, "a prefill of {took:?} is stopped after an eighth of it");
    assert_eq!(model.step(&rows), expected, "the next one works");
}

#[test]
fn generation_equals_transformers() {
    for name in ["tiny-split-fp32", "tiny-merged-fp32", "tiny-merged-in-place", "lookalike-fp32"] {
        check_generation(name, "fp32", LIMIT);
    }
}

#[test]
fn generation_of_dequantised_weights_equals_transformers() {
    // 4-bit weights at accuracy level 0 are multiplied in fp32, so they equal transformers on the dequantised weights.
    let variants = ["q4", "no-position-ids", "no-keep", "masks"].map(|name| format!("lookalike-{name}"));
    for name in variants.iter().map(String::as_str).chain(["tiny-split-q4"]) {
        check_generation(name, "q4b32a0", LIMIT);
    }
    // Half-precision keys and values.
    check_generation("lookalike-kv-fp16", "q4b32a0", 2e-2);
}

#[test]
fn external_data_in_shards_is_read() {
    // 8 bit with quantised activations: no golden, but the same weights in one piece.
    let golden = golden("tiny.json");
    let logits = ["lookalike-sharded", "tiny-split-q8"].map(|name| {
        let mut model = Model::open(name);
        let prompt = model.prompt(&golden);
        model.step(&prompt)
    });
    println!("sharded against split: {:.1e}", error(&logits[0], &logits[1]));
    assert_eq!(argmax(&logits[0]), argmax(&logits[1]));
}

/// Logits after prefilling in the given pieces equal those of one prefill, and a rewind leaves no trace.
fn check_pieces(name: &str) {
    let golden = golden("tiny.json");
    let mut model = Model::open(name);
    let prompt = model.prompt(&golden);
    let whole = model.step(&prompt);
    let n = prompt.len;
    for cuts in [vec![1, 2, 3], vec![n - 1], vec![7, 20, 33], (1..n).collect()] {
        model.decoder.rewind(0).expect("a rewind");
        let mut from = 0;
        for to in cuts {
            model.prefill(&prompt.slice(from, to));
            from = to;
        }
        let logits = model.step(&prompt.slice(from, n));
        let error = error(&logits, &whole);
        assert!(error <= LIMIT, "{name} in pieces: {error}");
    }
    // Something else in between, then back to row 20 and on.
    model.decoder.rewind(20).expect("a rewind");
    let other = model.text(&[5, 6, 7, 8, 9, 10]);
    model.step(&other);
    model.decoder.rewind(20).expect("a rewind");
    let logits = model.step(&prompt.slice(20, n));
    let error = error(&logits, &whole);
    assert!(error <= LIMIT, "{name} after a rewind: {error}");
}

#[test]
fn pieces_and_rewinds_equal_one_prefill() {
    for name in ["tiny-split-fp32", "tiny-merged-fp32", "tiny-merged-in-place", "lookalike-fp32"] {
        check_pieces(name);
    }
}

#[test]
fn what_no_row_sees_is_let_go_of() {
    let golden = golden("tiny.json");
    for name in ["tiny-split-fp32", "tiny-merged-fp32"] {
        let mut model = Model::open(name);
        let (windows, text) = (name.contains("split"), model.folder.config.text_config.clone());
        let prompt = model.prompt(&golden);
        let whole = model.step(&prompt);
        for (settled, step) in [(40, 40), (40, 5), (3, 3)] {
            model.decoder.rewind(0).expect("none is always possible");
            for from in (0..settled).step_by(step) {
                model.prefill(&prompt.slice(from, from + step));
                model.decoder.settle().expect("it lets go");
            }
            // Others come and go behind that point, and the copy of it is as good.
            let other = model.text(&[5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
            model.step(&other);
            model.decoder.rewind(settled).expect("back to where it was settled");
            let copy: Vec<_> = model.decoder.saved().collect::<Result<_, _>>().expect("it is copied");
            let held: Vec<usize> = copy.iter().map(|saved| saved.rows).collect();
            for copied in [false, true] {
                if copied {
                    model.decoder.restore(settled, copy.clone().into_iter()).expect("it fits");
                }
                let error = error(&model.step(&prompt.slice(settled, prompt.len)), &whole);
                assert!(error <= LIMIT, "{name}, {settled} rows settled: {error}");
                model.decoder.rewind(settled).expect("back again");
            }
            for (at, rows) in held.into_iter().enumerate() {
                let sees = if windows && !text.is_full(at / 2) { text.sliding_window - 1 } else { settled };
                assert_eq!(rows, sees.min(settled), "{name}: tensor {at}");
            }
            let gone = windows && settled >= text.sliding_window;
            assert_eq!(model.decoder.holds(settled - 1), !gone);
            assert_eq!(
                model.decoder.key_or_value(0, 0, 0).is_err(),
                gone,
                "{name}: the first row of a layer that slides"
            );
            assert_eq!(model.decoder.rewind(settled - 1).is_err(), gone);
            assert_eq!(model.decoder.len(), if gone { settled } else { settled - 1 }, "{name}: it says no and stays");
        }
        // A copy that does not fit, or ends early, leaves an empty context.
        model.decoder.rewind(0).expect("none is always possible");
        model.prefill(&prompt.slice(0, 30));
        let copy: Vec<_> = model.decoder.saved().collect::<Result<_, _>>().expect("it is copied");
        assert!(model.decoder.restore(1, copy.clone().into_iter()).is_err());
        assert!(model.decoder.is_empty());
        let most = copy.len() - 1;
        assert!(model.decoder.restore(30, copy.into_iter().take(most)).is_err());
        assert!(model.decoder.is_empty());
        let error = error(&model.step(&prompt), &whole);
        assert!(error <= LIMIT, "{name} after what did not fit: {error}");
    }
}

#[test]
fn rows_from_the_tables_are_those_of_the_graph() {
    // Adopted: its manifest says where the tables lie.
    let mut model = Model::open("adopted-q4");
    assert!(model.folder.manifest.tables.is_some());
    let ids: Vec<u32> = (0..450).chain([u32::MAX]).collect();
    let found = model.text(&ids);
    let mut folder = model.folder.clone();
    folder.manifest.tables = None;
    let mut graph = Embedder::open(&folder, OPTIONS, &model.interrupt).expect("the graph opens");
    assert!(found == graph.embed(&ids, &model.interrupt).expect("it runs"), "other rows, bit for bit");
    assert_eq!(model.embedder.audio(&vec![0.0; 64]), graph.audio(&vec![0.0; 64]));
}

#[test]
fn the_context_is_bounded() {
    for name in ["tiny-split-fp32", "tiny-merged-fp32"] {
        let mut model = Model::open(name);
        let limit = model.folder.manifest.max_context;
        let row = model.text(&[5]);
        let mut block = Rows::default();
        (0..limit).for_each(|_| block.extend(&row));
        model.prefill(&block);
        assert_eq!(model.decoder.room(), 0);
        let error = model.decoder.step(&row, &model.interrupt).expect_err("the context is full");
        assert!(error.to_string().contains(&format!("do not fit the context of {limit}")), "{error}");
        assert_eq!(model.decoder.len(), limit);
    }
}

#[test]
fn an_interrupted_run_leaves_the_context_as_it_was() {
    for name in ["tiny-split-fp32", "tiny-merged-fp32"] {
        let mut model = Model::open(name);
        let prompt = model.prompt(&golden("tiny.json"));
        let whole = model.step(&prompt);
        model.decoder.rewind(10).expect("a rewind");
        model.interrupt.raise();
        let rest = prompt.slice(10, prompt.len);
        assert!(model.decoder.step(&rest, &model.interrupt).is_err());
        assert_eq!(model.decoder.len(), 10);
        model.interrupt.clear();
        assert!(error(&model.step(&rest), &whole) <= LIMIT);
    }
}

/// A damaged copy of a fixture gives one line that names the file.
fn check_damage(damage: impl Fn(&Path), expected: &str) {
    let temp = tempfile::tempdir().expect("a folder");
    let from = root().join("target/fixtures/tiny-split-q8");
    models::copy(&from, temp.path(), &serde_json::json!({}));
    damage(temp.path());
    let options = OPTIONS;
    Model::open("tiny-split-fp32");
    let result = Folder::read(temp.path()).map_err(|e| e.to_string()).and_then(|folder| {
        let wrong: Vec<String> =
            folder.wrong_sizes().iter().chain(&folder.wrong_sums()).map(|e| e.to_string()).collect();
        if let Some(first) = wrong.into_iter().next() {
            return Err(first);
        }
        Decoder::open(&folder, options).map(|_| ()).map_err(|e| e.to_string())
    });
    let error = result.expect_err("the damage is noticed");
    assert!(error.contains(expected) && !error.contains('\n'), "{error}");
}

#[test]
fn damaged_folders_are_refused_in_one_line() {
    let lower = |dir: &Path| dir.join("onnx/decoder_lower.onnx");
    check_damage(|dir| std::fs::remove_file(lower(dir)).expect("it is there"), "decoder_lower.onnx: No such file");
    check_damage(
        |dir| {
            let bytes = std::fs::read(lower(dir)).expect("it is there");
            std::fs::write(lower(dir), &bytes[..bytes.len() / 2]).expect("it is written");
        },
        "truncated or changed",
    );
    check_damage(
        |dir| {
            let mut bytes = std::fs::read(lower(dir)).expect("it is there");
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            std::fs::write(lower(dir), bytes).expect("it is written");
        },
        "SHA-256",
    );
    check_damage(|dir| std::fs::write(dir.join("manifest.json"), "{").expect("it is written"), "manifest.json");
    check_damage(|dir| std::fs::remove_file(dir.join("manifest.json")).expect("it is there"), "not a model folder");
    check_damage(
        |dir| {
            std::fs::remove_file(dir.join("manifest.json")).expect("it is there");
            std::fs::write(dir.join("genai_config.json"), "{}").expect("it is written");
        },
        "onnxruntime-genai",
    );
}

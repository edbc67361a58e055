//! The layers of the crate, read off its sources: a library for sound or models is named in one file only, and `model`
//! and `home` never name each other (they meet in `dialogue`).

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file under `folder`, relative to it.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder of the repository") {
            let path = entry.expect("a readable entry").path();
            match path.extension() {
                None => folders.push(path),
                Some(end) if end == "rs" => found.push(path.strip_prefix(folder).expect("it is below").to_path_buf()),
                Some(_) => {}
            }
        }
    }
    found.sort();
    found
}

/// Whether a line of code outside comments names `path`, such as `ort::`, as a whole word.
fn names(source: &str, path: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let code = source.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    code.into_iter().any(|line| {
        line.match_indices(path).any(|(at, _)| !line[..at].ends_with(|before| word(before) || before == ':'))
    })
}

/// The files below `src` that name `path` and are not in `allowed` (files or folders).
fn strangers(path: &str, allowed: &[&str]) -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let outside = |file: &PathBuf| !allowed.iter().any(|place| file.starts_with(place));
    let mut files = sources(&src);
    assert!(files.len() > 10, "src was not found");
    files.retain(|file| outside(file) && names(&fs::read_to_string(src.join(file)).expect("a source file"), path));
    files
}

#[test]
fn each_library_at_the_rim_is_named_in_one_place() {
    for (path, allowed) in [
        ("ort::", &["onnx.rs"][..]),
        ("rodio::", &["audio/playback.rs"]),
        ("cpal::", &["audio/capture.rs", "audio/device.rs", "audio/playback.rs"]),
        ("alsa::", &["audio/device.rs"]),
        ("ringbuf::", &["audio"]),
        ("piper_rs::", &["speech"]),
        ("earshot::", &["listen"]),
        ("sonora::", &["listen"]),
        ("clap::", &["cli.rs"]),
        ("tokenizers::", &["model/tokenizer.rs", "model/tokenizer"]),
        ("llguidance::", &["model/grammar.rs", "model/tokenizer.rs"]),
        ("realfft::", &["model/features.rs"]),
        ("rubato::", &["audio/resample.rs"]),
        ("symphonia::", &["audio/wav.rs", "audio/wav"]),
        ("tracing_subscriber::", &["telemetry.rs"]),
        ("tokio::", &["home", "control.rs", "control", "daemon.rs", "daemon", "duck.rs"]),
        ("tokio_tungstenite::", &["home/hass"]),
        ("rustls::", &["home/tls.rs", "home/hass.rs", "home/hass", "home/mqtt"]),
        ("rustls_native_certs::", &["home/tls.rs"]),
        ("zbus::", &["duck.rs"]),
        ("sd_notify::", &["service.rs"]),
        ("jiff::", &["home", "history.rs"]),
        ("rustix::", &["home/timers.rs", "home/command.rs", "fetch.rs", "model/prepack.rs", "bench/latency.rs"]),
        ("rumqttc::", &["home/mqtt"]),
        ("ureq::", &["home/webhook.rs", "fetch/source.rs"]),
    ] {
        let found = strangers(path, allowed);
        assert!(found.is_empty(), "{path} belongs in {allowed:?} only and is named in {found:?}");
    }
}

#[test]
fn model_and_home_never_name_each_other() {
    for (path, folder) in [("crate::home", "model"), ("crate::model", "home")] {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
        for file in sources(&src) {
            let source = fs::read_to_string(src.join(&file)).expect("a source file");
            assert!(!names(&source, path), "{folder}/{} names {path}", file.display());
        }
    }
}

#[test]
fn names_sees_whole_words_of_code() {
    for (source, path, expected) in [
        ("use ort::session;", "ort::", true),
        ("    let s: Box<ort::Session>", "ort::", true),
        ("// ort::Session", "ort::", false),
        ("use crate::support::x;", "ort::", false),
        ("use crate::onnx::ort::x;", "ort::", false),
    ] {
        assert_eq!(names(source, path), expected, "{source}");
    }
}

//! Fetching a model from a server that has the paths, the listing and the habits of the hub: redirects, ranges, pages.

mod hub;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hearth::fetch::{FetchError, Known, KnownFile, Order, Report, fetch};
use hearth::model::manifest::Folder;
use hub::{Fault, Hub};

/// A small model in the published layout, made by `scripts/setup`.
fn model() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fixtures/lookalike-q4");
    assert!(dir.exists(), "{} is missing: run scripts/setup", dir.display());
    dir
}

const DATA: &str = "onnx/decoder_model_merged_q4.onnx_data";

struct Setup {
    hub: Hub,
    dir: tempfile::TempDir,
    known: Known,
}

impl Setup {
    fn new() -> Self {
        let hub = Hub::start(&model());
        let tokenizer = hub.sum("tokenizer.json");
        let file = KnownFile { bytes: tokenizer.0, sha256: Some(tokenizer.1) };
        let known = Known {
            repository: "owner/model-ONNX".into(),
            revision: "0123456789abcdef0123456789abcdef01234567".into(),
            files: [("tokenizer.json".to_owned(), file)].into(),
        };
        Self { hub, dir: tempfile::tempdir().expect("a folder"), known }
    }

    fn order(&self) -> Order {
        Order { from: Some(self.hub.address()), to: self.dir.path().join("model"), pace: (3, Duration::from_millis(1)) }
    }

    fn fetch(&self) -> Result<Report, FetchError> {
        fetch(&self.order(), &self.known)
    }

    /// Fails with these words, and nothing is installed.
    fn fails(&self, expected: &str) {
        let error = self.fetch().expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!self.order().to.exists(), "something was installed");
    }

    fn part(&self, name: &str) -> PathBuf {
        self.dir.path().join(".model.01234567.part").join(name)
    }

    /// All is there, byte for byte, and nothing else.
    fn is_whole(&self) {
        let to = self.order().to;
        let folder = Folder::read(&to).expect("it is a model");
        assert!(folder.wrong_sums().is_empty() && folder.wrong_sizes().is_empty());
        assert_eq!(folder.manifest.files.len(), 10);
        for name in folder.manifest.files.keys() {
            assert_eq!(std::fs::read(to.join(name)).ok(), std::fs::read(model().join(name)).ok(), "{name}");
        }
        let left: Vec<_> = std::fs::read_dir(self.dir.path()).expect("a folder").flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

#[test]
fn a_model_comes_whole_and_once() {
    let setup = Setup::new();
    let installed = Report::Installed { files: 10, unverified: 0, encoder: "q4" };
    assert_eq!(setup.fetch().expect("it comes"), installed);
    setup.is_whole();
    let asked = setup.hub.requests();
    assert_eq!(setup.fetch().expect("it is there"), Report::Present);
    assert_eq!(setup.hub.requests(), asked, "what is there is not asked for");
    std::fs::write(setup.order().to.join("config.json"), "{}").expect("it is written");
    assert!(matches!(setup.fetch(), Err(FetchError::Taken(_))), "a folder that was changed is not written over");
}

#[test]
fn a_broken_connection_is_gone_on_with_from_where_it_broke() {
    let setup = Setup::new();
    setup.hub.fault(DATA, Fault::BreakAfter { bytes: 30_000, times: 4 });
    setup.fetch().expect("it comes in the end");
    setup.is_whole();
    let ranges = setup.hub.ranges(DATA);
    assert_eq!(ranges[..4], [0, 30_000, 60_000, 90_000], "each goes on where the last one broke");
}

#[test]
fn a_server_that_answers_with_errors_for_a_while_is_asked_again() {
    let setup = Setup::new();
    setup.hub.fault(DATA, Fault::Status { status: 503, times: 3 });
    setup.hub.fault("config.json", Fault::Status { status: 429, times: 2 });
    setup.fetch().expect("it comes in the end");
    setup.is_whole();
}

#[test]
fn a_run_that_was_stopped_is_gone_on_with() {
    let setup = Setup::new();
    setup.hub.fault(DATA, Fault::BreakAfter { bytes: 10_000, times: 1 });
    setup.hub.fault("onnx/embed_tokens_q4.onnx_data", Fault::Status { status: 500, times: 100 });
    setup.fails("attempts brought nothing");
    let have = std::fs::metadata(setup.part(DATA)).expect("what came is kept").len();
    assert!(have >= 10_000, "{have}");
    setup.hub.mend();
    let before = setup.hub.ranges(DATA).len();
    setup.fetch().expect("it goes on");
    setup.is_whole();
    let whole = std::fs::metadata(model().join(DATA)).expect("it is there").len();
    let later = setup.hub.ranges(DATA)[before..].to_vec();
    assert_eq!(later, if have == whole { vec![] } else { vec![have] }, "no byte comes twice");
}

#[test]
fn a_server_without_ranges_sends_the_file_anew() {
    let setup = Setup::new();
    setup.hub.fault(DATA, Fault::BreakAfter { bytes: 10_000, times: 1 });
    setup.hub.without_ranges();
    setup.fetch().expect("it comes in the end");
    setup.is_whole();
}

#[test]
fn a_wrong_checksum_is_named_and_the_file_removed() {
    let setup = Setup::new();
    for (file, times) in [(DATA, 1), ("config.json", 1)] {
        setup.hub.fault(file, Fault::Corrupt { times });
        setup.fails(&format!("{file} came with a wrong checksum"));
        assert!(!setup.part(file).exists(), "{file} is still there");
    }
    setup.fetch().expect("the second time it comes right");
    setup.is_whole();
}

#[test]
fn a_file_that_is_listed_and_missing_is_named() {
    let setup = Setup::new();
    setup.hub.fault("onnx/audio_encoder_q4.onnx_data", Fault::Status { status: 404, times: 100 });
    setup.fails("onnx/audio_encoder_q4.onnx_data is listed, and is not at");
    let setup = Setup::new();
    setup.hub.fault("tokenizer.json", Fault::Status { status: 403, times: 100 });
    setup.fails("status 403");
}

#[test]
fn a_file_of_another_length_than_listed_is_refused() {
    let setup = Setup::new();
    setup.hub.list(DATA, |bytes| bytes + 1);
    setup.fails("bytes and not the");
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let setup = Setup::new();
    setup.hub.fault(DATA, Fault::Slow { ms: 400 });
    std::thread::scope(|scope| {
        let first = scope.spawn(|| setup.fetch());
        while !setup.part(DATA).exists() {
            std::thread::sleep(Duration::from_millis(2));
        }
        let second = setup.fetch();
        assert!(matches!(second, Err(FetchError::Busy(_))), "{second:?}");
        let first = first.join().expect("it ends");
        assert!(matches!(first, Ok(Report::Installed { .. })), "{first:?}");
    });
    setup.is_whole();
    assert_eq!(setup.fetch().expect("it is there"), Report::Present);
}

#[test]
fn a_disk_that_is_too_full_is_told_before_anything_comes() {
    let setup = Setup::new();
    setup.hub.list(DATA, |_| 1 << 60);
    setup.fails("more are needed");
    assert!(setup.hub.ranges(DATA).is_empty());
}

#[test]
fn a_listing_of_something_else_is_refused() {
    let setup = Setup::new();
    setup.hub.list("tokenizer.json", |bytes| bytes + 7);
    setup.fails("this is not the pinned revision");
    let setup = Setup::new();
    setup.hub.unlist("tokenizer.json");
    setup.fails("tokenizer.json is not in it");
    // The graph itself tells that a file of weights is missing.
    let setup = Setup::new();
    setup.hub.unlist(DATA);
    setup.fails("keeps its weights in");
    let setup = Setup::new();
    setup.hub.only(&["genai_config.json", "model.onnx", "model.onnx.data"]);
    setup.fails("onnxruntime-genai");
    let setup = Setup::new();
    setup.hub.listing_is("<html>sign in</html>");
    setup.fails("the listing is not that of the model");
}

#[test]
fn a_model_comes_out_of_a_folder_too() {
    let setup = Setup::new();
    let order = Order { from: Some(model().display().to_string()), ..setup.order() };
    let report = fetch(&order, &setup.known).expect("it comes");
    assert_eq!(report, Report::Installed { files: 10, unverified: 9, encoder: "q4" });
    setup.is_whole();
    // A folder that hearth fetched knows its sums.
    let again =
        Order { from: Some(order.to.display().to_string()), to: setup.dir.path().join("copy"), ..order.clone() };
    let report = fetch(&again, &setup.known).expect("it comes");
    assert_eq!(report, Report::Installed { files: 10, unverified: 0, encoder: "q4" });
    std::fs::remove_dir_all(&again.to).expect("it was there");
    let data = order.to.join(DATA);
    let mut bytes = std::fs::read(&data).expect("it is there");
    bytes[1000] ^= 1;
    std::fs::write(&data, bytes).expect("it is written");
    let error = fetch(&again, &setup.known).expect_err("a bit is wrong").to_string();
    assert!(error.contains("wrong checksum"), "{error}");
}

/// The program itself, against the real model's pins: the small one is not it.
#[test]
fn the_program_holds_the_listing_against_its_pins() {
    let hub = Hub::start(&model());
    let dir = tempfile::tempdir().expect("a folder");
    let run = |name: &str| {
        let to = dir.path().join("model").display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
        let output = command.args(["model", "fetch", name, "--from", &hub.address(), "--to", &to]).output();
        let output = output.expect("the program starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, error) = run("gemma-4-e4b");
    assert_eq!(code, Some(69), "{error}");
    assert!(error.contains("this is not the pinned revision"), "{error}");
    let (code, error) = run("gemma-9");
    assert_eq!(code, Some(64), "{error}");
    assert!(error.contains("gemma-4-e2b, gemma-4-e4b"), "{error}");
}

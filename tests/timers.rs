//! Timers as a real process keeps them: killed at random moments it loses none, and others share its file.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// `hearth timers` over a state folder.
fn hearth(dir: &Path, args: &[&str]) -> Command {
    let config = dir.join("config.toml");
    if !config.exists() {
        std::fs::write(&config, "[state]\ndir = \"state\"\n").unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    // With the switch set the program does not have to start itself again.
    command.env("ORT_DISABLE_TELEMETRY", "1").env_remove("HEARTH_LOG");
    command.arg("--config").arg(config).arg("timers").args(args);
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    hearth(dir, args).output().unwrap()
}

fn list(dir: &Path) -> Vec<Value> {
    let output = run(dir, &["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn numbers(dir: &Path) -> BTreeSet<u64> {
    list(dir).iter().map(|timer| timer["id"].as_u64().unwrap()).collect()
}

/// Numbers that the child said were done before it was killed.
fn acknowledged(child: &mut Child) -> Vec<u64> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).filter_map(|line| line.split(':').next()?.parse().ok()).collect()
}

/// A pseudo-random number below `limit`; the same sequence in every run.
fn random(state: &mut u64, limit: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % limit
}

/// The service runs as a user of its own, and root may set timers for it.
#[test]
fn what_root_writes_belongs_to_whom_the_folder_belongs() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    if chown(&state, Some(12_345), Some(12_346)).is_err() {
        return eprintln!("SKIPPED: only root may give files away");
    }
    assert!(run(dir.path(), &["set", "5m"]).status.success());
    let files: Vec<_> = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        let found = file.metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (12_345, 12_346), "{file:?}");
    }
}

#[test]
fn killed_at_random_moments_it_loses_none() {
    let rounds = if std::env::var_os("HEARTH_SLOW").is_some() { 100 } else { 10 };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let lengths: Vec<String> = (1..=24).map(|minutes| format!("{minutes}m")).collect();
    let set: Vec<&str> = std::iter::once("set").chain(lengths.iter().map(String::as_str)).collect();
    // How long a whole run takes here: the moments are spread over it.
    let began = Instant::now();
    assert!(run(dir, &set).status.success());
    let mut whole_us = u64::try_from(began.elapsed().as_micros()).unwrap();
    let mut expected = numbers(dir);
    assert_eq!(expected.len(), 24);
    let (mut seed, mut cut, mut acknowledged_in_all) = (4711, 0, 0);
    for round in 0..rounds {
        // By turns some are taken out and some are put in, by a process that is killed at some moment.
        let takes_out = expected.len() > 4;
        let gone: Vec<String> = expected.iter().take(24).map(u64::to_string).collect();
        let args: Vec<&str> = match takes_out {
            true => std::iter::once("cancel").chain(gone.iter().map(String::as_str)).collect(),
            false => set.clone(),
        };
        let mut child = hearth(dir, &args).stdout(Stdio::piped()).spawn().unwrap();
        let moment_us = random(&mut seed, whole_us);
        std::thread::sleep(Duration::from_micros(moment_us));
        child.kill().unwrap();
        let done = acknowledged(&mut child);
        if child.wait().unwrap().success() {
            // It takes less time than was thought.
            whole_us = moment_us.max(1);
        } else {
            cut += 1;
        }
        acknowledged_in_all += done.len();
        let found = numbers(dir);
        if takes_out {
            let may_be_gone: BTreeSet<u64> = gone.iter().map(|number| number.parse().unwrap()).collect();
            expected.retain(|number| !done.contains(number));
            assert!(found.is_subset(&expected), "round {round}: a cancelled one came back");
            let missing: Vec<&u64> = expected.difference(&found).collect();
            // The one that was under way when the process died may be gone already, no other.
            assert!(
                missing.len() <= 1 && missing.iter().all(|one| may_be_gone.contains(one)),
                "round {round}: {missing:?}"
            );
        } else {
            expected.extend(&done);
            assert!(expected.is_subset(&found), "round {round}: lost {:?}", expected.difference(&found));
            assert!(found.len() <= expected.len() + 1, "round {round}");
        }
        expected = found;
    }
    let names = std::fs::read_dir(dir.join("state")).unwrap().map(|entry| entry.unwrap().file_name());
    let damaged = names.filter(|name| name.to_string_lossy().contains("damaged")).count();
    assert_eq!(damaged, 0, "no file was ever half-written");
    println!("{rounds} rounds, {cut} cut short, {acknowledged_in_all} changes acknowledged, none lost");
    assert!(cut > rounds / 4, "only {cut} of {rounds} were cut short");
}

#[test]
fn from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let check = |args: &[&str], code: i32, expected: &str| {
        let output = run(dir, args);
        let stream = if code == 0 { &output.stdout } else { &output.stderr };
        let text = String::from_utf8_lossy(stream);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(expected), "{args:?}: {text}");
    };
    check(&[], 0, "");
    check(&["set", "10m", "--name", "pasta"], 0, "0: The pasta timer is set for 10 minutes.");
    check(&["alarm", "7:30", "--day", "tomorrow"], 0, "1: The alarm is set for 7:30 AM tomorrow.");
    check(&["remind", "water the plants", "--in", "2h"], 0, "2: I will remind you in 2 hours: water the plants.");
    check(&[], 0, "   0  timer       0:09:");
    check(&[], 0, "  7:30 AM tomorrow");
    check(&["cancel", "1"], 0, "1: cancelled");
    check(&["cancel", "1"], 64, "there is no number 1");
    check(&["set", "25h"], 64, "A timer can run for at most 24 hours.");
    check(&["set", "ten"], 64, "no length");
    check(&["alarm", "25:00"], 64, "no time of day");
    check(&["snooze"], 64, "Nothing is ringing.");
    check(&["set", "1s"], 0, "3: The timer is set for 1 second.");
    std::thread::sleep(Duration::from_millis(1100));
    check(&[], 0, "   3  timer           due");
    check(&["snooze", "5"], 0, "I will ring again in 5 minutes.");
    check(&["stop"], 0, "Nothing is ringing.");
    assert_eq!(numbers(dir), BTreeSet::from([0, 2, 3]));
}

#[test]
fn many_at_once_share_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    run(dir, &[]);
    let children: Vec<Child> =
        (0..8).map(|_| hearth(dir, &["set", "1m", "2m", "3m"]).stdout(Stdio::piped()).spawn().unwrap()).collect();
    let mut said: Vec<u64> = Vec::new();
    for mut child in children {
        said.extend(acknowledged(&mut child));
        assert!(child.wait().unwrap().success());
    }
    assert_eq!((said.len(), numbers(dir)), (24, said.into_iter().collect()));
}

//! `scripts/install` into a folder: all that a unit needs is there, a second run changes nothing, an edited configuration
//! is kept, and nothing is left after it is removed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn install(root: &Path, mode: &str, more: &[&str]) -> String {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(repository.join("scripts/install"));
    command.arg(mode).arg("--root").arg(root).args(more).env("HOME", "/home/somebody").env_remove("XDG_CONFIG_HOME");
    command.env("HEARTH_BIN", env!("CARGO_BIN_EXE_hearth"));
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// Every file below a folder with its size.
fn files(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let entry = entry.expect("a readable entry");
            let meta = entry.metadata().expect("a readable entry");
            if meta.is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(folder).expect("it is below").to_path_buf(), meta.len());
            }
        }
    }
    found
}

fn check(mode: &str, prefix: &str, config: &str, unit: &str) {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fixtures/tiny-split-q8");
    let with_model = ["--model", model.to_str().expect("a plain name")];
    install(root, mode, &with_model);
    let first = files(root);
    for file in [
        format!("{prefix}/bin/hearth"),
        format!("{prefix}/lib/hearth/libonnxruntime.so"),
        format!("{prefix}/share/hearth/model/manifest.json"),
        format!("{prefix}/share/hearth/espeak-ng-data/phontab"),
        format!("{prefix}/share/hearth/wake/computer.onnx"),
        config.to_owned(),
        unit.to_owned(),
    ] {
        assert!(first.contains_key(Path::new(&file)), "{mode}: {file}");
    }
    let written = fs::read_to_string(root.join(config)).expect("it is there");
    for key in ["onnxruntime", "dir", "voice", "espeak_data"] {
        let value = written.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"/"))).expect(key);
        assert!(root.join(value.trim_end_matches('"')).exists(), "{mode}: {key}: {value}");
    }
    // systemd tells only the daemon where the machine's state is; `hearth history` and its like read it here.
    let named = written.contains("[state]\ndir = \"/var/lib/hearth\"\n");
    assert_eq!(named, mode == "--system", "{mode}: the state folder");
    install(root, mode, &with_model);
    assert_eq!(files(root), first, "{mode}: a second run changes nothing");
    fs::write(root.join(config), format!("{written}# mine\n")).expect("it is ours");
    assert!(install(root, mode, &with_model).contains(".new"), "{mode}");
    assert!(fs::read_to_string(root.join(config)).expect("it is there").ends_with("# mine\n"));
    install(root, mode, &["--uninstall"]);
    assert_eq!(files(root).into_keys().collect::<Vec<_>>(), [PathBuf::from(config)], "{mode}: the edited file is left");
    install(root, mode, &["--uninstall", "--purge"]);
    assert_eq!(files(root), BTreeMap::new(), "{mode}");
}

#[test]
fn for_the_machine() {
    check("--system", "usr/local", "etc/hearth/config.toml", "usr/local/lib/systemd/system/hearth.service");
}

#[test]
fn for_a_user() {
    check(
        "--user",
        "home/somebody/.local",
        "home/somebody/.config/hearth/config.toml",
        "home/somebody/.config/systemd/user/hearth.service",
    );
}

/// Both units as systemd reads them, and how far the machine's service is shut in: at most 2.5 of 10.
#[test]
fn the_units_are_sound_and_the_service_is_shut_in() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return eprintln!("SKIPPED: there is no systemd-analyze");
    }
    let (folder, repository) = (tempfile::tempdir().expect("a folder"), Path::new(env!("CARGO_MANIFEST_DIR")));
    let analyze = |arguments: &[&str], unit: &Path| {
        let mut command = Command::new("systemd-analyze");
        command.args(arguments).arg(unit).env("XDG_RUNTIME_DIR", folder.path()).env("HOME", folder.path());
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{}: {said}", unit.display());
        said
    };
    for (name, scope) in [("hearth.service", "--system"), ("hearth-user.service", "--user")] {
        let text = fs::read_to_string(repository.join("systemd").join(name)).expect("it is in the repository");
        // It wants the programs to be there; what is looked at is the rest.
        let program = |line: &str| match line.split_once("/bin/hearth ") {
            Some((start, rest)) if start.starts_with("Exec") => {
                format!("{}=/bin/true {rest}", start.split('=').next().unwrap_or_default())
            }
            _ => line.to_owned(),
        };
        let unit = folder.path().join(name);
        let lines: Vec<String> = text.lines().map(program).collect();
        fs::write(&unit, lines.join("\n") + "\n").expect("it is written");
        let said = analyze(&["verify", "--man=no", scope], &unit);
        assert_eq!(said.trim(), "", "{name}");
    }
    let security = ["security", "--offline=true", "--threshold=25", "--no-pager"];
    let said = analyze(&security, &repository.join("systemd/hearth.service"));
    println!("{}", said.trim().lines().last().unwrap_or_default());
}

/// Under systemd's own user instance, as `tests/service.sh` says.
#[test]
fn the_service_of_a_user_runs_is_watched_and_stops() {
    if std::env::var_os("HEARTH_SLOW").is_none() {
        return eprintln!("SKIPPED: slow (HEARTH_SLOW=1)");
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let can =
        |program: &str| Command::new(program).args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    if !Path::new("/lib/systemd/systemd").exists() || !can("unshare") {
        return eprintln!("SKIPPED: wants systemd, and root for a mount namespace");
    }
    if Command::new("pulseaudio").arg("--version").output().is_err() {
        return eprintln!("SKIPPED: pulseaudio is not installed (scripts/setup does it)");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("unshare");
    command.arg("--mount").arg(repository.join("tests/service.sh")).arg(folder.path()).current_dir(repository);
    let output = command.env("HEARTH_BIN", env!("CARGO_BIN_EXE_hearth")).output().expect("it starts");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("stopped and removed"), "{said}{errors}");
    println!("{said}");
}

/// In a fresh Debian, as `scripts/deb --help` says.
#[test]
fn the_debian_package_installs_works_and_leaves_nothing() {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if std::env::var_os("HEARTH_SLOW").is_none() {
        return eprintln!("SKIPPED: slow (HEARTH_SLOW=1)");
    }
    if !is_root || !has("debootstrap") || !has("dpkg-shlibdeps") {
        return eprintln!("SKIPPED: wants root, debootstrap and dpkg-dev");
    }
    let out = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/deb"));
    command.arg("--try").arg("--out").arg(out.path()).env("HEARTH_BIN", env!("CARGO_BIN_EXE_hearth"));
    let output = command.output().expect("it starts");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && errors.contains("nothing is left"), "{said}{errors}");
}

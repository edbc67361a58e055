//! README's table of settings and `config.toml` are in step: the same settings, in the same order, with the same values.

use std::fs;
use std::path::Path;

use hearth::config::Config;

/// Tables whose keys the person chooses: one row stands for the whole table.
const FREE_TABLES: [&str; 2] = ["home.simulated.rooms", "risk.levels"];

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a file of the repository")
}

/// `section.key` and value of every setting in `config.toml`. A setting that has no default stands there as a comment,
/// `# key = example`; its value is then "not set".
fn settings(config: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut section = "";
    for line in config.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
            if FREE_TABLES.contains(&section) {
                found.push((section.to_string(), "see the file".to_string()));
            }
        }
        let (line, is_set) = line.strip_prefix("# ").map_or((line, true), |rest| (rest, false));
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let is_key = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if is_key && !FREE_TABLES.contains(&section) {
            let value = value.split(" #").next().expect("split gives at least one part").trim();
            found.push((format!("{section}.{key}"), if is_set { value } else { "not set" }.to_string()));
        }
    }
    found
}

/// First and second cell of every row of the table whose first cell is a setting's name in code style.
fn rows(readme: &str) -> Vec<(String, String)> {
    let start = readme.find("## Settings").expect("README has a chapter on settings");
    let chapter = readme[start + 3..].split("\n## ").next().expect("split gives at least one part");
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().replace('`', "")).collect::<Vec<_>>();
    let is_row = |line: &&str| line.starts_with("| `");
    chapter.lines().filter(is_row).map(cells).map(|row| (row[1].clone(), row[2].clone())).collect()
}

#[test]
fn the_table_of_settings_is_in_step_with_config_toml() {
    let settings = settings(&read("config.toml"));
    assert!(settings.len() > 5, "config.toml was not understood: {settings:?}");
    assert_eq!(rows(&read("README.md")), settings, "left README.md, right config.toml");
}

/// The file says what holds without it, but for the home, which only the file has.
#[test]
fn config_toml_holds_the_defaults() {
    let file = Config::read(Some(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml"))).expect("it is sound");
    let empty = tempfile::NamedTempFile::with_suffix_in(".toml", env!("CARGO_MANIFEST_DIR")).expect("a file");
    let defaults = Config::read(Some(empty.path())).expect("an empty file is a configuration");
    assert_eq!(Config { path: defaults.path.clone(), home: defaults.home.clone(), ..file }, defaults);
}

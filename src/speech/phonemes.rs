//! espeak-ng: text to phonemes. The only file that calls it.
//!
//! espeak-ng keeps its state in process-wide variables, so calls from several threads take turns.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use espeak_rs::text_to_phonemes;

use super::SpeechError;

/// espeak-ng is not thread-safe and cannot be owned: it is a set of C globals. A message to an owning thread would make
/// every caller wait just the same.
static TURN: Mutex<()> = Mutex::new(());

/// Name of the folder that espeak-ng looks for.
const DATA_FOLDER: &str = "espeak-ng-data";

/// Opens espeak-ng's data, once per process. It is looked for in the folder named by the environment variable
/// `PIPER_ESPEAKNG_DATA_DIRECTORY`, in `data`, in the working directory, beside the executable and where it was built;
/// each is the folder that *holds* `espeak-ng-data` (for `data`, that folder itself will do too).
///
/// The library takes a path only through the environment or the working directory, and changing the environment of a
/// running process is unsafe: so the working directory is changed while it opens. Call this at start-up, before there
/// are threads that open relative paths. The first call decides; later calls return quickly.
///
/// # Errors
/// [`SpeechError::Phonemes`] when `data` has no such folder or espeak-ng finds none. That is final for the process.
pub fn open_espeak(data: Option<&Path>) -> Result<(), SpeechError> {
    let Some(data) = data else {
        return phonemes("a", "en").map(|_| ());
    };
    let wrong = |what: String| SpeechError::Phonemes { reason: format!("{}: {what}", data.display()) };
    let holder = if data.join(DATA_FOLDER).is_dir() {
        data.to_path_buf()
    } else if data.ends_with(DATA_FOLDER) && data.is_dir() {
        let data = std::path::absolute(data).map_err(|error| wrong(error.to_string()))?;
        data.parent().map(Path::to_path_buf).unwrap_or(data)
    } else {
        return Err(wrong(format!("has no folder {DATA_FOLDER}")));
    };
    let home = std::env::current_dir().map_err(|error| wrong(error.to_string()))?;
    std::env::set_current_dir(&holder).map_err(|error| wrong(error.to_string()))?;
    let opened = phonemes("a", "en");
    std::env::set_current_dir(&home).map_err(|error| wrong(error.to_string()))?;
    opened.map(|_| ())
}

/// The longest clause handed to espeak-ng, in characters: it cuts longer ones itself (at 800 bytes) and says nothing.
const LONGEST_CLAUSE_CHARS: usize = 150;

/// The phonemes of a text, clause after clause, in the alphabet of Piper's voices, each clause with its stop. Empty
/// when the text has none.
///
/// espeak-ng itself returns clauses without their stops, and espeak-rs joins them without a space: a voice would then
/// hear neither a question nor a pause, and the last word of a clause would run into the first of the next.
///
/// # Errors
/// [`SpeechError::Phonemes`] when espeak-ng finds no data or does not know `language`.
pub fn phonemes(text: &str, language: &str) -> Result<String, SpeechError> {
    let mut out = String::new();
    for (clause, stop) in clauses(text) {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let found = text_to_phonemes(&clause, language, None);
        let found = found.map_err(|error| SpeechError::Phonemes { reason: error.0 })?.join(" ");
        let found = found.trim();
        if found.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(found);
        out.extend(stop.filter(|stop| !found.ends_with(*stop)));
    }
    Ok(out)
}

/// The clauses of a text with the plain stop that a voice knows for the end of each. Long ones are cut at a space
/// without a stop.
fn clauses(text: &str) -> Vec<(String, Option<char>)> {
    let mut found: Vec<(String, Option<char>)> = Vec::new();
    let mut clause = String::new();
    let mut length = 0;
    let mut chars = text.chars().peekable();
    let mut end = |clause: &mut String, stop: Option<char>| {
        if clause.chars().any(char::is_alphanumeric) {
            found.push((std::mem::take(clause), stop));
        } else {
            clause.clear();
            // "(it is)." ends with its last stop, not with the pause of the bracket.
            if let (Some((_, last @ (None | Some(',')))), Some('.' | '?' | '!')) = (found.last_mut(), stop) {
                *last = stop;
            }
        }
    };
    while let Some(c) = chars.next() {
        // A zero byte ends a C string; a line break makes espeak-rs start over.
        let c = if c.is_control() { ' ' } else { c };
        let at_end =
            chars.peek().is_none_or(|next| next.is_whitespace() || matches!(next, '"' | '\'' | ')' | '”' | '»'));
        let stop = match c {
            '.' | '…' if at_end => Some('.'),
            '!' | ',' | ';' | ':' if at_end => Some(c),
            '?' if at_end => Some('?'),
            '。' | '।' | '۔' => Some('.'),
            '？' | '؟' => Some('?'),
            '！' => Some('!'),
            '，' | '、' | '،' | '(' | ')' | '—' | '–' => Some(','),
            '；' | '؛' => Some(';'),
            '：' => Some(':'),
            _ => None,
        };
        clause.push(if matches!(c, '(' | ')') { ' ' } else { c });
        length += 1;
        if stop.is_some() || (length > LONGEST_CLAUSE_CHARS && c.is_whitespace()) || length > 2 * LONGEST_CLAUSE_CHARS {
            end(&mut clause, stop);
            length = 0;
        }
    }
    end(&mut clause, Some('.'));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(phonemes(text, "en-us").expect("espeak-ng's data is in the build folder"), expected, "{text:?}");
    }

    #[test]
    fn odd_text_leaves_the_next_sentence_alone() {
        let good = ("It is on.", "ɪɾ ɪz ˈɔn.");
        check(good.0, good.1);
        for odd in [
            "",
            " ",
            "\u{0}",
            "a\u{0}b",
            "(((",
            "[[a",
            "<speak>",
            "\u{E000}\u{10FFFF}",
            "ლ(ಠ益ಠლ)",
            "灯",
            "Свет",
            "((a) b",
        ] {
            phonemes(odd, "en-us").expect("any text is taken");
            check(good.0, good.1);
        }
        check("Hello, world! Is it on? Yes (it is).", "həlˈoʊ, wˈɜːld! ɪz ɪɾ ˈɔn? jˈɛs, ɪɾ ˈɪz.");
        check("no stop", "nˈoʊ stˈɑːp.");
        check("... ,", "");
        phonemes(&"word, ".repeat(700), "en-us").expect("4,900 characters");
        phonemes(&"x".repeat(4_000), "en-us").expect("a word of 4,000 letters");
        check(good.0, good.1);
    }

    #[test]
    fn an_unknown_language_is_an_error_and_not_the_end() {
        assert!(matches!(phonemes("a", "xx-klingon"), Err(SpeechError::Phonemes { .. })));
        check("It is on.", "ɪɾ ɪz ˈɔn.");
    }

    #[test]
    fn a_data_folder_that_is_none_is_named() {
        let error = open_espeak(Some(Path::new("/nowhere"))).expect_err("there is no such folder");
        assert_eq!(error.to_string(), "espeak-ng: /nowhere: has no folder espeak-ng-data");
    }
}

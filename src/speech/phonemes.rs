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

/// The phonemes of a text, sentence after sentence, in the alphabet of Piper's voices. Empty when the text has none.
///
/// # Errors
/// [`SpeechError::Phonemes`] when espeak-ng finds no data or does not know `language`.
pub fn phonemes(text: &str, language: &str) -> Result<String, SpeechError> {
    // A zero byte ends a C string; a line break makes espeak-rs start over.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let sentences =
        text_to_phonemes(&text, language, None).map_err(|error| SpeechError::Phonemes { reason: error.0 })?;
    Ok(sentences.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(phonemes(text, "en-us").expect("espeak-ng's data is in the build folder"), expected, "{text:?}");
    }

    #[test]
    fn odd_text_leaves_the_next_sentence_alone() {
        let good = ("It is on.", "ɪt ɪz ˈɔn.");
        check(good.0, good.1);
        for odd in ["", " ", "\u{0}", "a\u{0}b", "(((", "[[a", "<speak>", "\u{E000}\u{10FFFF}", "ლ(ಠ益ಠლ)", "灯", "Свет", "((a) b"] {
            phonemes(odd, "en-us").expect("any text is taken");
            check(good.0, good.1);
        }
        phonemes(&"word, ".repeat(700), "en-us").expect("4,900 characters");
        phonemes(&"x".repeat(4_000), "en-us").expect("a word of 4,000 letters");
        check(good.0, good.1);
    }

    #[test]
    fn an_unknown_language_is_an_error_and_not_the_end() {
        assert!(matches!(phonemes("a", "xx-klingon"), Err(SpeechError::Phonemes { .. })));
        check("It is on.", "ɪt ɪz ˈɔn.");
    }

    #[test]
    fn a_data_folder_that_is_none_is_named() {
        let error = open_espeak(Some(Path::new("/nowhere"))).expect_err("there is no such folder");
        assert_eq!(error.to_string(), "espeak-ng: /nowhere: has no folder espeak-ng-data");
    }
}

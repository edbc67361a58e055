//! Cuts text into sentences while it arrives.
//!
//! Pure; runs on whichever thread gathers the reply. Where a sentence ends depends on the text alone, never on how it
//! was cut into pieces: a decision that needs a character which has not arrived yet waits for it. Knows no language but
//! a list of abbreviations; what the sentences sound like is the business of `normalise`.

/// The longest sentence, in characters: a longer one is cut at a comma or a space. Bounds the time to the first sound
/// and the memory of the voice (about 20 s of speech).
pub const LONGEST_SENTENCE_CHARS: usize = 300;

/// A cut inside a long sentence is not made before this many characters, so that no stray word is left alone.
const SHORTEST_CUT_CHARS: usize = 60;

/// Never end a sentence: a name, a number or an explanation follows.
const NEVER_LAST: &[&str] = &[
    "mr", "mrs", "ms", "dr", "prof", "sen", "rep", "gov", "gen", "col", "lt", "capt", "sgt", "rev", "hon", "mt", "ft",
    "e.g", "i.e", "eg", "ie", "vs", "cf", "approx", "ca", "fig", "vol", "z.b", "d.h", "bzw", "p.ej", "sra", "mme",
];

/// May end a sentence: they do when the next word starts with a capital.
const MAYBE_LAST: &[&str] = &[
    "etc", "jr", "sr", "inc", "ltd", "co", "corp", "ave", "blvd", "rd", "dept", "est", "min", "max", "temp", "tel",
    "hr", "hrs", "sec", "mins", "secs", "lb", "lbs", "oz", "a.m", "p.m", "jan", "feb", "mar", "apr", "jun", "jul",
    "aug", "sep", "sept", "oct", "nov", "dec", "mon", "tue", "tues", "wed", "thu", "thur", "thurs", "fri", "sat",
    "sun", "usw", "no", "nr", "st",
];

/// Cuts a growing text into sentences.
#[derive(Debug, Default)]
pub struct Splitter {
    /// Bytes of a character that is not complete yet: at most three.
    partial: Vec<u8>,
    /// What has arrived and belongs to no sentence yet; runs of spaces are one space.
    pending: Vec<char>,
    /// How much of `pending` is already known to hold no end of a sentence.
    scanned: usize,
}

impl Splitter {
    /// An empty splitter.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece of the text, cut at any byte, and returns the sentences that are now certain. Bytes that
    /// are not UTF-8 become U+FFFD, which is never spoken.
    pub fn push(&mut self, piece: impl AsRef<[u8]>) -> Vec<String> {
        self.partial.extend_from_slice(piece.as_ref());
        let complete = self.complete_bytes();
        let bytes: Vec<u8> = self.partial.drain(..complete).collect();
        self.append(&String::from_utf8_lossy(&bytes));
        self.sentences(false)
    }

    /// The text is over: returns what is left, and starts afresh.
    pub fn finish(&mut self) -> Vec<String> {
        let bytes = std::mem::take(&mut self.partial);
        self.append(&String::from_utf8_lossy(&bytes));
        let mut sentences = self.sentences(true);
        let rest = std::mem::take(self);
        sentences.extend(trimmed(&rest.pending));
        sentences
    }

    /// Bytes of `partial` up to the start of a character that may still be completed.
    fn complete_bytes(&self) -> usize {
        let mut at = 0;
        loop {
            match std::str::from_utf8(&self.partial[at..]) {
                Ok(_) => return self.partial.len(),
                Err(error) => match error.error_len() {
                    Some(bad) => at += error.valid_up_to() + bad,
                    None => return at + error.valid_up_to(),
                },
            }
        }
    }

    fn append(&mut self, text: &str) {
        for c in text.chars() {
            let c = if c == '\r' { '\n' } else { c };
            let c = if c.is_whitespace() && c != '\n' { ' ' } else { c };
            match (self.pending.last(), c) {
                (None | Some(' ' | '\n'), ' ') | (None | Some('\n'), '\n') => {}
                (Some(' '), '\n') => {
                    self.pending.pop();
                    if self.pending.last() != Some(&'\n') {
                        self.pending.push('\n');
                    }
                }
                _ => self.pending.push(c),
            }
        }
    }

    /// Takes all sentences off `pending` whose end is certain.
    fn sentences(&mut self, text_is_over: bool) -> Vec<String> {
        let mut sentences = Vec::new();
        while self.scanned < self.pending.len() {
            let end = match end_at(&self.pending, self.scanned, text_is_over) {
                End::Unknown => break,
                End::No if self.scanned + 1 > LONGEST_SENTENCE_CHARS => long_cut(&self.pending),
                End::No => {
                    self.scanned += 1;
                    continue;
                }
                End::Yes => self.scanned + 1,
            };
            let sentence: Vec<char> = self.pending.drain(..end).collect();
            sentences.extend(trimmed(&sentence));
            let blank = self.pending.iter().take_while(|c| c.is_whitespace()).count();
            self.pending.drain(..blank);
            self.scanned = 0;
        }
        sentences
    }
}

/// The sentences of a whole text.
pub fn sentences(text: &str) -> impl Iterator<Item = String> {
    let mut splitter = Splitter::new();
    let mut sentences = splitter.push(text);
    sentences.extend(splitter.finish());
    sentences.into_iter()
}

fn trimmed(sentence: &[char]) -> Option<String> {
    let text: String = sentence.iter().collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_string())
}

/// Whether a sentence ends with a character.
enum End {
    Yes,
    No,
    /// A character that has not arrived decides.
    Unknown,
}

/// Whether the sentence that starts `text` ends with the character at `at`: a line break, a full-width stop, or the
/// space after a stop.
fn end_at(text: &[char], at: usize, text_is_over: bool) -> End {
    let next = text.get(at + 1);
    match text[at] {
        '\n' => End::Yes,
        '。' | '！' | '？' | '．' | '।' | '؟' => match next {
            None if !text_is_over => End::Unknown,
            Some('」' | '』' | '”' | '）') => End::No,
            _ => End::Yes,
        },
        '」' | '』' if matches!(text[..at].last(), Some('。' | '！' | '？')) => End::Yes,
        ' ' => match (stop_before(&text[..at]), next) {
            // A line break may still take the place of this space.
            (_, None) if !text_is_over => End::Unknown,
            (None, _) => End::No,
            (Some(_), None) => End::Yes,
            (Some(stop), Some(&next)) => verdict(&text[..stop], text[stop], next),
        },
        _ => End::No,
    }
}

/// Where the last stop stands when `text` ends in stops and closing marks.
fn stop_before(text: &[char]) -> Option<usize> {
    let closing = |c: &char| matches!(c, '"' | '\'' | '”' | '’' | '»' | ')' | ']' | '}' | '*' | '_' | '`' | '~');
    let at = text.iter().rposition(|c| !closing(c))?;
    matches!(text[at], '.' | '!' | '?' | '…').then_some(at)
}

/// Whether `stop`, after the words `before` and in front of a space and `next`, ends the sentence.
fn verdict(before: &[char], stop: char, next: char) -> End {
    if stop == '!' || stop == '?' {
        return End::Yes;
    }
    if stop == '…' || before.last() == Some(&'.') {
        return if next.is_lowercase() { End::No } else { End::Yes };
    }
    let start = before.iter().rposition(|c| c.is_whitespace()).map_or(0, |at| at + 1);
    let word: String = before[start..].iter().filter(|c| c.is_alphanumeric() || **c == '.').collect();
    let word = word.to_lowercase();
    if word.is_empty() {
        return End::No;
    }
    let first_word = before[..start].iter().all(|c| !c.is_alphanumeric());
    let is_list_number = first_word && word.len() <= 3 && word.chars().all(|c| c.is_ascii_digit());
    let is_initial = before[start..].len() == 1 && before[start].is_uppercase() && before[start] != 'I';
    let is_sum_up = next.is_uppercase() || !next.is_alphanumeric();
    let ends = if is_list_number || is_initial || NEVER_LAST.contains(&word.as_str()) {
        false
    } else if word == "st" {
        // "St. Pancras" or "Baker St. The".
        before[..start].iter().rev().nth(1).is_some_and(|c| c.is_alphanumeric())
            && last_word_is_name(&before[..start])
            && is_sum_up
    } else if MAYBE_LAST.contains(&word.as_str()) || word.contains('.') && word.chars().any(char::is_alphabetic) {
        is_sum_up
    } else {
        true
    };
    if ends { End::Yes } else { End::No }
}

fn last_word_is_name(before: &[char]) -> bool {
    let text: String = before.iter().collect();
    text.split_whitespace().next_back().is_some_and(|word| word.starts_with(char::is_uppercase))
}

/// Where to cut a sentence that is too long: after the last comma or colon, else after the last space, else hard.
fn long_cut(text: &[char]) -> usize {
    let window = &text[SHORTEST_CUT_CHARS..LONGEST_SENTENCE_CHARS];
    let pause = window.windows(2).rposition(|two| matches!(two[0], ',' | ';' | ':' | '–' | '—') && two[1] == ' ');
    let space = || window.iter().rposition(|c| *c == ' ');
    match pause.or_else(space) {
        Some(at) => SHORTEST_CUT_CHARS + at + 1,
        None => LONGEST_SENTENCE_CHARS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Text, and its sentences separated by `|`.
    const CASES: &[(&str, &str)] = &[
        ("", ""),
        ("   \n\r\n ", ""),
        ("Done", "Done"),
        ("Done.", "Done."),
        ("The light is on. The fan is off.", "The light is on.|The fan is off."),
        (
            "It is 21.5 degrees. It costs $3.50. Pi is 3.14159, or so.",
            "It is 21.5 degrees.|It costs $3.50.|Pi is 3.14159, or so.",
        ),
        ("it is on. the fan is off", "it is on.|the fan is off"),
        (
            "Mr. Smith met Dr. Who, e.g. at 7 p.m. on Nov. 25. Fine.",
            "Mr. Smith met Dr. Who, e.g. at 7 p.m. on Nov. 25.|Fine.",
        ),
        ("Come at 7 p.m. The door is open.", "Come at 7 p.m.|The door is open."),
        (
            "Milk, eggs, etc. are here. Bread, etc. Nothing else.",
            "Milk, eggs, etc. are here.|Bread, etc.|Nothing else.",
        ),
        ("He lives at 5 Baker St. The door is red.", "He lives at 5 Baker St.|The door is red."),
        ("He is in St. Pancras. Now.", "He is in St. Pancras.|Now."),
        ("Really? Yes! \"Go.\" She went.", "Really?|Yes!|\"Go.\"|She went."),
        ("Wait... what? Well... Good.", "Wait... what?|Well...|Good."),
        ("Set it to 7. Then wait.", "Set it to 7.|Then wait."),
        ("1. Milk\n2. Eggs\n- Bread", "1. Milk|2. Eggs|- Bread"),
        ("**Bold.** Next. _It._ Last", "**Bold.**|Next.|_It._|Last"),
        ("See https://www.example.com/a.b?c=d. Then go.", "See https://www.example.com/a.b?c=d.|Then go."),
        ("The U.S. team won in the U.S. They left.", "The U.S. team won in the U.S.|They left."),
        ("George W. Bush spoke. It was I. Then he left.", "George W. Bush spoke.|It was I.|Then he left."),
        (
            "灯が点きました。ファンは止まっています。「はい。」次",
            "灯が点きました。|ファンは止まっています。|「はい。」|次",
        ),
        ("Es ist 12,5 Grad. Das Licht brennt, z.B. im Flur.", "Es ist 12,5 Grad.|Das Licht brennt, z.B. im Flur."),
        ("Tom\u{200d} 👩‍👩‍👧 is home. 25 °C…  Ok.", "Tom\u{200d} 👩‍👩‍👧 is home.|25 °C…|Ok."),
        ("At 18:05. Or 7:00 a.m.? Yes.", "At 18:05.|Or 7:00 a.m.?|Yes."),
        (". . .", ". . ."),
    ];

    fn in_pieces(bytes: &[u8], cuts: &[usize]) -> Vec<String> {
        let mut splitter = Splitter::new();
        let mut found = Vec::new();
        let mut start = 0;
        for &cut in cuts {
            found.extend(splitter.push(&bytes[start..cut]));
            start = cut;
        }
        found.extend(splitter.push(&bytes[start..]));
        found.extend(splitter.finish());
        found
    }

    fn check(text: &str, expected: &str) {
        let expected: Vec<&str> = expected.split('|').filter(|sentence| !sentence.is_empty()).collect();
        assert_eq!(sentences(text).collect::<Vec<_>>(), expected, "{text}");
        let bytes = text.as_bytes();
        for cut in 0..=bytes.len() {
            assert_eq!(in_pieces(bytes, &[cut]), expected, "{text} cut at {cut}");
        }
        let every: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(in_pieces(bytes, &every), expected, "{text} byte by byte");
    }

    #[test]
    fn sentences_end_where_they_should_however_the_text_is_cut() {
        for (text, expected) in CASES {
            check(text, expected);
        }
    }

    #[test]
    fn a_sentence_comes_as_soon_as_the_next_one_starts() {
        let mut splitter = Splitter::new();
        assert!(splitter.push("The light is on.").is_empty());
        assert!(splitter.push(" ").is_empty());
        assert_eq!(splitter.push("T"), ["The light is on."]);
    }

    #[test]
    fn long_text_is_cut_at_a_bound() {
        let text = "four thousand characters, ".repeat(160);
        let found: Vec<String> = sentences(&text).collect();
        assert!(found.iter().all(|s| s.chars().count() <= LONGEST_SENTENCE_CHARS && s.ends_with(',')), "{found:?}");
        assert_eq!(found.join(" "), text.trim());
        let solid: String = "x".repeat(4_000);
        assert_eq!(sentences(&solid).collect::<String>(), solid);
        assert!(sentences(&solid).all(|s| s.len() <= LONGEST_SENTENCE_CHARS));
    }

    #[test]
    fn broken_utf8_is_replaced_and_the_rest_kept() {
        let bytes = b"One \xff\xfe two. Three \xe2\x82";
        let expected = ["One \u{fffd}\u{fffd} two.", "Three \u{fffd}"];
        for cut in 0..=bytes.len() {
            assert_eq!(in_pieces(bytes, &[cut]), expected, "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn pieces_never_change_the_sentences(text in "([A-Za-z .!?…\n'\"*0-9。é]|Mr\\. |e\\.g\\. |👍){0,80}", cuts in prop::collection::vec(0usize..400, 0..12)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= bytes.len()).collect();
            cuts.sort_unstable();
            prop_assert_eq!(in_pieces(bytes, &cuts), sentences(&text).collect::<Vec<_>>());
        }

        #[test]
        fn nothing_but_white_space_is_lost(text in "\\PC{0,400}") {
            let squeezed = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(squeezed(&sentences(&text).collect::<String>()), squeezed(&text));
        }
    }
}

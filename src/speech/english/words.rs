//! Words, abbreviations, addresses, Roman numerals: what begins with a letter.
//!
//! Pure; runs on whichever thread speaks.

use super::Reader;
use super::figures::{is_digit, is_word, text_of};
use crate::speech::measures::{abbreviation, day_named, is_domain_or_file, month_named, unit_at};
use crate::speech::numbers::{cardinal, ordinal, roman};

/// A Roman numeral after one of these counts, after other names it ranks ("Henry the eighth").
const COUNTED: &[&str] = &[
    "war", "part", "chapter", "act", "volume", "phase", "stage", "type", "level", "class", "season", "bowl", "mark",
    "apollo", "rocky",
];

/// Before `Sun.` at the end of a sentence these make it a day.
const DAY_CUES: &[&str] = &["on", "by", "until", "till", "to", "through", "every", "next", "last", "this", "since"];

impl Reader<'_> {
    /// A word, an abbreviation, an address.
    pub(super) fn word(&mut self) {
        let rest = self.rest();
        let inner = |at: usize| matches!(rest[at], '.' | '@' | '\'' | '-' | '+') && is_word(rest.get(at + 1)) && at > 0;
        let mut length = 0;
        while length < rest.len() && (rest[length].is_alphanumeric() || is_mark(rest[length]) || inner(length)) {
            length += 1;
        }
        if let Some(at) = text_of(&rest[..length]).find('@') {
            let (name, host) = (text_of(&rest[..at.min(length)]), text_of(&rest[(at + 1).min(length)..length]));
            self.at += length;
            self.say(&format!("{} at {}", name.replace('.', " dot "), host.replace('.', " dot ")));
            return;
        }
        // A hyphen joins words that are looked at one by one.
        let length = rest[..length].iter().position(|c| matches!(c, '-' | '+')).unwrap_or(length);
        let word = text_of(&rest[..length]);
        let dotted = rest.get(length) == Some(&'.');
        if let Some((unit, unit_length)) = unit_at(rest, false).filter(|(_, l)| *l > length && rest[length] == '/') {
            self.at += unit_length;
            self.say(unit.many);
            return;
        }
        if let Some(words) = self.known_word(&word, dotted, length) {
            let at_end = self.at + length + usize::from(dotted) >= self.text.len();
            self.at += length + usize::from(dotted);
            self.out.push_str(&words);
            if dotted && at_end {
                self.out.push('.');
            }
            return;
        }
        self.at += length;
        if let Some((head, ending)) = word.rsplit_once('.') {
            let is_name = is_domain_or_file(&ending.to_lowercase());
            let joint = if is_name { " dot " } else { ". " };
            self.out.push_str(&format!("{}{joint}{ending}", head.replace('.', joint)));
        } else {
            self.out.push_str(&word);
        }
    }

    /// A day before `after`, with the dot of a sentence that ends there; none if the sun is meant rather than Sunday.
    fn day(&self, (day, is_word_too): (&str, bool), after: &[char]) -> Option<String> {
        let next: String = after.iter().skip(1).take_while(|c| c.is_alphanumeric()).collect();
        let goes_on = match after {
            [',', ..] => true,
            [' ', c, ..] => c.is_ascii_digit() || c.is_lowercase() || month_named(&next).is_some(),
            _ => false,
        };
        let cue = self.last_word();
        if is_word_too && (cue == "the" || !(goes_on || DAY_CUES.contains(&cue.as_str()))) {
            return None;
        }
        Some(if goes_on { day.to_owned() } else { format!("{day}.") })
    }

    /// The words of an abbreviation, a month or a Roman numeral, when `word` is one; its dot goes with it.
    fn known_word(&self, word: &str, dotted: bool, length: usize) -> Option<String> {
        let small = word.to_lowercase();
        let after = &self.rest()[(length + usize::from(dotted)).min(self.rest().len())..];
        let next_digit = after.first() == Some(&' ') && is_digit(after.get(1));
        let next_capital = after.first() == Some(&' ') && after.get(1).is_some_and(|c| c.is_uppercase());
        let after_name = self
            .out
            .split_whitespace()
            .next_back()
            .is_some_and(|w| w.starts_with(char::is_uppercase) && w.ends_with(char::is_alphanumeric));
        match small.as_str() {
            "st" if dotted || next_capital => {
                return Some(if next_capital && !after_name { "Saint" } else { "street" }.to_string());
            }
            "dr" if dotted && after_name && !next_capital => return Some("drive".to_string()),
            "no" if dotted && next_digit => return Some("number".to_string()),
            "us" if word == "US" && self.rest().get(length) == Some(&'$') => return Some(String::new()),
            _ => {}
        }
        if let Some(full) = month_named(word).filter(|full| *full != word && (next_digit || dotted)) {
            return next_digit.then(|| full.to_string());
        }
        if let Some(day) = day_named(word).filter(|_| dotted).and_then(|day| self.day(day, after)) {
            return Some(day);
        }
        let is_title =
            !matches!(small.as_str(), "mr" | "mrs" | "ms" | "dr" | "jr" | "sr") || word.starts_with(char::is_uppercase);
        if let Some(words) = abbreviation(&small, dotted).filter(|_| is_title) {
            return Some(words.to_string());
        }
        let letters: Vec<&str> = word.split('.').collect();
        if letters.len() > 1 && letters.iter().all(|letter| letter.chars().count() == 1) {
            return Some(letters.join(" ").to_uppercase());
        }
        if !dotted && length >= 2 && after_name {
            let value = roman(word)?;
            let counted = COUNTED.contains(&self.last_word().as_str());
            return Some(if counted { cardinal(value) } else { format!("the {}", ordinal(value)) });
        }
        None
    }
}

/// Combining marks belong to the letter before them.
fn is_mark(c: char) -> bool {
    ('\u{300}'..='\u{36F}').contains(&c)
}

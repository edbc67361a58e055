//! Numbers, dates, times, money, units and abbreviations of English text as the words a person would say.
//!
//! Pure; runs on whichever thread speaks. Expects text without markup (see `markup`); never fails: what it does not
//! know stays as it is, or is dropped when no voice could say it.

mod dates;
mod figures;
mod words;

use figures::{Number, is_digit, is_word, number_at, slashed, vulgar};

use super::measures::{currency, currency_code, half_day, month_named, unit_at};
use super::numbers::{cardinal, digits, fraction, ordinal, year};

/// Before a number of four digits these make it a year.
const YEAR_CUES: &[&str] = &[
    "in", "since", "from", "until", "by", "before", "after", "year", "early", "late", "around", "circa", "mid",
    "during", "of", "between", "summer", "winter", "spring", "fall", "autumn",
];

/// Before a number these have it read digit by digit.
const DIGIT_CUES: &[&str] = &["code", "pin", "zip", "extension", "passcode", "password", "flight"];

/// After one of these, or a genitive, a number and its unit describe what follows: "a five kilometer run".
const DETERMINERS: &[&str] =
    &["a", "an", "the", "this", "that", "my", "your", "his", "her", "our", "their", "another", "each", "every", "one"];

/// With an `'s` these are no genitive: "it's five kilometers away".
const IS: &[&str] = &["it", "that", "this", "there", "here", "he", "she", "what", "where", "who", "how"];

/// What a number and its unit describe without a determiner too: "sixty watt bulbs".
const MEASURED: &[&str] = &[
    "bulb",
    "bulbs",
    "lamp",
    "lamps",
    "run",
    "walk",
    "race",
    "ride",
    "drive",
    "trip",
    "screen",
    "bottle",
    "bottles",
    "battery",
    "batteries",
    "timer",
    "timers",
    "cable",
    "cables",
    "charger",
];

/// What follows a measure without being described by it: "the five kilometers are over".
const NO_NOUNS: &[&str] = &[
    "of", "in", "at", "on", "to", "from", "by", "and", "or", "but", "is", "are", "was", "were", "has", "have", "had",
    "will", "can", "with", "without", "for", "per", "as", "than", "that", "which", "we", "you", "i", "he", "she", "it",
    "they", "more", "less", "away", "now", "today", "ago", "long", "later", "left", "each", "above", "below", "before",
    "after", "until", "if", "when",
];

/// The words of an English text. `british` decides whether 3/4/2026 is in April or in March.
pub fn words(text: &str, british: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut reader =
        Reader { text: &chars, at: 0, out: String::with_capacity(text.len() * 2), british, date_end: None };
    while reader.at < chars.len() {
        reader.step();
    }
    tidy(&reader.out)
}

struct Reader<'a> {
    text: &'a [char],
    at: usize,
    out: String,
    british: bool,
    /// Where the last day and month ended: a year may follow.
    date_end: Option<usize>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [char] {
        &self.text[self.at..]
    }

    fn before(&self) -> Option<&char> {
        self.at.checked_sub(1).map(|at| &self.text[at])
    }

    /// Adds words, set off from what is before and after.
    fn say(&mut self, words: &str) {
        self.out.push(' ');
        self.out.push_str(words);
        self.out.push(' ');
    }

    /// The last word said, in small letters, and empty after a stop.
    fn last_word(&self) -> String {
        let said = self.out.trim_end();
        let start = said
            .rfind(|c: char| !c.is_alphanumeric())
            .map_or(0, |at| at + said[at..].chars().next().map_or(1, char::len_utf8));
        said[start..].to_lowercase()
    }

    fn step(&mut self) {
        let c = self.text[self.at];
        let starts = !is_word(self.before());
        let number_next = |reader: &Self, skip: usize| is_digit(reader.rest().get(skip));
        let is_sign = matches!(c, '-' | '+') && starts && self.before() != Some(&')');
        if is_sign
            && (number_next(self, 1)
                || (self.rest().get(1).is_some_and(|c| currency(*c).is_some()) && number_next(self, 2)))
        {
            if c == '+' && self.phone() {
                return;
            }
            self.say(if c == '-' { "minus" } else { "plus" });
            self.at += 1;
        } else if c.is_ascii_digit() || (c == '.' && starts && number_next(self, 1)) {
            if !(starts && (self.date() || self.time() || self.phone())) {
                self.quantity();
            }
        } else if currency(c).is_some()
            && (number_next(self, 1) || (self.rest().get(1) == Some(&' ') && number_next(self, 2)))
        {
            self.money();
        } else if c == '(' && self.phone() {
        } else if c.is_alphabetic() {
            self.word();
        } else {
            self.symbol(c);
        }
    }

    /// A sum with its sign in front.
    fn money(&mut self) {
        let Some(currency) = currency(self.text[self.at]) else { return };
        self.at += 1 + usize::from(self.rest().get(1) == Some(&' '));
        let Some(number) = number_at(self.rest()) else { return };
        self.at += number.length;
        // "$5-10": the sign counts for both.
        let rest = self.rest();
        let second = rest.first().is_some_and(|c| matches!(c, '-' | '–')).then(|| number_at(&rest[1..])).flatten();
        if let Some(second) = second {
            self.at += 1 + second.length;
            self.say(&format!("{} to", number.words()));
            let scale = self.scale();
            self.say(&currency.words(&second.whole, &second.fraction, scale));
        } else {
            let scale = self.scale();
            self.say(&currency.words(&number.whole, &number.fraction, scale));
            self.range_mark();
        }
        self.per();
    }

    /// `million`, `bn`, `k` after a sum.
    fn scale(&mut self) -> Option<&'static str> {
        let rest = self.rest();
        let gap = usize::from(rest.first() == Some(&' '));
        let word: String = rest[gap..].iter().take_while(|c| c.is_alphabetic()).collect();
        let scale = match (word.as_str(), gap) {
            ("thousand", _) | ("k" | "K", 0) => "thousand",
            ("million", _) | ("m" | "M", 0) => "million",
            ("billion" | "bn", _) | ("B" | "b", 0) => "billion",
            ("trillion", _) => "trillion",
            _ => return None,
        };
        self.at += gap + word.len();
        Some(scale)
    }

    /// A number that is no date, time or telephone number, with what belongs to it: a range, a unit, a sign.
    fn quantity(&mut self) {
        let Some(number) = number_at(self.rest()) else {
            self.at += 1;
            return;
        };
        let last_word = self.last_word();
        let follows_date =
            self.date_end.is_some_and(|end| self.text[end..self.at].iter().all(|c| matches!(c, ' ' | ',')));
        let touches_word = is_word(self.before());
        self.at += number.length;
        if touches_word && number.whole.len() <= 4 {
            self.out.push_str(&format!(" {}", number.words()));
            return;
        }
        if self.ordinal_or_decade(&number) || self.fraction(&number) || self.range(&number) {
            return;
        }
        let is_year = number.is_year()
            && (follows_date || YEAR_CUES.contains(&last_word.as_str()) || month_named(&capital(&last_word)).is_some());
        let is_state = number.length == 5 && self.follows_capitals(number.length);
        if is_year && !self.has_unit() {
            self.say(&year(number.value().unwrap_or_default()));
        } else if !number.dotted && (is_state || (DIGIT_CUES.contains(&last_word.as_str()) && number.value().is_some()))
        {
            self.say(&digits(&number.whole));
        } else if let (Some(_), Some(day)) =
            (month_named(&capital(&last_word)), number.value().filter(|d| (1..=31).contains(d)))
        {
            self.say(&ordinal(day));
            self.date_end = Some(self.at);
        } else {
            self.measured(&number.words(), number.is_one(), Some(&number));
        }
    }

    /// `CA 90210`: two capitals before the number that has just been passed.
    fn follows_capitals(&self, length: usize) -> bool {
        let before = &self.text[..self.at - length];
        matches!(before, [.., a, b, ' '] if a.is_uppercase() && b.is_uppercase())
    }

    fn has_unit(&self) -> bool {
        let rest = self.rest();
        let gap = usize::from(rest.first() == Some(&' '));
        rest.get(gap).is_some_and(|c| matches!(c, '%' | '°' | 'º')) || unit_at(&rest[gap..], gap == 0).is_some()
    }

    /// `21st`, `1990s`.
    fn ordinal_or_decade(&mut self, number: &Number) -> bool {
        let suffix: String = self.rest().iter().take_while(|c| c.is_alphanumeric()).collect();
        let Some(value) = number.value() else { return false };
        let words = match suffix.as_str() {
            "st" | "nd" | "rd" | "th" => ordinal(value),
            "s" if number.is_year() && value.is_multiple_of(10) => {
                let words = year(value);
                words.strip_suffix('y').map_or_else(|| format!("{words}s"), |stem| format!("{stem}ies"))
            }
            _ => return false,
        };
        self.at += suffix.len();
        self.say(&words);
        true
    }

    /// `3/4`, `2 1/2`, `2½`.
    fn fraction(&mut self, number: &Number) -> bool {
        let Some(value) = number.value() else { return false };
        let rest = self.rest();
        if let Some((top, bottom, length)) = slashed(value, rest) {
            self.at += length;
            self.measured(&fraction(top, bottom), true, None);
            return true;
        }
        let gap = usize::from(rest.first() == Some(&' '));
        let part = rest.get(gap).copied().and_then(vulgar).map(|(top, bottom)| (top, bottom, gap + 1)).or_else(|| {
            let top = number_at(&rest[gap..]).filter(|_| gap == 1)?;
            let (top_value, bottom, length) = slashed(top.value()?, &rest[gap + top.length..])?;
            Some((top_value, bottom, gap + top.length + length))
        });
        let Some((top, bottom, length)) = part else {
            // "24/7", "9/11"
            if rest.first() == Some(&'/') && is_digit(rest.get(1)) {
                self.at += 1;
                self.say(&number.words());
                return true;
            }
            return false;
        };
        self.at += length;
        let part = if top == 1 { fraction(top, bottom).replacen("one ", "a ", 1) } else { fraction(top, bottom) };
        self.measured(&format!("{} and {part}", cardinal(value)), false, None);
        true
    }

    /// `5-10`, `20–22 °C`, `2020-2024`; a subtraction has spaces around its minus.
    fn range(&mut self, number: &Number) -> bool {
        let rest = self.rest();
        let spaced = rest.first() == Some(&' ') && rest.get(1) == Some(&'–') && rest.get(2) == Some(&' ');
        let dash = if spaced { 3 } else { 1 };
        if !spaced && !rest.first().is_some_and(|c| matches!(c, '-' | '–')) || number.dotted {
            return false;
        }
        let Some(second) = number_at(&rest[dash.min(rest.len())..]) else { return false };
        let after = rest.get(dash + second.length);
        if (after == Some(&'-') && is_digit(rest.get(dash + second.length + 1))) || after == Some(&':') {
            // "1-2-3" is no range; "9-10:30" is read by `time` after the dash.
            self.at += 1;
            self.say(&number.words());
            self.say(if after == Some(&':') { "to" } else { "," });
            return true;
        }
        self.at += dash + second.length;
        let years = number.is_year() && second.is_year() && !self.has_unit();
        let spoken = |n: &Number| if years { year(n.value().unwrap_or_default()) } else { n.words() };
        let words = format!("{} to {}", spoken(number), spoken(&second));
        self.measured(&words, false, Some(&second));
        true
    }

    /// Says a number with the unit that follows it.
    fn measured(&mut self, words: &str, is_one: bool, number: Option<&Number>) {
        let determined = self.is_determined();
        self.say(words);
        let rest = self.rest();
        let gap = usize::from(rest.first() == Some(&' '));
        let after = &rest[gap.min(rest.len())..];
        let plural = |one: &str, many: &str| if is_one { one.to_string() } else { many.to_string() };
        let first = after.first().copied().unwrap_or(' ');
        let ends = |at: usize| !is_word(after.get(at));
        let letter = after.get(1).filter(|c| **c == ' ').map_or(1, |_| 2);
        let (said, length) = match first {
            '%' => ("percent".to_string(), 1),
            '‰' => ("per mille".to_string(), 1),
            '°' | 'º' | '˚' => {
                let degrees = plural("degree", "degrees");
                match after.get(letter) {
                    Some('C' | 'c') if ends(letter + 1) => (format!("{degrees} Celsius"), letter + 1),
                    Some('F' | 'f') if ends(letter + 1) => (format!("{degrees} Fahrenheit"), letter + 1),
                    _ => (degrees, 1),
                }
            }
            'C' | 'F' if gap == 0 && ends(1) => {
                let scale = if first == 'C' { "Celsius" } else { "Fahrenheit" };
                (format!("{} {scale}", plural("degree", "degrees")), 1)
            }
            'K' if ends(1) && number.and_then(Number::value).is_some_and(|k| k >= 1_000) => ("kelvin".to_string(), 1),
            'k' | 'K' if gap == 0 && ends(1) => ("thousand".to_string(), 1),
            'x' | '×' if ends(1) || is_digit(after.get(1)) => ("times".to_string(), 1),
            '¢' => (plural("cent", "cents"), 1),
            _ => match (half_day(after), currency(first).map(|c| (c, 1)).or_else(|| currency_code(after)), number) {
                (Some((half, length)), _, _) => return self.half_day(half, gap + length),
                (_, Some((currency, length)), Some(number)) if !number.dotted && ends(length) => {
                    let keep = self.out.len() - words.len() - 1;
                    self.out.truncate(keep);
                    let first_of_range = words.rfind(" to ").map_or("", |at| &words[..at + 4]).to_string();
                    (first_of_range + &currency.words(&number.whole, &number.fraction, None), length)
                }
                _ => match unit_at(after, gap == 0).or_else(|| hyphened(after)) {
                    Some((unit, length)) => {
                        let describes = after.first() == Some(&'-') || describes(&after[length..], determined);
                        (if describes { unit.one.to_string() } else { plural(unit.one, unit.many) }, length)
                    }
                    None => return self.per(),
                },
            },
        };
        self.at += gap + length;
        self.say(&said);
        self.per();
    }

    /// Is what was said last a determiner or a genitive?
    fn is_determined(&self) -> bool {
        let last = self.out.split_whitespace().next_back().unwrap_or_default().to_lowercase();
        let owner = last.strip_suffix("'s").or_else(|| last.strip_suffix("’s"));
        DETERMINERS.contains(&last.as_str()) || owner.is_some_and(|owner| !IS.contains(&owner))
    }

    /// `/kWh`, `/month` after a number and its unit.
    fn per(&mut self) {
        let rest = self.rest();
        if rest.first() != Some(&'/') || !rest.get(1).is_some_and(|c| c.is_alphabetic()) {
            return;
        }
        let unit = unit_at(&rest[1..], true);
        self.at += 1 + unit.as_ref().map_or(0, |(_, length)| *length);
        self.say("per");
        if let Some((unit, _)) = unit {
            self.say(unit.one);
        }
    }

    fn symbol(&mut self, c: char) {
        let (before, after) = (self.before().copied(), self.rest().get(1).copied());
        let between_words = before.is_some_and(char::is_alphanumeric) && after.is_some_and(char::is_alphanumeric);
        let spaced = before.is_none_or(char::is_whitespace) && after.is_none_or(char::is_whitespace);
        let sums = || {
            let number_before =
                self.text[..self.at].iter().rev().find(|c| **c != ' ').is_some_and(|c| c.is_ascii_digit());
            number_before && is_digit(self.rest()[1..].iter().find(|c| **c != ' '))
        };
        let words = match c {
            '&' => " and ",
            '@' => " at ",
            '%' => " percent ",
            '°' | 'º' | '˚' => " degrees ",
            '+' => " plus ",
            '=' => " equals ",
            '*' | '×' => " times ",
            '÷' => " divided by ",
            '<' => " less than ",
            '>' => " greater than ",
            '≤' => " at most ",
            '≥' => " at least ",
            '≈' | '~' => " about ",
            '±' => " plus or minus ",
            '→' => " to ",
            '√' => " square root of ",
            '∞' => " infinity ",
            'π' => " pi ",
            '²' => " squared ",
            '³' => " cubed ",
            '€' => " euros ",
            '£' => " pounds ",
            '§' => " section ",
            '#' if after.is_some_and(|c| c.is_ascii_digit()) => " number ",
            '^' if between_words => " to the power of ",
            '-' if spaced && sums() => " minus ",
            '–' | '—' | '•' | '·' => ", ",
            '-' if spaced => ", ",
            '-' if between_words => "-",
            '/' if between_words && !matches!(self.last_word().as_str(), "and" | "or") => " or ",
            '…' => ". ",
            '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '(' | ')' => {
                self.out.push(c);
                ""
            }
            c if vulgar(c).is_some() => {
                let (top, bottom) = vulgar(c).unwrap_or((1, 2));
                self.at += 1;
                self.measured(&fraction(top, bottom), true, None);
                return;
            }
            c if c.is_ascii() || c.is_whitespace() || currency(c).is_some() => " ",
            c => {
                self.out.push(c);
                ""
            }
        };
        self.out.push_str(words);
        self.at += 1;
    }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Does a measure before `rest` describe what stands there: "a five kilometer run"?
fn describes(rest: &[char], determined: bool) -> bool {
    let next: String = rest.iter().skip(1).take_while(|c| c.is_alphanumeric()).collect();
    let is_noun = next.starts_with(char::is_lowercase) && !NO_NOUNS.contains(&next.as_str());
    rest.first() == Some(&' ') && (MEASURED.contains(&next.as_str()) || (determined && is_noun))
}

/// `-km` after a number: "a 5-km run".
fn hyphened(after: &[char]) -> Option<(&'static super::measures::Unit, usize)> {
    let (unit, length) = unit_at(after.strip_prefix(&['-'])?, true)?;
    Some((unit, length + 1))
}

/// One space between words, none before a stop, no stop twice.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let stop = matches!(c, '.' | ',' | ';' | ':' | '!' | '?');
        if c.is_whitespace() {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
        } else if stop {
            let kept = out.trim_end().len();
            out.truncate(kept);
            match out.chars().next_back() {
                None | Some('(') => {}
                Some(',' | ';' | ':') => {
                    out.pop();
                    out.push(c);
                }
                Some('.' | '!' | '?') => {}
                _ => out.push(c),
            }
        } else {
            if out.ends_with([',', ';']) {
                out.push(' ');
            }
            if c == ')' && out.ends_with(' ') {
                out.pop();
            }
            out.push(c);
        }
    }
    out.trim().to_string()
}

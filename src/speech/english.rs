//! Numbers, dates, times, money, units and abbreviations of English text as the words a person would say.
//!
//! Pure; runs on whichever thread speaks. Expects text without markup (see `markup`); never fails: what it does not
//! know stays as it is, or is dropped when no voice could say it.

mod dates;
mod figures;

use figures::{Number, is_digit, is_word, number_at, slashed, text_of, vulgar};

use super::measures::{abbreviation, currency, currency_code, half_day, is_domain_or_file, month_named, unit_at};
use super::numbers::{cardinal, digits, fraction, ordinal, roman, year};

/// Before a number of four digits these make it a year.
const YEAR_CUES: &[&str] = &[
    "in", "since", "from", "until", "by", "before", "after", "year", "early", "late", "around", "circa", "mid",
    "during", "of", "between", "summer", "winter", "spring", "fall", "autumn",
];

/// Before a number these have it read digit by digit.
const DIGIT_CUES: &[&str] = &["code", "pin", "zip", "extension", "passcode", "password", "flight"];

/// A Roman numeral after one of these counts, after other names it ranks ("Henry the eighth").
const COUNTED: &[&str] = &[
    "war", "part", "chapter", "act", "volume", "phase", "stage", "type", "level", "class", "season", "bowl", "mark",
    "apollo", "rocky",
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
                    Some((unit, length)) => (plural(unit.one, unit.many), length),
                    None => return self.per(),
                },
            },
        };
        self.at += gap + length;
        self.say(&said);
        self.per();
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

    /// A word, an abbreviation, an address.
    fn word(&mut self) {
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

/// Combining marks belong to the letter before them.
fn is_mark(c: char) -> bool {
    ('\u{300}'..='\u{36F}').contains(&c)
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
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

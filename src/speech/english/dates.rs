//! Dates, times of day and telephone numbers: what is made of several numbers.
//!
//! Pure; runs on whichever thread speaks.

use super::Reader;
use super::figures::{is_digit, is_word, number_at, run_of_digits, text_of};
use crate::speech::measures::{clock, currency, half_day, month, month_named};
use crate::speech::numbers::{cardinal, digits, ordinal, year};

impl Reader<'_> {
    /// `2026-11-25`, `25.11.2026`, `11/25/2026`, `25 Nov`, and `Nov 25` whose month has been said already.
    pub(super) fn date(&mut self) -> bool {
        let Some((day, month_number, year_number, length)) = self.numeric_date() else {
            return self.day_and_month();
        };
        let Some(name) = month(month_number).filter(|_| (1..=31).contains(&day)) else {
            return false;
        };
        self.at += length;
        self.say(&format!("{name} {}, {}", ordinal(day), year(year_number)));
        if self.rest().first() == Some(&'T') && is_digit(self.rest().get(1)) {
            self.at += 1;
            self.say("at");
            self.time();
        }
        true
    }

    /// Day, month, year and length of a date in numbers.
    fn numeric_date(&self) -> Option<(u64, u64, u64, usize)> {
        let rest = self.rest();
        let mut parts: Vec<(u64, usize)> = Vec::new();
        let mut length = 0;
        let mut separator = None;
        while parts.len() < 3 {
            let digits = run_of_digits(&rest[length..]);
            if !matches!(digits, 1 | 2 | 4) {
                return None;
            }
            parts.push((text_of(&rest[length..length + digits]).parse().ok()?, digits));
            length += digits;
            if parts.len() < 3 {
                let next = *rest.get(length).filter(|c| matches!(c, '-' | '.' | '/'))?;
                if *separator.get_or_insert(next) != next {
                    return None;
                }
                length += 1;
            }
        }
        let more = rest.get(length).is_some_and(|c| Some(*c) == separator || c.is_alphabetic() && *c != 'T');
        if is_digit(rest.get(length)) || (more && is_word(rest.get(length + 1))) {
            return None;
        }
        let [(a, a_digits), (b, b_digits), (c, c_digits)] = parts[..] else { return None };
        match (a_digits, b_digits, c_digits) {
            (4, 1 | 2, 1 | 2) => Some((c, b, a, length)),
            (1 | 2, 1 | 2, 4) => {
                let month_first = separator == Some('/') && (b > 12 || (a <= 12 && !self.british));
                Some(if month_first { (b, a, c, length) } else { (a, b, c, length) })
            }
            _ => None,
        }
    }

    /// `25 Nov` and `25 November`.
    fn day_and_month(&mut self) -> bool {
        let rest = self.rest();
        let length = run_of_digits(rest);
        let Some(day) = number_at(rest).filter(|n| n.length == length).and_then(|n| n.value()) else { return false };
        if !(1..=31).contains(&day) || rest.get(length) != Some(&' ') {
            return false;
        }
        let name: String = rest[length + 1..].iter().take_while(|c| c.is_alphabetic()).collect();
        let Some(full) = month_named(&name) else { return false };
        let article = if self.last_word() == "the" { "" } else { "the " };
        self.at += length + 1 + name.chars().count();
        if name != full && self.rest().first() == Some(&'.') && self.rest().len() > 1 {
            self.at += 1;
        }
        self.date_end = Some(self.at);
        self.say(&format!("{article}{} of {full}", ordinal(day)));
        true
    }

    /// `18:05`, `7:00 am`, `18:05:09`.
    pub(super) fn time(&mut self) -> bool {
        let rest = self.rest();
        let hours = run_of_digits(rest);
        let colon = |at: usize| rest.get(at) == Some(&':') && run_of_digits(&rest[(at + 1).min(rest.len())..]) == 2;
        if !(1..=2).contains(&hours) || !colon(hours) {
            return false;
        }
        let field = |at: usize| text_of(&rest[at..at + 2]).parse::<u64>().unwrap_or(u64::MAX);
        let hour = text_of(&rest[..hours]).parse::<u64>().unwrap_or(u64::MAX);
        let (minute, mut length) = (field(hours + 1), hours + 3);
        if hour > 24 || minute > 59 {
            return false;
        }
        let second = colon(length).then(|| field(length + 1)).filter(|second| *second > 0);
        if colon(length) {
            length += 3;
        }
        let gap = usize::from(rest.get(length) == Some(&' '));
        let half = half_day(&rest[(length + gap).min(rest.len())..]);
        let mut words = clock(hour, minute, half.is_some() || second.is_some());
        if let Some(second) = second {
            words.push_str(&format!(" and {} second{}", cardinal(second), if second == 1 { "" } else { "s" }));
        }
        self.at += length;
        self.say(&words);
        if let Some((half, half_length)) = half {
            self.half_day(half, gap + half_length);
        }
        self.range_mark();
        true
    }

    pub(super) fn half_day(&mut self, words: &str, length: usize) {
        self.at += length;
        self.say(words);
        if self.at == self.text.len() && self.before() == Some(&'.') {
            self.out.push('.');
        }
    }

    /// A dash between two times or two sums.
    pub(super) fn range_mark(&mut self) {
        let rest = self.rest();
        let gap = rest.iter().take_while(|c| **c == ' ').count().min(1);
        let dash = rest.get(gap).is_some_and(|c| matches!(c, '-' | '–'));
        let after = &rest[(gap + 1).min(rest.len())..];
        let after_gap = after.iter().take_while(|c| **c == ' ').count().min(1);
        if dash
            && gap == after_gap
            && after.get(after_gap).is_some_and(|c| c.is_ascii_digit() || currency(*c).is_some())
        {
            self.at += gap + 1 + after_gap;
            self.say("to");
        }
    }

    /// `555-1234`, `(555) 123-4567`, `+1 555 123 4567`: digit by digit.
    pub(super) fn phone(&mut self) -> bool {
        let rest = self.rest();
        let length =
            rest.iter().take(24).take_while(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '(' | ')' | ' ')).count();
        let length = rest[..length].iter().rposition(char::is_ascii_digit).map_or(0, |at| at + 1);
        let groups: Vec<String> = text_of(&rest[..length])
            .split(|c: char| !c.is_ascii_digit())
            .filter(|g| !g.is_empty())
            .map(String::from)
            .collect();
        let sizes: Vec<usize> = groups.iter().map(String::len).collect();
        let dashes = rest[..length].contains(&'-');
        let is_phone = match (rest[0], sizes.as_slice()) {
            ('+', sizes) => sizes.iter().sum::<usize>() >= 8,
            (_, [3, 4]) | (_, [1, 3, 3, 4]) => dashes,
            (_, [3, 3, 4]) => dashes || rest[0] == '(',
            _ => false,
        };
        if !is_phone || is_word(rest.get(length)) {
            return false;
        }
        self.at += length;
        if rest[0] == '+' {
            self.say("plus");
        }
        let groups: Vec<String> = groups.iter().map(|group| digits(group)).collect();
        self.say(&groups.join(", "));
        true
    }
}

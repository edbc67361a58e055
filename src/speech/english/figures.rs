//! Numbers as they are written: digits, separators, fractions.
//!
//! Pure; runs on whichever thread speaks. Knows no words around a number.

use crate::speech::numbers::{decimal, whole};

/// Denominators of what is written as a fraction; `9/11` is none.
const DENOMINATORS: &[u64] = &[2, 3, 4, 5, 6, 8, 10, 12, 16];

/// A number as it is written: digits before and after the point, and its length in characters.
pub(super) struct Number {
    pub(super) whole: String,
    pub(super) fraction: String,
    pub(super) length: usize,
    /// `192.168.1.1`, `1.2.3`: parts between dots.
    pub(super) dotted: bool,
}

impl Number {
    pub(super) fn is_one(&self) -> bool {
        self.whole == "1" && self.fraction.is_empty()
    }

    pub(super) fn words(&self) -> String {
        if self.dotted {
            return self.whole.split('.').map(whole).collect::<Vec<_>>().join(" dot ");
        }
        decimal(&self.whole, &self.fraction)
    }

    /// The value of a number without point, when it is that small.
    pub(super) fn value(&self) -> Option<u64> {
        if self.fraction.is_empty() && self.whole.len() <= 9 { self.whole.parse().ok() } else { None }
    }

    pub(super) fn is_year(&self) -> bool {
        self.length == 4 && self.value().is_some_and(|value| (1100..=2999).contains(&value))
    }
}

pub(super) fn is_digit(c: Option<&char>) -> bool {
    c.is_some_and(char::is_ascii_digit)
}

pub(super) fn is_word(c: Option<&char>) -> bool {
    c.is_some_and(|c| c.is_alphanumeric())
}

pub(super) fn run_of_digits(rest: &[char]) -> usize {
    rest.iter().take_while(|c| c.is_ascii_digit()).count()
}

pub(super) fn text_of(chars: &[char]) -> String {
    chars.iter().collect()
}

/// The number at the start of `rest`, in either notation: `1,234.5`, `1.234,5`, `12,5`, `.5`.
pub(super) fn number_at(rest: &[char]) -> Option<Number> {
    if rest.first() == Some(&'.') && is_digit(rest.get(1)) {
        let length = run_of_digits(&rest[1..]);
        return Some(Number {
            whole: "0".into(),
            fraction: text_of(&rest[1..=length]),
            length: length + 1,
            dotted: false,
        });
    }
    let mut groups: Vec<(char, String)> = Vec::new();
    let mut length = 0;
    let mut separator = ' ';
    loop {
        let digits = run_of_digits(&rest[length..]);
        if digits == 0 {
            break;
        }
        groups.push((separator, text_of(&rest[length..length + digits])));
        length += digits;
        separator = match rest.get(length) {
            Some(&c @ ('.' | ',')) if is_digit(rest.get(length + 1)) => c,
            _ => break,
        };
        length += 1;
    }
    let first = groups.first()?.1.clone();
    let plain = |count: usize, fraction: &str| {
        let length = groups[..count].iter().map(|group| group.1.len() + 1).sum::<usize>() - 1;
        let whole: String =
            if fraction.is_empty() { groups[..count].iter().map(|g| g.1.as_str()).collect() } else { first.clone() };
        Number { whole, fraction: fraction.to_string(), length, dotted: false }
    };
    let thousands = |groups: &[(char, String)]| {
        groups.len() > 1
            && (1..=3).contains(&first.len())
            && !first.starts_with('0')
            && groups[1..].iter().all(|group| group.1.len() == 3 && group.0 == groups[1].0)
    };
    let last = groups.len() - 1;
    Some(match last {
        0 => plain(1, ""),
        1 if groups[1].0 == ',' && thousands(&groups) => plain(2, ""),
        1 => plain(2, &groups[1].1),
        _ if thousands(&groups) => plain(groups.len(), ""),
        _ if groups[last].0 != groups[1].0 && thousands(&groups[..last]) => Number {
            whole: groups[..last].iter().map(|group| group.1.as_str()).collect(),
            fraction: groups[last].1.clone(),
            length,
            dotted: false,
        },
        _ if groups[1..].iter().all(|group| group.0 == '.') => {
            let whole = groups.iter().map(|group| group.1.as_str()).collect::<Vec<_>>().join(".");
            Number { whole, fraction: String::new(), length, dotted: true }
        }
        _ if groups[1].0 == '.' => plain(2, &groups[1].1),
        _ => plain(1, ""),
    })
}

/// `/4` after a numerator, when both make a fraction: numerator, denominator, length of what follows the numerator.
pub(super) fn slashed(top: u64, rest: &[char]) -> Option<(u64, u64, usize)> {
    if rest.first() != Some(&'/') {
        return None;
    }
    let length = run_of_digits(&rest[1..]);
    let bottom: u64 = text_of(&rest[1..=length]).parse().ok()?;
    let more = is_word(rest.get(length + 1)) || rest.get(length + 1) == Some(&'/');
    (top > 0 && top < bottom && DENOMINATORS.contains(&bottom) && !more).then_some((top, bottom, length + 1))
}

pub(super) fn vulgar(c: char) -> Option<(u64, u64)> {
    Some(match c {
        '½' => (1, 2),
        '⅓' => (1, 3),
        '⅔' => (2, 3),
        '¼' => (1, 4),
        '¾' => (3, 4),
        '⅕' => (1, 5),
        '⅛' => (1, 8),
        '⅜' => (3, 8),
        '⅝' => (5, 8),
        '⅞' => (7, 8),
        _ => return None,
    })
}

//! Takes out of a text what is meant for the eye: markdown, HTML, emoji, addresses, characters nobody can say.
//!
//! Pure; runs on whichever thread speaks. Knows no language: words are the business of `english`. Every rule looks at
//! the characters around one place only, so a construct that was cut in half leaves no trace either.

/// More combining marks than this on one letter are decoration, not writing.
const MOST_MARKS: usize = 3;

/// The text without markup, on one line; empty when nothing in it can be spoken.
pub fn clean(text: &str) -> String {
    let text = plain_characters(text);
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("```") || line.starts_with("~~~") || is_rule(line) {
            continue;
        }
        let inline = inline(line_content(line));
        let inline = inline.split_whitespace().collect::<Vec<_>>().join(" ");
        if !inline.is_empty() {
            lines.push(inline);
        }
    }
    let mut out = String::new();
    for line in lines {
        if out.ends_with(|c: char| c.is_alphanumeric() || c == ')' || c == '%') {
            out.push('.');
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&line);
    }
    if out.chars().any(says_something) { out } else { String::new() }
}

/// Whether a character alone gives a word.
fn says_something(c: char) -> bool {
    c.is_alphanumeric() || "%&+=<>°@$£€¥¢½¼¾×÷±√∞≤≥≈".contains(c)
}

/// `---`, `***`, `|---|---|`: lines that only draw.
fn is_rule(line: &str) -> bool {
    !line.is_empty()
        && line.chars().all(|c| matches!(c, '-' | '*' | '_' | '=' | '|' | ':' | ' ' | '+'))
        && line.len() > 2
}

/// What follows a heading, quotation or list mark. A list number stays, with a comma.
fn line_content(line: &str) -> String {
    let mut rest = line;
    while let Some(quoted) = rest.strip_prefix('>') {
        rest = quoted.trim_start();
    }
    let unhashed = rest.trim_start_matches('#');
    let depth = rest.len() - unhashed.len();
    if (1..=6).contains(&depth) && (unhashed.starts_with(' ') || unhashed.is_empty()) {
        return unhashed.trim().trim_end_matches('#').trim().to_string();
    }
    for bullet in ["- [ ] ", "- [x] ", "- ", "* ", "+ ", "• "] {
        // "- 5" may be a bullet or a minus: a bullet, since a minus stands against its number.
        if let Some(item) = rest.strip_prefix(bullet) {
            return item.trim().to_string();
        }
    }
    let digits = rest.chars().take_while(char::is_ascii_digit).count();
    let after = &rest[digits..];
    if (1..=3).contains(&digits)
        && let Some(item) = after.strip_prefix(". ").or_else(|| after.strip_prefix(") "))
    {
        return format!("{}, {}", &rest[..digits], item.trim());
    }
    rest.to_string()
}

/// Emphasis, code, links, tags, entities and addresses within a line.
fn inline(line: String) -> String {
    let text: Vec<char> = line.chars().collect();
    let mut out = String::with_capacity(line.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let before = out.chars().next_back();
        if let Some((word, length)) = address(rest, before) {
            out.push_str(&word);
            at += length;
            continue;
        }
        if let Some(length) = tag(rest) {
            out.push(' ');
            at += length;
            continue;
        }
        if let Some((c, length)) = entity(rest) {
            out.push_str(c);
            at += length;
            continue;
        }
        match rest[0] {
            ']' if rest.get(1) == Some(&'(') => at += 1 + link_target(&rest[1..]),
            '[' | ']' | '`' | '\\' => at += 1,
            '!' if rest.get(1) == Some(&'[') => at += 2,
            '|' => {
                out.push_str(if out.trim().is_empty() || at + 1 == text.len() { " " } else { ", " });
                at += 1;
            }
            '*' | '_' | '~' => {
                let run = rest.iter().take_while(|c| **c == rest[0]).count();
                out.push_str(&marks(rest[0], run, before, rest.get(run).copied()));
                at += run;
            }
            c => {
                out.push(c);
                at += 1;
            }
        }
    }
    out
}

/// What is left of a run of `*`, `_` or `~` between two characters: a sign of multiplication or "about", else nothing.
fn marks(mark: char, run: usize, before: Option<char>, after: Option<char>) -> String {
    let is_space = |c: Option<char>| c.is_none_or(char::is_whitespace);
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let between_spaces = before.is_some() && after.is_some() && is_space(before) && is_space(after);
    let keeps = match mark {
        '*' => run == 1 && (between_spaces || is_digit(before) && is_digit(after)),
        '~' => run == 1 && is_digit(after) && (is_space(before) || before == Some('(')),
        _ => false,
    };
    let joins = mark == '_' && before.is_some_and(char::is_alphanumeric) && after.is_some_and(char::is_alphanumeric);
    if keeps {
        mark.to_string()
    } else if joins {
        " ".to_string()
    } else {
        String::new()
    }
}

/// Length of `(target)` at the start of `rest`; of everything up to the next space when the end is missing.
fn link_target(rest: &[char]) -> usize {
    let mut depth = 0;
    for (at, c) in rest.iter().enumerate() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    rest.iter().position(|c| c.is_whitespace()).unwrap_or(rest.len())
}

/// Length of an HTML tag at the start of `rest`; a comparison such as `a < b` is none.
fn tag(rest: &[char]) -> Option<usize> {
    let named = |c: Option<&char>| c.is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '/' | '!'));
    if rest[0] != '<' || !named(rest.get(1)) {
        return None;
    }
    let length = rest.iter().take(200).position(|c| *c == '>')? + 1;
    Some(length)
}

fn entity(rest: &[char]) -> Option<(&'static str, usize)> {
    const ENTITIES: &[(&str, &str)] = &[
        ("&amp;", "&"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("&deg;", "°"),
        ("&euro;", "€"),
    ];
    let found = ENTITIES.iter().find(|(name, _)| name.chars().eq(rest.iter().take(name.len()).copied()))?;
    Some((found.1, found.0.len()))
}

/// The host of a web address at the start of `rest`, and the length of the whole address.
fn address(rest: &[char], before: Option<char>) -> Option<(String, usize)> {
    if before.is_some_and(char::is_alphanumeric) {
        return None;
    }
    let start = if rest[0] == '<' { 1 } else { 0 };
    let head: String = rest[start..].iter().take(8).collect::<String>().to_lowercase();
    let prefix = ["https://", "http://", "ftp://", "www."].into_iter().find(|prefix| head.starts_with(prefix))?;
    let body = start + if prefix == "www." { 0 } else { prefix.len() };
    let mut end =
        rest[body..].iter().position(|c| c.is_whitespace() || "<>\"|]`*".contains(*c)).unwrap_or(rest.len() - body);
    let opened = rest[body..body + end].contains(&'(');
    while end > 0 && (".,;:!?'".contains(rest[body + end - 1]) || (rest[body + end - 1] == ')' && !opened)) {
        end -= 1;
    }
    let whole: String = rest[body..body + end].iter().collect();
    let host = whole.split(['/', '?', '#', ':']).next().unwrap_or_default().trim_start_matches("www.").to_string();
    let closing = usize::from(start == 1 && rest.get(body + end) == Some(&'>'));
    (!host.is_empty()).then_some((host, body + end + closing))
}

/// Replaces characters by plain twins and drops what cannot be said: controls, emoji, private and broken code points.
fn plain_characters(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut marks = 0;
    for c in text.chars() {
        let is_mark = matches!(u32::from(c), 0x0300..=0x036F | 0x0483..=0x0489 | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF);
        marks = if is_mark { marks + 1 } else { 0 };
        if marks > MOST_MARKS || (is_mark && !out.ends_with(char::is_alphabetic)) && marks == 1 {
            continue;
        }
        match c {
            '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            '’' | '‘' | '‛' | '′' | 'ʼ' => out.push('\''),
            '“' | '”' | '„' | '‟' | '″' => out.push('"'),
            '‐' | '‑' | '−' | '﹣' => out.push('-'),
            '‒' | '―' => out.push('–'),
            '℃' => out.push_str("°C"),
            '℉' => out.push_str("°F"),
            '⁄' | '∕' => out.push('/'),
            '\u{FF01}'..='\u{FF5E}' => out.extend(char::from_u32(u32::from(c) - 0xFEE0)),
            '\u{1D400}'..='\u{1D6A3}' => out.push(styled(u32::from(c) - 0x1D400)),
            '\u{1D7CE}'..='\u{1D7FF}' => out.extend(char::from_digit((u32::from(c) - 0x1D7CE) % 10, 10)),
            c if c.is_whitespace() || c.is_control() => out.push(' '),
            // Some scripts need it inside words.
            '\u{200C}' if out.ends_with(char::is_alphabetic) => out.push(c),
            c if is_unspeakable(u32::from(c)) => {}
            c => out.push(c),
        }
    }
    out
}

/// Mathematical bold, italic and script letters: alphabets of 52 in a row.
fn styled(offset: u32) -> char {
    let letter = (offset % 52) as u8;
    char::from(if letter < 26 { b'A' + letter } else { b'a' + letter - 26 })
}

fn is_unspeakable(code: u32) -> bool {
    matches!(code,
        0x00AD | 0x00A9 | 0x00AE | 0x061C | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F | 0x2122
        | 0x20E3 | 0x231A..=0x231B | 0x2328 | 0x23CF..=0x23FF | 0x24C2 | 0x25A0..=0x27BF | 0x2900..=0x297F
        | 0x2B00..=0x2BFF | 0x303D | 0x3297 | 0x3299 | 0xD800..=0xF8FF | 0xFDD0..=0xFDEF | 0xFE00..=0xFE0F | 0xFEFF
        | 0xFFF0..=0xFFFF | 0x1F000..=0x1FAFF | 0x30000..)
        || code & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markup_goes_and_words_stay() {
        let check = |text: &str, expected: &str| assert_eq!(clean(text), expected, "{text:?}");
        check("", "");
        check(" \n ", "");
        check("👍🏽 🎉", "");
        check("---\n***", "");
        check("...", "");
        check("**The light** is *on*, `really`.", "The light is on, really.");
        check("__bold__ and _italic_ and ~~gone~~ and snake_case", "bold and italic and gone and snake case");
        check("**half of it", "half of it");
        check(
            "# Weather\nSunny\n\n## Tomorrow ##\n- rain\n* wind\n1. one\n2) two",
            "Weather. Sunny. Tomorrow. rain. wind. 1, one. 2, two",
        );
        check("> quoted\n> twice", "quoted. twice");
        check("```rust\nlet x;\n```", "let x;");
        check("[the page](https://example.com/a_(b)) is ![a cat](cat.png)here", "the page is a cathere");
        check("Now](http://x.com/y) go", "Now go");
        check("See https://www.example.com/path?x=1#y. Go", "See example.com. Go");
        check("<https://example.org> or www.test.de/x, (http://a.b.com)", "example.org or test.de, (a.b.com)");
        check("5 * 3 and 5*3 and 2 < 3 > 1", "5 * 3 and 5*3 and 2 < 3 > 1");
        check("a<br>b <b>c</b> &amp; d", "a b c & d");
        check("| a | b |\n|---|---|\n| 1 | 2 |", "a , b. 1 , 2");
        check("It’s “fine” 🙂 ok\u{200b}ay", "It's \"fine\" okay");
        check("a\u{0}b\u{7}c\u{FFFD}\u{E000}\u{10FFFF}", "a b c");
        check("Z\u{300}\u{301}\u{302}\u{303}\u{304}a", "Z\u{300}\u{301}\u{302}a");
        check("Ｆｕｌｌ １２ 𝐁𝐨𝐥𝐝 𝟓", "Full 12 Bold 5");
        check("Größe: 20 ℃ – schön", "Größe: 20 °C – schön");
    }

    proptest! {
        #[test]
        fn any_text_is_cleaned_without_a_panic(text in any::<String>()) {
            let once = clean(&text);
            prop_assert!(!once.contains('\n'));
        }
    }
}

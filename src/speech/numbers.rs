//! Numbers as English words: cardinals, ordinals, years, decimals, digits one by one.
//!
//! Pure; runs on whichever thread speaks. Knows nothing of the text around a number: that is `english`.

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];

const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

const SCALES: [(u64, &str); 4] =
    [(1_000_000_000_000, "trillion"), (1_000_000_000, "billion"), (1_000_000, "million"), (1_000, "thousand")];

/// The longest run of digits that is still read as one number; longer ones are read digit by digit.
pub const LONGEST_CARDINAL_DIGITS: usize = 15;

/// `21` is "twenty-one", `1500` "one thousand five hundred". Below 10^15; callers spell longer ones.
pub fn cardinal(number: u64) -> String {
    let mut words = Vec::new();
    let mut rest = number;
    for (size, name) in SCALES {
        if rest >= size {
            words.push(format!("{} {name}", cardinal(rest / size)));
            rest %= size;
        }
    }
    if rest >= 100 {
        words.push(format!("{} hundred", SMALL[(rest / 100) as usize]));
        rest %= 100;
    }
    if rest >= 20 {
        let tens = TENS[(rest / 10) as usize];
        match rest % 10 {
            0 => words.push(tens.to_string()),
            unit => words.push(format!("{tens}-{}", SMALL[unit as usize])),
        }
    } else if rest > 0 || words.is_empty() {
        words.push(SMALL[rest as usize].to_string());
    }
    words.join(" ")
}

/// `21` is "twenty-first".
pub fn ordinal(number: u64) -> String {
    let words = cardinal(number);
    let start = words.rfind([' ', '-']).map_or(0, |at| at + 1);
    let last = match &words[start..] {
        "one" => "first".to_string(),
        "two" => "second".to_string(),
        "three" => "third".to_string(),
        "five" => "fifth".to_string(),
        "eight" => "eighth".to_string(),
        "nine" => "ninth".to_string(),
        "twelve" => "twelfth".to_string(),
        word => match word.strip_suffix('y') {
            Some(stem) => format!("{stem}ieth"),
            None => format!("{word}th"),
        },
    };
    format!("{}{last}", &words[..start])
}

/// `1999` is "nineteen ninety-nine", `2005` "two thousand five", `1905` "nineteen oh five".
pub fn year(number: u64) -> String {
    let (century, rest) = (number / 100, number % 100);
    if !(1100..=2999).contains(&number) || (rest < 10 && century.is_multiple_of(10)) {
        return cardinal(number);
    }
    let century = cardinal(century);
    match rest {
        0 => format!("{century} hundred"),
        1..=9 => format!("{century} oh {}", cardinal(rest)),
        _ => format!("{century} {}", cardinal(rest)),
    }
}

/// `007` is "zero zero seven". Anything but an ASCII digit is skipped.
pub fn digits(text: &str) -> String {
    let words: Vec<&str> = text.chars().filter_map(|c| c.to_digit(10)).map(|d| SMALL[d as usize]).collect();
    words.join(" ")
}

/// A run of ASCII digits without separators: a cardinal, or digit by digit when it is too long or starts with zeros.
pub fn whole(text: &str) -> String {
    let spelled = text.len() > LONGEST_CARDINAL_DIGITS || (text.len() > 1 && text.starts_with('0'));
    match text.parse() {
        Ok(number) if !spelled => cardinal(number),
        _ => digits(text),
    }
}

/// The whole part and the digits after the point: "twelve point five".
pub fn decimal(whole_part: &str, fraction: &str) -> String {
    let whole_part = if whole_part.is_empty() { "0" } else { whole_part };
    if fraction.is_empty() { whole(whole_part) } else { format!("{} point {}", whole(whole_part), digits(fraction)) }
}

/// `1/2` is "one half", `3/4` "three quarters".
pub fn fraction(top: u64, bottom: u64) -> String {
    let part = match bottom {
        2 if top == 1 => "half".to_string(),
        2 => "halves".to_string(),
        4 => plural("quarter", top),
        _ => plural(&ordinal(bottom), top),
    };
    format!("{} {part}", cardinal(top))
}

fn plural(word: &str, count: u64) -> String {
    if count == 1 { word.to_string() } else { format!("{word}s") }
}

/// The value of a Roman numeral in capitals up to 39, written the usual way.
pub fn roman(text: &str) -> Option<u64> {
    (1..40).find(|&number| roman_of(number) == text)
}

fn roman_of(number: u64) -> String {
    let ones = ["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"];
    format!("{}{}", "X".repeat((number / 10) as usize), ones[(number % 10) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cardinals_ordinals_and_years() {
        let check = |got: String, want: &str| assert_eq!(got, want);
        check(cardinal(0), "zero");
        check(cardinal(21), "twenty-one");
        check(cardinal(100), "one hundred");
        check(cardinal(1_500), "one thousand five hundred");
        check(cardinal(1_000_001), "one million one");
        check(
            cardinal(999_999_999_999_999).split(' ').take(3).collect::<Vec<_>>().join(" "),
            "nine hundred ninety-nine",
        );
        check(ordinal(1), "first");
        check(ordinal(12), "twelfth");
        check(ordinal(20), "twentieth");
        check(ordinal(23), "twenty-third");
        check(ordinal(100), "one hundredth");
        check(year(1999), "nineteen ninety-nine");
        check(year(1905), "nineteen oh five");
        check(year(1900), "nineteen hundred");
        check(year(2000), "two thousand");
        check(year(2005), "two thousand five");
        check(year(2026), "twenty twenty-six");
        check(year(800), "eight hundred");
    }

    #[test]
    fn decimals_fractions_digits_and_roman_numerals() {
        let check = |got: String, want: &str| assert_eq!(got, want);
        check(decimal("12", "50"), "twelve point five zero");
        check(decimal("", "5"), "zero point five");
        check(whole("007"), "zero zero seven");
        check(whole("1234567890123456"), &digits("1234567890123456"));
        check(whole("99999999999999999999999"), &digits("99999999999999999999999"));
        check(fraction(1, 2), "one half");
        check(fraction(3, 4), "three quarters");
        check(fraction(2, 3), "two thirds");
        assert_eq!(roman("VIII"), Some(8));
        assert_eq!(roman("XIV"), Some(14));
        assert_eq!(roman("IIII"), None);
    }
}

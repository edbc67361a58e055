//! Tables of what stands beside a number in English text: units, currencies, months, clock times, abbreviations.
//!
//! Pure data and look-ups; runs on whichever thread speaks. Knows nothing of the text as a whole: that is `english`.

use super::numbers::{cardinal, decimal};

/// A unit: how it is written, and its words for one and for many.
pub struct Unit {
    symbol: &'static str,
    /// "kilogram".
    pub one: &'static str,
    /// "kilograms".
    pub many: &'static str,
}

const fn unit(symbol: &'static str, one: &'static str, many: &'static str) -> Unit {
    Unit { symbol, one, many }
}

const UNITS: &[Unit] = &[
    unit("km/h", "kilometer per hour", "kilometers per hour"),
    unit("kmh", "kilometer per hour", "kilometers per hour"),
    unit("kph", "kilometer per hour", "kilometers per hour"),
    unit("mph", "mile per hour", "miles per hour"),
    unit("m/s", "meter per second", "meters per second"),
    unit("km²", "square kilometer", "square kilometers"),
    unit("km2", "square kilometer", "square kilometers"),
    unit("m²", "square meter", "square meters"),
    unit("m2", "square meter", "square meters"),
    unit("cm²", "square centimeter", "square centimeters"),
    unit("cm2", "square centimeter", "square centimeters"),
    unit("m³", "cubic meter", "cubic meters"),
    unit("m3", "cubic meter", "cubic meters"),
    unit("cm³", "cubic centimeter", "cubic centimeters"),
    unit("ft²", "square foot", "square feet"),
    unit("sq ft", "square foot", "square feet"),
    unit("sq. ft.", "square foot", "square feet"),
    unit("km", "kilometer", "kilometers"),
    unit("m", "meter", "meters"),
    unit("cm", "centimeter", "centimeters"),
    unit("mm", "millimeter", "millimeters"),
    unit("µm", "micrometer", "micrometers"),
    unit("μm", "micrometer", "micrometers"),
    unit("nm", "nanometer", "nanometers"),
    unit("mi", "mile", "miles"),
    unit("ft", "foot", "feet"),
    unit("in", "inch", "inches"),
    unit("\"", "inch", "inches"),
    unit("yd", "yard", "yards"),
    unit("ha", "hectare", "hectares"),
    unit("kg", "kilogram", "kilograms"),
    unit("g", "gram", "grams"),
    unit("mg", "milligram", "milligrams"),
    unit("µg", "microgram", "micrograms"),
    unit("μg", "microgram", "micrograms"),
    unit("µg/m³", "microgram per cubic meter", "micrograms per cubic meter"),
    unit("μg/m³", "microgram per cubic meter", "micrograms per cubic meter"),
    unit("lb", "pound", "pounds"),
    unit("lbs", "pound", "pounds"),
    unit("oz", "ounce", "ounces"),
    unit("l", "liter", "liters"),
    unit("L", "liter", "liters"),
    unit("ml", "milliliter", "milliliters"),
    unit("mL", "milliliter", "milliliters"),
    unit("cl", "centiliter", "centiliters"),
    unit("dl", "deciliter", "deciliters"),
    unit("gal", "gallon", "gallons"),
    unit("tbsp", "tablespoon", "tablespoons"),
    unit("tsp", "teaspoon", "teaspoons"),
    unit("Wh", "watt hour", "watt hours"),
    unit("kWh", "kilowatt hour", "kilowatt hours"),
    unit("MWh", "megawatt hour", "megawatt hours"),
    unit("mW", "milliwatt", "milliwatts"),
    unit("W", "watt", "watts"),
    unit("kW", "kilowatt", "kilowatts"),
    unit("MW", "megawatt", "megawatts"),
    unit("V", "volt", "volts"),
    unit("mV", "millivolt", "millivolts"),
    unit("kV", "kilovolt", "kilovolts"),
    unit("A", "amp", "amps"),
    unit("mA", "milliamp", "milliamps"),
    unit("Ah", "amp hour", "amp hours"),
    unit("mAh", "milliamp hour", "milliamp hours"),
    unit("Hz", "hertz", "hertz"),
    unit("kHz", "kilohertz", "kilohertz"),
    unit("MHz", "megahertz", "megahertz"),
    unit("GHz", "gigahertz", "gigahertz"),
    unit("dB", "decibel", "decibels"),
    unit("dBm", "D B M", "D B M"),
    unit("Pa", "pascal", "pascals"),
    unit("hPa", "hectopascal", "hectopascals"),
    unit("kPa", "kilopascal", "kilopascals"),
    unit("mbar", "millibar", "millibars"),
    unit("psi", "P S I", "P S I"),
    unit("lm", "lumen", "lumens"),
    unit("lx", "lux", "lux"),
    unit("ppm", "part per million", "parts per million"),
    unit("ppb", "part per billion", "parts per billion"),
    unit("kB", "kilobyte", "kilobytes"),
    unit("KB", "kilobyte", "kilobytes"),
    unit("MB", "megabyte", "megabytes"),
    unit("GB", "gigabyte", "gigabytes"),
    unit("TB", "terabyte", "terabytes"),
    unit("MB/s", "megabyte per second", "megabytes per second"),
    unit("kbps", "kilobit per second", "kilobits per second"),
    unit("Mbps", "megabit per second", "megabits per second"),
    unit("Mbit/s", "megabit per second", "megabits per second"),
    unit("Gbps", "gigabit per second", "gigabits per second"),
    unit("kcal", "kilocalorie", "kilocalories"),
    unit("cal", "calorie", "calories"),
    unit("J", "joule", "joules"),
    unit("kJ", "kilojoule", "kilojoules"),
    unit("rpm", "revolution per minute", "revolutions per minute"),
    unit("h", "hour", "hours"),
    unit("hr", "hour", "hours"),
    unit("hrs", "hour", "hours"),
    unit("min", "minute", "minutes"),
    unit("mins", "minute", "minutes"),
    unit("s", "second", "seconds"),
    unit("sec", "second", "seconds"),
    unit("secs", "second", "seconds"),
    unit("ms", "millisecond", "milliseconds"),
];

/// Written like a word or a grade of something: a unit only when it touches its number.
const TOUCHING_ONLY: &[&str] = &["A", "in", "\""];

/// The unit at the start of `rest` and its length in characters; `touching` when a number stands right before.
pub fn unit_at(rest: &[char], touching: bool) -> Option<(&'static Unit, usize)> {
    let fits = |unit: &&Unit| {
        let length = unit.symbol.chars().count();
        unit.symbol.chars().eq(rest.iter().take(length).copied())
            && !rest.get(length).is_some_and(|c| c.is_alphanumeric() || *c == '²' || *c == '³')
            && (touching || !TOUCHING_ONLY.contains(&unit.symbol))
    };
    let found = UNITS.iter().filter(fits).max_by_key(|unit| unit.symbol.len())?;
    Some((found, found.symbol.chars().count()))
}

/// Words of a currency: one and many of the large and of the small coin.
pub struct Currency {
    names: [&'static str; 4],
}

/// The currency of a sign.
pub fn currency(sign: char) -> Option<Currency> {
    let names = match sign {
        '$' => ["dollar", "dollars", "cent", "cents"],
        '£' => ["pound", "pounds", "penny", "pence"],
        '€' => ["euro", "euros", "cent", "cents"],
        '¥' => ["yen", "yen", "", ""],
        '₹' => ["rupee", "rupees", "paisa", "paise"],
        _ => return None,
    };
    Some(Currency { names })
}

/// The currency of a code such as `EUR` at the start of `rest`.
pub fn currency_code(rest: &[char]) -> Option<(Currency, usize)> {
    let code: String = rest.iter().take(3).collect();
    let sign = match code.as_str() {
        "USD" => '$',
        "GBP" => '£',
        "EUR" => '€',
        "JPY" => '¥',
        "INR" => '₹',
        _ => return None,
    };
    let ends = !rest.get(3).is_some_and(|c| c.is_alphanumeric());
    currency(sign).filter(|_| ends).map(|currency| (currency, 3))
}

impl Currency {
    /// `3` and `50` are "three dollars and fifty cents"; with a scale: "one point five million dollars".
    pub fn words(&self, whole: &str, fraction: &str, scale: Option<&str>) -> String {
        let [one, many, small_one, small_many] = self.names;
        if let Some(scale) = scale {
            return format!("{} {scale} {many}", decimal(whole, fraction));
        }
        let number = decimal(whole, "");
        let large = if whole == "1" { one } else { many };
        let cents = match fraction.len() {
            1 => fraction.parse::<u64>().map(|tenths| tenths * 10),
            2 => fraction.parse::<u64>(),
            0 => Ok(0),
            _ => return format!("{} {many}", decimal(whole, fraction)),
        };
        match cents {
            Ok(cents) if cents > 0 && !small_one.is_empty() => {
                let small = format!("{} {}", cardinal(cents), if cents == 1 { small_one } else { small_many });
                if whole.trim_start_matches('0').is_empty() { small } else { format!("{number} {large} and {small}") }
            }
            _ => format!("{number} {large}"),
        }
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The name of a month by its number.
pub fn month(number: u64) -> Option<&'static str> {
    MONTHS.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

/// The month of a name or of its abbreviation (`Nov`, `Sept`), written with a capital.
pub fn month_named(word: &str) -> Option<&'static str> {
    let is_short = word.len() == 3 || word == "Sept";
    MONTHS.into_iter().find(|name| *name == word || (is_short && name.starts_with(word)))
}

/// `18` and `5` are "eighteen oh five", `7` and `0` "seven o'clock", with `am` "seven".
pub fn clock(hour: u64, minute: u64, has_half_day: bool) -> String {
    match (hour, minute) {
        (0 | 24, 0) if !has_half_day => "midnight".to_string(),
        (hour, 0) if has_half_day => cardinal(hour),
        (1..=12, 0) => format!("{} o'clock", cardinal(hour)),
        (hour, 0) => format!("{} hundred", cardinal(hour)),
        (hour, 1..=9) => format!("{} oh {}", cardinal(hour), cardinal(minute)),
        (hour, minute) => format!("{} {}", cardinal(hour), cardinal(minute)),
    }
}

/// `am`, `p.m.` and the like at the start of `rest`: the words and the length.
pub fn half_day(rest: &[char]) -> Option<(&'static str, usize)> {
    let head: String = rest.iter().take(4).collect::<String>().to_lowercase();
    let (words, length) = match head.as_str() {
        "a.m." => ("A M", 4),
        "p.m." => ("P M", 4),
        head if head.starts_with("a.m") => ("A M", 3),
        head if head.starts_with("p.m") => ("P M", 3),
        head if head.starts_with("am") => ("A M", 2),
        head if head.starts_with("pm") => ("P M", 2),
        _ => return None,
    };
    (!rest.get(length).is_some_and(|c| c.is_alphanumeric())).then_some((words, length))
}

/// The words of an abbreviation in small letters, without its last dot; `dotted` when it has one.
pub fn abbreviation(word: &str, dotted: bool) -> Option<&'static str> {
    Some(match word {
        "mr" => "mister",
        "mrs" => "missus",
        "ms" => "miz",
        "dr" => "doctor",
        "prof" => "professor",
        "jr" => "junior",
        "sr" => "senior",
        "vs" => "versus",
        "etc" => "et cetera",
        "e.g" | "eg" if dotted => "for example",
        "i.e" | "ie" if dotted => "that is",
        "a.k.a" | "aka" => "also known as",
        "approx" => "approximately",
        "temp" if dotted => "temperature",
        "min" if dotted => "minimum",
        "max" if dotted => "maximum",
        "tel" if dotted => "telephone",
        "ave" if dotted => "avenue",
        "blvd" => "boulevard",
        "rd" if dotted => "road",
        "mt" if dotted => "mount",
        "dept" => "department",
        "govt" => "government",
        "inc" if dotted => "incorporated",
        "corp" if dotted => "corporation",
        "ltd" => "limited",
        "hr" | "hrs" if dotted => "hours",
        "fig" if dotted => "figure",
        "vol" if dotted => "volume",
        "w/o" => "without",
        "wifi" | "wi-fi" => "why fye",
        _ => return None,
    })
}

/// The day of an abbreviation without its dot, and whether it is a word of its own too (`Sun`, `Sat`, `Wed`).
pub fn day_named(word: &str) -> Option<(&'static str, bool)> {
    Some(match word {
        "Mon" => ("Monday", false),
        "Tue" | "Tues" => ("Tuesday", false),
        "Wed" => ("Wednesday", true),
        "Thu" | "Thur" | "Thurs" => ("Thursday", false),
        "Fri" => ("Friday", false),
        "Sat" => ("Saturday", true),
        "Sun" => ("Sunday", true),
        _ => return None,
    })
}

/// Endings after which a dot inside a word is read aloud: domains and files.
pub fn is_domain_or_file(ending: &str) -> bool {
    const ENDINGS: &[&str] = &[
        "com", "org", "net", "io", "de", "uk", "gov", "edu", "co", "eu", "us", "fr", "ch", "at", "info", "app", "dev",
        "local", "home", "lan", "html", "pdf", "txt", "json", "toml", "yaml", "yml", "py", "rs", "csv", "mp3", "wav",
        "jpg", "png", "md", "zip", "onnx", "example", "test",
    ];
    ENDINGS.contains(&ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_the_longest_that_fit() {
        let check = |text: &str, expected: Option<&str>| {
            let chars: Vec<char> = text.chars().collect();
            assert_eq!(unit_at(&chars, false).map(|(unit, _)| unit.many), expected, "{text}");
        };
        check("km/h now", Some("kilometers per hour"));
        check("km", Some("kilometers"));
        check("m²", Some("square meters"));
        check("kWh.", Some("kilowatt hours"));
        check("kilos", None);
        check("in the morning", None);
    }

    #[test]
    fn clocks_and_months() {
        assert_eq!(clock(18, 5, false), "eighteen oh five");
        assert_eq!(clock(7, 0, true), "seven");
        assert_eq!(clock(7, 0, false), "seven o'clock");
        assert_eq!(clock(0, 0, false), "midnight");
        assert_eq!(month_named("Sept"), Some("September"));
        assert_eq!(month_named("Ma"), None);
        assert_eq!(month(13), None);
        assert_eq!(month(0), None);
    }
}

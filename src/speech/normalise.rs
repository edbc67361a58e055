//! Written text as text that a voice can say: markup goes, and in English numbers, dates, times, money, units and
//! abbreviations become words. Other languages keep their numbers, which espeak-ng reads by its own rules.
//!
//! Pure; runs on whichever thread speaks. Knows no voice and makes no sound.

use super::{english, markup};

pub use super::sentences::{LONGEST_SENTENCE_CHARS, Splitter, sentences};

/// What a voice of `language` (`en_US`, `en-gb`, `de`) should be given to say `text`. On one line; empty when there is
/// nothing to say. Any text is taken; what nobody could say is left out.
pub fn speakable(text: &str, language: &str) -> String {
    let plain = markup::clean(text);
    let language = language.to_ascii_lowercase();
    let family = language.split(['-', '_']).next().unwrap_or_default();
    if family != "en" {
        return plain;
    }
    english::words(&plain, !language.contains("us") && language.len() > 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CASES: &[(&str, &str)] = &[
        // temperatures
        ("It is 21.5 °C.", "It is twenty-one point five degrees Celsius."),
        ("70°F", "seventy degrees Fahrenheit"),
        ("25°c outside", "twenty-five degrees Celsius outside"),
        ("25ºC", "twenty-five degrees Celsius"),
        ("25 º C", "twenty-five degrees Celsius"),
        ("-1 °C", "minus one degree Celsius"),
        ("between 20–22 °C", "between twenty to twenty-two degrees Celsius"),
        ("turn 90°", "turn ninety degrees"),
        ("21C", "twenty-one degrees Celsius"),
        ("20 ℃", "twenty degrees Celsius"),
        // times
        ("at 18:05", "at eighteen oh five"),
        ("at 7:00 am.", "at seven A M."),
        ("7:30 p.m. sharp", "seven thirty P M sharp"),
        ("It is 7 a.m.", "It is seven A M."),
        ("7-9 am", "seven to nine A M"),
        ("8:00-10:30", "eight o'clock to ten thirty"),
        ("00:00", "midnight"),
        ("18:05:09", "eighteen oh five and nine seconds"),
        ("18:00", "eighteen hundred"),
        // money
        ("$500", "five hundred dollars"),
        ("£3.50", "three pounds and fifty pence"),
        ("€12", "twelve euros"),
        ("12,50 €", "twelve euros and fifty cents"),
        ("$1", "one dollar"),
        ("$0.99", "ninety-nine cents"),
        ("$1,299.99", "one thousand two hundred ninety-nine dollars and ninety-nine cents"),
        ("$1.5 million", "one point five million dollars"),
        ("$5-10", "five to ten dollars"),
        ("-$5", "minus five dollars"),
        ("500 USD", "five hundred dollars"),
        ("€0.30/kWh", "thirty cents per kilowatt hour"),
        ("US$20", "twenty dollars"),
        ("$5/month", "five dollars per month"),
        // per cent
        ("45%", "forty-five percent"),
        ("12.5 % done", "twelve point five percent done"),
        ("10-20%", "ten to twenty percent"),
        // dates
        ("2026-11-25", "November twenty-fifth, twenty twenty-six"),
        ("2026-11-25T18:05", "November twenty-fifth, twenty twenty-six at eighteen oh five"),
        ("25.11.2026", "November twenty-fifth, twenty twenty-six"),
        ("11/25/2026", "November twenty-fifth, twenty twenty-six"),
        ("3/4/2026", "March fourth, twenty twenty-six"),
        ("Nov 25", "November twenty-fifth"),
        ("Nov. 25, 2026 is near", "November twenty-fifth, twenty twenty-six is near"),
        ("on 25 November 2026", "on the twenty-fifth of November twenty twenty-six"),
        ("the 21st of May", "the twenty-first of May"),
        ("in 1999", "in nineteen ninety-nine"),
        ("the 1990s", "the nineteen nineties"),
        ("2020-2024", "twenty twenty to twenty twenty-four"),
        // decimals, thousands
        ("12.5 and 12,5", "twelve point five and twelve point five"),
        ("1,000 steps", "one thousand steps"),
        ("1.234,5", "one thousand two hundred thirty-four point five"),
        ("1,234.5", "one thousand two hundred thirty-four point five"),
        ("1.000.000", "one million"),
        ("0,125", "zero point one two five"),
        ("1, 2,3", "one, two point three"),
        ("version 1.2.3", "version one dot two dot three"),
        ("1920 watts", "one thousand nine hundred twenty watts"),
        ("3.50.", "three point five zero."),
        // units
        ("50 km/h", "fifty kilometers per hour"),
        ("1 kg", "one kilogram"),
        ("250ml", "two hundred fifty milliliters"),
        ("3.2 kWh", "three point two kilowatt hours"),
        ("20 m²", "twenty square meters"),
        ("a 5-km run", "a five kilometer run"),
        ("2h 30min", "two hours thirty minutes"),
        ("4000K", "four thousand kelvin"),
        ("the speed in km/h is", "the speed in kilometers per hour is"),
        ("5 in the morning", "five in the morning"),
        // fractions, sums
        ("1/2 cup", "one half cup"),
        ("2 1/2 hours", "two and a half hours"),
        ("2½ kg", "two and a half kilograms"),
        ("¾ full", "three quarters full"),
        ("24/7", "twenty-four seven"),
        ("5 * 3", "five times three"),
        ("5*3 = 15", "five times three equals fifteen"),
        ("5 x 3", "five times three"),
        ("5 - 3", "five minus three"),
        ("2 + 2", "two plus two"),
        ("~5", "about five"),
        // digits
        ("call 555-1234", "call five five five, one two three four"),
        ("+1 555 123 4567", "plus one, five five five, one two three, four five six seven"),
        ("code 4711", "code four seven one one"),
        ("Beverly Hills, CA 90210", "Beverly Hills, CA nine zero two one zero"),
        ("007", "zero zero seven"),
        // abbreviations
        ("Mr. Smith and Dr. Who", "mister Smith and doctor Who"),
        ("lamps, e.g. the desk lamp, i.e. this", "lamps, for example the desk lamp, that is this"),
        ("milk etc.", "milk et cetera."),
        ("St. Pancras, 5 Baker St.", "Saint Pancras, five Baker street."),
        ("World War II", "World War two"),
        ("Henry VIII", "Henry the eighth"),
        ("No. 5", "number five"),
        ("the U.S. team", "the U S team"),
        ("Smith Jr.", "Smith junior."),
        ("black & white", "black and white"),
        ("on/off and/or", "on or off and or"),
        // markup
        ("**Done**, it's `on`.", "Done, it's on."),
        ("- milk\n- eggs", "milk. eggs"),
        ("## Weather", "Weather"),
        ("[Docs](https://example.com)", "Docs"),
        ("See https://www.example.com/a?b=1.", "See example dot com."),
        ("mail a.b@c.com", "mail a dot b at c dot com"),
        ("It's on.The fan is off.", "It's on. The fan is off."),
        ("Sure! 👍", "Sure!"),
        ("👍", ""),
        ("", ""),
        ("   ", ""),
        ("...", ""),
        ("Well... no!!!", "Well. no!"),
        ("\u{0}\u{FFFD}\u{E000}", ""),
        ("I don't know.", "I don't know."),
        ("The light is on — really", "The light is on, really"),
        ("It's 5 o'clock, take the 5G phone", "It's five o'clock, take the five G phone"),
        ("Set a timer for 10 minutes.", "Set a timer for ten minutes."),
        ("There are 3 lights on: kitchen, hall, desk", "There are three lights on: kitchen, hall, desk"),
        ("1. Milk\n2. Eggs", "one, Milk. two, Eggs"),
        ("(about 21 °C)", "(about twenty-one degrees Celsius)"),
        ("\"Go,\" he said", "Go, he said"),
        ("the lamp's 60W bulb", "the lamp's sixty watt bulb"),
        ("$3.50, £2 and 50¢", "three dollars and fifty cents, two pounds and fifty cents"),
        ("100% sure", "one hundred percent sure"),
        ("at 9.", "at nine."),
        ("Wi-Fi and TV", "Wi-Fi and TV"),
    ];

    #[test]
    fn english_words() {
        let wrong: Vec<String> = CASES
            .iter()
            .map(|(text, expected)| (text, expected, speakable(text, "en_US")))
            .filter(|(_, expected, got)| got != *expected)
            .map(|(text, expected, got)| format!("{text:?}\n  expected {expected:?}\n  got      {got:?}"))
            .collect();
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    }

    fn check(cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            assert_eq!(speakable(text, "en_US"), *expected, "{text}");
        }
    }

    #[test]
    fn the_sun_is_no_sunday() {
        check(&[
            ("Here comes the sun.", "Here comes the sun."),
            ("The cat sat. It slept.", "The cat sat. It slept."),
            ("They were wed. All sang, fri. mon.", "They were wed. All sang, fri. mon."),
            ("We orbit the Sun. It is hot.", "We orbit the Sun. It is hot."),
            ("The Sun. 5 planets", "The Sun. five planets"),
            ("Sat. 28 is free", "Saturday twenty-eight is free"),
            ("on Sun. at 5", "on Sunday at five"),
            ("Sat., Nov. 28", "Saturday, November twenty-eighth"),
            ("Wed. Nov 25", "Wednesday November twenty-fifth"),
            ("It is closed on Sun.", "It is closed on Sunday."),
            ("Closed on Sun. Open on Mon.", "Closed on Sunday. Open on Monday."),
            ("Mon. to Fri.", "Monday to Friday."),
        ]);
    }

    #[test]
    fn units_before_a_noun_are_singular() {
        check(&[
            ("a 5 km run", "a five kilometer run"),
            ("the 250 ml bottle", "the two hundred fifty milliliter bottle"),
            ("Buy 60 W bulbs.", "Buy sixty watt bulbs."),
            ("a 5-10 km walk", "a five to ten kilometer walk"),
            ("250 ml milk", "two hundred fifty milliliters milk"),
            ("the 3 kg of flour", "the three kilograms of flour"),
            ("I ran 5 km today.", "I ran five kilometers today."),
            ("a 2 m² room", "a two square meter room"),
            ("the 5 km are over", "the five kilometers are over"),
            ("it's 5 kg heavier", "it's five kilograms heavier"),
            ("the 5 km.", "the five kilometers."),
        ]);
    }

    #[test]
    fn the_words_do_not_change_when_they_are_read_again() {
        for (text, _) in CASES {
            let once = speakable(text, "en_US");
            assert_eq!(speakable(&once, "en_US"), once, "{text}");
        }
    }

    #[test]
    fn no_digit_or_sign_is_left_in_english() {
        for (text, _) in CASES {
            let said = speakable(text, "en_US");
            assert!(!said.chars().any(|c| c.is_ascii_digit() || "%°$€£*#_/@&=".contains(c)), "{text} -> {said}");
        }
    }

    #[test]
    fn other_languages_are_only_cleaned() {
        assert_eq!(speakable("**Es sind 21,5 °C** um 18:05 👍", "de_DE"), "Es sind 21,5 °C um 18:05");
        assert_eq!(speakable("MP3 and H2O", "en_US"), "MP3 and H2O", "espeak-ng reads these itself");
        assert_eq!(speakable("3/4/2026", "en_GB"), "April third, twenty twenty-six");
        assert_eq!(speakable("3/4/2026", "en-us"), "March fourth, twenty twenty-six");
    }

    #[test]
    fn four_thousand_characters_take_no_time() {
        let text = "It is 21.5 °C at 18:05, **$3.50**, e.g. 👍 1,000 km/h. ".repeat(75);
        let said = speakable(&text, "en_US");
        assert!(said.len() > 4_000);
        assert_eq!(speakable(&"9".repeat(4_000), "en_US").split(' ').count(), 4_000);
        assert!(!speakable(&"(".repeat(4_000), "en_US").contains("  "));
    }

    proptest! {
        #[test]
        fn any_text_gives_one_line_and_no_panic(text in any::<String>(), language in "en_US|en_GB|de_DE|") {
            let said = speakable(&text, &language);
            prop_assert!(!said.contains('\n'));
        }

        #[test]
        fn any_jumble_of_signs_gives_one_line_and_no_panic(text in "[0-9.,:/$€£%°+*()TtcCFKkmhxs½²@#' -]{0,40}") {
            let said = speakable(&text, "en_US");
            prop_assert!(!said.contains('\n'));
        }
    }
}

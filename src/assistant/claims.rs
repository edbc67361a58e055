//! Does a sentence claim that something was done? A model that phrases may say so without having called anything (field
//! notes, S13). Pure: English words.

/// Beginnings of a claim about oneself, before one of [`DEEDS`].
const OWN: [&str; 5] = ["i've ", "i have ", "i ", "i just ", "i've just "];
/// What is claimed to be done.
const DEEDS: [&str; 24] = [
    "turned",
    "switched",
    "set",
    "opened",
    "closed",
    "locked",
    "unlocked",
    "started",
    "stopped",
    "dimmed",
    "brightened",
    "changed",
    "cancelled",
    "canceled",
    "paused",
    "armed",
    "disarmed",
    "added",
    "made",
    "ordered",
    "lowered",
    "raised",
    "adjusted",
    "activated",
];
/// Claims by themselves.
const WHOLE: [&str; 14] = [
    "done",
    "all done",
    "okay done",
    "ok done",
    "sure done",
    "turning on",
    "turning off",
    "switching on",
    "switching off",
    "timer set",
    "alarm set",
    "reminder set",
    "i'll remind you",
    "i will remind you",
];
/// States that follow "is now" or "are now".
const NOW: [&str; 10] = ["on", "off", "open", "closed", "locked", "unlocked", "set", "at", "playing", "running"];

/// Does one of these sentences claim that something was done? A question claims nothing.
pub(super) fn claims(text: &str) -> bool {
    let sentences = text.split_inclusive(['.', '!', '?', '\n']);
    sentences.into_iter().any(|sentence| !sentence.ends_with('?') && claims_itself(sentence))
}

fn claims_itself(sentence: &str) -> bool {
    let text = sentence.to_lowercase().replace('\u{2019}', "'");
    let words: Vec<&str> =
        text.split(|c: char| !(c.is_alphanumeric() || c == '\'')).filter(|w| !w.is_empty()).collect();
    let text = words.join(" ");
    let begins =
        |text: &str, what: &str| text.strip_prefix(what).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    let anywhere = |what: &str| {
        begins(&text, what) || text.match_indices(&format!(" {what}")).any(|(at, _)| begins(&text[at + 1..], what))
    };
    let own = OWN.iter().any(|own| DEEDS.iter().any(|deed| anywhere(&format!("{own}{deed}"))));
    let passive =
        ["has been ", "have been "].iter().any(|been| DEEDS.iter().any(|deed| anywhere(&format!("{been}{deed}"))));
    let now = ["is now ", "are now "].iter().any(|is| NOW.iter().any(|state| anywhere(&format!("{is}{state}"))));
    let whole = WHOLE.iter().any(|whole| if whole.ends_with("done") { text == *whole } else { anywhere(whole) });
    own || passive || now || whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_that_claim_a_deed() {
        let check = |sentence: &str, expected: bool| assert_eq!(claims(sentence), expected, "{sentence}");
        for claim in [
            "I turned on the light.",
            "I've set the kitchen light to 40 percent!",
            "I\u{2019}ve switched it off.",
            "Okay, turning on the lamp.",
            "The light is now on.",
            "The blinds have been closed.",
            "Done!",
            "All done.",
            "Your timer set for five minutes.",
            "I'll remind you tomorrow.",
            "I turned it on. Anything else?",
        ] {
            check(claim, true);
        }
        for other in [
            "",
            "Hello.",
            "Which light do you mean?",
            "I cannot open the garage.",
            "I did not do that.",
            "A spider has eight legs.",
            "Paris has been the capital since 508.",
            "It is on.",
            "What shall I set?",
            "That cannot be undone.",
            "I settled on tea.",
        ] {
            check(other, false);
        }
    }
}

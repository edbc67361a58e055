//! How long a pause has to last to be the end of a command, by what the drafts made of it. Pure.
//!
//! A call that two drafts in a row come to is a command that is whole: it may end sooner. A draft that comes to nothing says
//! that the command is not whole yet, or is none: it may take longer. All else ends after the usual silence. A draft is
//! made at the first short silence; the second one halfway from there to the early end, so it hears more of the silence than
//! the first. A second one is made only if the first was whole by then, so that it fits before the early end if it takes no
//! longer: a machine that is slower than that ends as usual, and no draft of it is dropped for another. Where somebody has
//! spoken in between and the call is still the same ("please"), no further draft is needed.

use crate::dialogue::{Drafted, ToolCall};
use crate::listen::segment::PAUSE;

/// The silence of the first draft in a pause, in ms.
const FIRST_MS: u32 = (PAUSE / 16) as u32;

/// When commands end sooner or later than after the usual silence; not set, they never do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndSilences {
    /// After a call that two drafts in a row came to, in ms.
    pub early_ms: Option<u32>,
    /// After a draft that came to nothing, in ms.
    pub late_ms: Option<u32>,
}

/// What is wished of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// This pause is the end when it has lasted so long, in ms.
    EndAfter(u32),
    /// Another draft when this pause has lasted so long, in ms.
    DraftAt(u32),
}

/// The drafts of one turn.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    /// What the last one came to.
    last: Vec<ToolCall>,
    /// Was a further one wished for in this pause? Drafts that differ within a pause are not asked a third time.
    asked: bool,
}

impl Drafts {
    /// Somebody speaks again.
    pub(super) fn resumed(&mut self) {
        self.asked = false;
    }

    /// A draft is decoded to its end.
    pub(super) fn come_to(&mut self, drafted: Drafted, silences: EndSilences) -> Option<Wish> {
        let calls = match drafted {
            Drafted::Calls(calls) => calls,
            Drafted::Nothing => {
                self.last.clear();
                return silences.late_ms.map(Wish::EndAfter);
            }
            Drafted::Other => Vec::new(),
        };
        let repeats = !calls.is_empty() && calls == self.last;
        self.last = calls;
        let early_ms = silences.early_ms.filter(|_| !self.last.is_empty())?;
        if repeats {
            return Some(Wish::EndAfter(early_ms));
        }
        let at_ms = FIRST_MS + early_ms.saturating_sub(FIRST_MS) / 2;
        (!std::mem::replace(&mut self.asked, true)).then_some(Wish::DraftAt(at_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::Arguments;

    const BOTH: EndSilences = EndSilences { early_ms: Some(400), late_ms: Some(1200) };

    /// Drafts as letters: `-` nothing, `?` other, `/` somebody speaks, else a call for each letter of a word. Wishes as
    /// `400` and `@304`, `.` for none.
    fn wishes(silences: EndSilences, drafts: &str) -> String {
        let mut turn = Drafts::default();
        let call = |letter: char| ToolCall::new(letter, Arguments::new());
        let mut wishes = Vec::new();
        for draft in drafts.split(' ') {
            let drafted = match draft {
                "/" => {
                    turn.resumed();
                    continue;
                }
                "-" => Drafted::Nothing,
                "?" => Drafted::Other,
                word => Drafted::Calls(word.chars().map(call).collect()),
            };
            wishes.push(match turn.come_to(drafted, silences) {
                None => ".".to_owned(),
                Some(Wish::EndAfter(ms)) => ms.to_string(),
                Some(Wish::DraftAt(ms)) => format!("@{ms}"),
            });
        }
        wishes.join(" ")
    }

    #[test]
    fn a_call_that_is_repeated_ends_sooner_and_nothing_ends_later() {
        let check = |drafts: &str, expected: &str| assert_eq!(wishes(BOTH, drafts), expected, "{drafts}");
        check("a a", "@304 400");
        check("-", "1200");
        check("?", ".");
        // Speech that changed nothing, and speech that did.
        check("a / a", "@304 400");
        check("a / b b", "@304 @304 400");
        check("a a / b b", "@304 400 @304 400");
        check("- / a a", "1200 @304 400");
        check("a / - / a a", "@304 1200 @304 400");
        check("a / ? / a", "@304 . @304");
        // The same number of calls are not the same calls.
        check("ab ab", "@304 400");
        check("ab a", "@304 .");
        check("ab ba", "@304 .");
        // Whoever wavers waits for the usual silence.
        check("a b a", "@304 . .");
        check("a b b", "@304 . 400");
        check("a -", "@304 1200");
    }

    #[test]
    fn what_is_not_set_never_happens() {
        let check = |silences: EndSilences, drafts: &str, expected: &str| {
            assert_eq!(wishes(silences, drafts), expected, "{silences:?} {drafts}");
        };
        check(EndSilences::default(), "a a - ? a", ". . . . .");
        check(EndSilences { late_ms: None, ..BOTH }, "a a / -", "@304 400 .");
        check(EndSilences { early_ms: None, ..BOTH }, "a a / -", ". . 1200");
        // Sooner than the first draft nothing can end.
        check(EndSilences { early_ms: Some(100), ..BOTH }, "a a", "@208 100");
    }
}

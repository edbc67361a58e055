//! Hearing piece by piece against hearing at once: the same calls, or which choice came out otherwise. Pure.

use std::fmt;

use serde::Serialize;

use super::{Call, spelled};

/// A token that was chosen, and by how much its logit was above the next one's.
pub type Chosen = (u32, f32);

/// A clip whose calls differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// File, relative to the folder.
    pub file: String,
    /// Calls when all was heard at once.
    pub batch: Vec<Call>,
    /// Calls when it was heard piece by piece.
    pub streamed: Vec<Call>,
    /// Gap between the two best logits where the first token differs: at once, piece by piece.
    pub gaps: Option<(f32, f32)>,
}

/// How many clips give the same calls either way.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Streamed {
    /// Clips compared.
    pub clips: usize,
    /// Those of them with identical calls.
    pub identical: usize,
    /// Drafts that were made in all, the last one of each clip among them.
    pub drafts: usize,
    /// The others.
    pub differences: Vec<Difference>,
}

impl Streamed {
    /// Adds a clip: calls and choices when it was heard at once, and piece by piece.
    pub fn add(&mut self, file: &str, batch: (Vec<Call>, &[Chosen]), streamed: (Vec<Call>, &[Chosen])) {
        self.clips += 1;
        if batch.0 == streamed.0 {
            self.identical += 1;
            return;
        }
        let first = batch.1.iter().zip(streamed.1).find(|(a, b)| a.0 != b.0);
        let gaps = first.map(|(a, b)| (a.1, b.1));
        self.differences.push(Difference { file: file.to_owned(), batch: batch.0, streamed: streamed.0, gaps });
    }
}

impl fmt::Display for Streamed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clips, identical, drafts, differences } = self;
        write!(out, "{identical} of {clips} identical to batch, with {drafts} drafts")?;
        for Difference { file, batch, streamed, gaps } in differences {
            write!(out, "\n{file}: at once {}, streamed {}", spelled(batch), spelled(streamed))?;
            if let Some((batch, streamed)) = gaps {
                write!(out, "; logits {batch:.3} and {streamed:.3} apart")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    #[test]
    fn a_difference_names_the_choice_that_came_out_otherwise() {
        let call = |name: &str| Call { intent: name.to_owned(), slots: Map::new() };
        let mut streamed = Streamed { drafts: 3, ..Streamed::default() };
        let same = vec![call("stop")];
        streamed.add("1.wav", (same.clone(), &[(1, 2.0)]), (same, &[(1, 1.5)]));
        let batch: [Chosen; 3] = [(1, 9.0), (2, 0.01), (4, 5.0)];
        streamed.add("2.wav", (vec![call("open")], &batch), (Vec::new(), &[(1, 9.0), (3, 0.02)]));
        let text = streamed.to_string();
        assert_eq!(
            text,
            "1 of 2 identical to batch, with 3 drafts\n\
             2.wav: at once open {}, streamed nothing; logits 0.010 and 0.020 apart"
        );
    }
}

//! Stopgap grammar.
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::SimpleVob;
use llguidance::{Matcher, ParserFactory};
use thiserror::Error;

use super::tokenizer::Tokenizer;
use crate::dialogue::{Kind, ToolSpec};

/// Error.
#[derive(Debug, Error)]
#[error("grammar: {0}")]
pub struct GrammarError(String);

/// Answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// None.
    StopOnly,
    /// Text.
    Text,
}

/// Compiled.
pub struct Grammar {
    start: Matcher,
}

/// Running.
pub struct Decoding {
    matcher: Matcher,
    mask: SimpleVob,
}

impl Grammar {
    /// Compiles.
    pub fn compile(tokenizer: &Tokenizer, tools: &[ToolSpec], answers: Answers) -> Result<Self, GrammarError> {
        let s = tokenizer.special();
        let q = format!("<[{}]>", s.quote);
        let mut lark = String::new();
        let answer = if answers == Answers::Text { "TEXT " } else { "" };
        lark.push_str(&format!(
            "start: answer | call+ <[{}]>\nanswer: {answer}<[{}]>\n",
            s.tool_response_open, s.turn_close
        ));
        lark.push_str("TEXT: /(.|\\n)+/\n");
        let names: Vec<String> = (0..tools.len()).map(|i| format!("tool{i}")).collect();
        lark.push_str(&format!(
            "call: <[{}]> \"call:\" ({}) <[{}]>\n",
            s.tool_call_open,
            names.join(" | "),
            s.tool_call_close
        ));
        for (i, tool) in tools.iter().enumerate() {
            lark.push_str(&format!("tool{i}: \"{}{{\" t{i}f0 \"}}\"\n", tool.name));
            let n = tool.parameters.len();
            for (j, p) in tool.parameters.iter().enumerate() {
                let value = match &p.kind {
                    Kind::Choice(c) => {
                        let c: Vec<String> = c.iter().map(|c| format!("\"{c}\"")).collect();
                        format!("{q} ({}) {q}", c.join(" | "))
                    }
                    Kind::Integer { .. } => "/[0-9]{1,3}/".into(),
                    other => return Err(GrammarError(format!("{other:?}"))),
                };
                let skip = |l: &str| if p.required { String::new() } else { format!(" | t{i}{l}{}", j + 1) };
                lark.push_str(&format!("t{i}f{j}: \"{}:\" {value} t{i}n{}{}\n", p.name, j + 1, skip("f")));
                lark.push_str(&format!("t{i}n{j}: \",{}:\" {value} t{i}n{}{}\n", p.name, j + 1, skip("n")));
            }
            lark.push_str(&format!("t{i}f{n}: \"\"\nt{i}n{n}: \"\"\n"));
        }
        let err = |e: anyhow::Error| GrammarError(format!("{e:#}"));
        let mut factory = ParserFactory::new_simple(&tokenizer.env()).map_err(err)?;
        factory.quiet();
        let parser = factory.create_parser(TopLevelGrammar::from_lark(lark)).map_err(err)?;
        Ok(Self { start: Matcher::new(Ok(parser)) })
    }

    /// Starts.
    pub fn start(&self) -> Decoding {
        Decoding { matcher: self.start.deep_clone(), mask: SimpleVob::new() }
    }
}

impl Decoding {
    /// Mask.
    pub fn mask(&mut self) -> Result<&[u32], GrammarError> {
        self.mask = self.matcher.compute_mask().map_err(|e| GrammarError(e.to_string()))?;
        Ok(self.mask.as_slice())
    }
    /// Accept.
    pub fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        self.matcher.consume_token(token).map_err(|e| GrammarError(e.to_string()))
    }
    /// Forced.
    pub fn forced(&mut self) -> Result<Vec<u32>, GrammarError> {
        Ok(self.matcher.consume_ff_tokens())
    }
}

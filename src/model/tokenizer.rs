//! Text to token ids and back, from the `tokenizer.json` of a model folder, and the ids of the special tokens.
//!
//! Knows nothing of prompts or calls. Reads one file when it is loaded, nothing after. A [`Tokenizer`] is a handle:
//! clones share the tables. It belongs to the inference thread, but any thread may hold a clone.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use llguidance::toktrie::{TokRxInfo, TokTrie, TokenizerEnv};
use tokenizers::{DecoderWrapper, Model};

pub use llguidance::toktrie::TokEnv;

mod file;

/// Why a tokenizer could not be loaded. All three mean: fetch or repair the model folder.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file is not there or cannot be read.
    #[error("cannot read the tokenizer {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is there, but no tokenizer that can be used.
    #[error("{} is not a usable tokenizer: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Special tokens of Gemma's dialect are missing.
    #[error("the tokenizer {} lacks the special tokens {}", path.display(), names.join(" "))]
    NoSpecial {
        /// The file.
        path: PathBuf,
        /// All that are missing.
        names: Vec<&'static str>,
    },
}

/// Ids of the special tokens that hearth itself writes or reads. Beside each, its name in `tokenizer.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Special {
    /// `<pad>`
    pub pad: u32,
    /// `<eos>`
    pub eos: u32,
    /// `<bos>`
    pub bos: u32,
    /// `<|turn>`
    pub turn_open: u32,
    /// `<turn|>`: the model has ended its turn.
    pub turn_close: u32,
    /// `<|tool_call>`
    pub tool_call_open: u32,
    /// `<tool_call|>`
    pub tool_call_close: u32,
    /// `<|tool_response>`: the model has made its calls and waits.
    pub tool_response_open: u32,
    /// `<tool_response|>`
    pub tool_response_close: u32,
    /// `<|"|>`: begins and ends a string in a call.
    pub quote: u32,
    /// `<|channel>`
    pub channel_open: u32,
    /// `<channel|>`
    pub channel_close: u32,
    /// `<|audio>`
    pub audio_open: u32,
    /// `<|audio|>`: the place of one audio row.
    pub audio: u32,
    /// `<audio|>`
    pub audio_close: u32,
}

/// A loaded tokenizer.
#[derive(Clone)]
pub struct Tokenizer {
    tables: Arc<Tables>,
    special: Special,
    marks: Arc<[bool]>,
}

/// What clones share.
struct Tables {
    words: tokenizers::Tokenizer,
    trie: TokTrie,
}

impl Tables {
    fn ids(&self, text: &str) -> Vec<u32> {
        match self.words.encode_fast(text, false) {
            Ok(encoding) => encoding.get_ids().to_vec(),
            // BPE with single bytes as the last resort has an id for every text (checked at load).
            Err(_) => Vec::new(),
        }
    }
}

/// What constrained decoding asks for.
impl TokenizerEnv for Tables {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| self.ids(text))
    }

    fn tokenize_bytes_special(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie
            .tokenize_with_greedy_fallback(bytes, |text| self.trie.tokenize_with_special(text, |text| self.ids(text)))
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("size", &self.size()).field("special", &self.special).finish()
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. Takes a second for the vocabulary of Gemma 4 (262,144 tokens), milliseconds for a
    /// small one.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        let json =
            std::fs::read(path).map_err(|source| TokenizerError::Unreadable { path: path.to_owned(), source })?;
        Self::from_json(json, path)
    }

    /// The same from the file's content; `path` is for messages only.
    pub fn from_json(json: Vec<u8>, path: &Path) -> Result<Self, TokenizerError> {
        let damaged = |reason: String| TokenizerError::Damaged { path: path.to_owned(), reason };
        let words = file::read(json).map_err(damaged)?;
        let marks = marks(&words);
        let pieces = pieces(&words, &marks).map_err(damaged)?;
        let special =
            find_special(&words).map_err(|names| TokenizerError::NoSpecial { path: path.to_owned(), names })?;
        let trie = TokTrie::from(&TokRxInfo::new(pieces.len() as u32, special.eos), &pieces);
        Ok(Self { tables: Arc::new(Tables { words, trie }), special, marks })
    }

    /// Ids of `text`. Special tokens that stand in it by name become their ids; nothing is put in front.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.tables.ids(text)
    }

    /// The id of a token by its name in `tokenizer.json`.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.tables.words.token_to_id(name)
    }

    /// The bytes of text that a token stands for: empty for a special token and for an id outside the vocabulary.
    /// They may begin or end inside a character.
    pub fn piece(&self, id: u32) -> &[u8] {
        match self.marks.get(id as usize) {
            Some(false) => self.tables.trie.token(id),
            _ => &[],
        }
    }

    /// The name of a token in `tokenizer.json`.
    pub fn name(&self, id: u32) -> Option<String> {
        self.tables.words.id_to_token(id)
    }

    /// Is this a special token, which is never text?
    pub fn is_special(&self, id: u32) -> bool {
        self.marks.get(id as usize).copied().unwrap_or(false)
    }

    /// Readable text of `ids`, special tokens by name: for messages and logs.
    pub fn show(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &id in ids {
            if self.is_special(id) {
                bytes.extend(self.name(id).unwrap_or_default().into_bytes());
            } else {
                bytes.extend_from_slice(self.piece(id));
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Ids of the special tokens.
    pub fn special(&self) -> &Special {
        &self.special
    }

    /// Number of tokens; ids are `0..size`. The logits of a graph may be wider: ids from `size` on never stand for anything.
    pub fn size(&self) -> usize {
        self.marks.len()
    }

    /// The tables in the form that constrained decoding wants.
    pub fn env(&self) -> TokEnv {
        self.tables.clone()
    }
}

/// Which ids are special tokens, for every id there is.
fn marks(words: &tokenizers::Tokenizer) -> Arc<[bool]> {
    let added = words.get_added_tokens_decoder();
    // Added tokens may be in the vocabulary too.
    let beside = added.values().filter(|token| words.get_model().token_to_id(&token.content).is_none()).count();
    let size = words.get_vocab_size(false) + beside;
    (0..size as u32).map(|id| added.get(&id).is_some_and(is_mark)).collect()
}

/// Added tokens of the form `<...>` are special even where the file does not say so: no text is to contain them.
fn is_mark(token: &tokenizers::AddedToken) -> bool {
    token.special || (token.content.starts_with('<') && token.content.ends_with('>'))
}

/// The bytes that each token stands for; of a special token its name, marked as no text.
fn pieces(words: &tokenizers::Tokenizer, marks: &[bool]) -> Result<Vec<Vec<u8>>, String> {
    let decoder = words.get_decoder().filter(|decoder| falls_back_to_bytes(decoder));
    let decoder = decoder.ok_or("its decoder does not fall back to single bytes")?;
    let space = space(decoder).unwrap_or_else(|| " ".to_owned());
    let mut pieces = Vec::with_capacity(marks.len());
    let mut bytes_seen = 0;
    for (id, &mark) in marks.iter().enumerate() {
        let Some(name) = words.id_to_token(id as u32) else {
            return Err(format!("it has {} tokens, but none with the id {id}", marks.len()));
        };
        pieces.push(if mark {
            [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat()
        } else if let Some(value) = name.strip_prefix("<0x") {
            bytes_seen += 1;
            vec![byte(value).ok_or_else(|| format!("token {id} is called {name}, which is no byte"))?]
        } else if name.contains(&space) {
            name.replace(&space, " ").into_bytes()
        } else {
            name.into_bytes()
        });
    }
    match bytes_seen {
        256 => Ok(pieces),
        _ => Err(format!("it falls back to single bytes, but has tokens for {bytes_seen} of 256")),
    }
}

/// The byte of a token `<0x41>`, from its digits on.
fn byte(value: &str) -> Option<u8> {
    let digits = value.strip_suffix('>').filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

fn falls_back_to_bytes(decoder: &DecoderWrapper) -> bool {
    match decoder {
        DecoderWrapper::ByteFallback(_) => true,
        DecoderWrapper::Sequence(parts) => parts.get_decoders().iter().any(falls_back_to_bytes),
        _ => false,
    }
}

/// What stands for a space in the names of tokens, if anything does.
fn space(decoder: &DecoderWrapper) -> Option<String> {
    match decoder {
        // The library shows the pattern in no other way.
        DecoderWrapper::Replace(it) if it.content == " " => {
            serde_json::to_value(it).ok()?["pattern"]["String"].as_str().map(String::from)
        }
        DecoderWrapper::Sequence(parts) => parts.get_decoders().iter().find_map(space),
        _ => None,
    }
}

/// The ids of the special tokens, or the names of all that are missing.
fn find_special(words: &tokenizers::Tokenizer) -> Result<Special, Vec<&'static str>> {
    let added = words.get_added_tokens_decoder();
    let mut missing = Vec::new();
    let mut find = |name: &'static str| {
        let id = words.token_to_id(name).filter(|id| added.contains_key(id));
        id.unwrap_or_else(|| {
            missing.push(name);
            0
        })
    };
    let special = Special {
        pad: find("<pad>"),
        eos: find("<eos>"),
        bos: find("<bos>"),
        turn_open: find("<|turn>"),
        turn_close: find("<turn|>"),
        tool_call_open: find("<|tool_call>"),
        tool_call_close: find("<tool_call|>"),
        tool_response_open: find("<|tool_response>"),
        tool_response_close: find("<tool_response|>"),
        quote: find("<|\"|>"),
        channel_open: find("<|channel>"),
        channel_close: find("<channel|>"),
        audio_open: find("<|audio>"),
        audio: find("<|audio|>"),
        audio_close: find("<audio|>"),
    };
    if missing.is_empty() { Ok(special) } else { Err(missing) }
}

/// A small tokenizer with Gemma's special tokens, all bytes, printable ASCII and a few merges, for tests.
#[cfg(test)]
pub(crate) mod tiny {
    use super::*;
    use serde_json::{Value, json};

    /// Names of the special tokens, ids in this order.
    pub const SPECIAL: [&str; 24] = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        "<mask>",
        "<|tool>",
        "<tool|>",
        "<|tool_call>",
        "<tool_call|>",
        "<|tool_response>",
        "<tool_response|>",
        "<|\"|>",
        "<|think|>",
        "<|channel>",
        "<channel|>",
        "<|turn>",
        "<turn|>",
        "<|image>",
        "<|audio>",
        "<|image|>",
        "<|audio|>",
        "<image|>",
        "<audio|>",
        "<|video|>",
    ];

    const MERGES: [(&str, &str); 14] = [
        ("c", "a"),
        ("l", "l"),
        ("ca", "ll"),
        ("call", ":"),
        ("t", "u"),
        ("tu", "r"),
        ("tur", "n"),
        ("turn", "_"),
        ("}", ","),
        (":", "1"),
        ("k", "i"),
        ("{", "ki"),
        ("▁", "t"),
        ("1", "0"),
    ];

    pub fn json(leave_out: &[&str]) -> Value {
        let mut names: Vec<String> = SPECIAL.map(String::from).to_vec();
        names.retain(|name| !leave_out.contains(&name.as_str()));
        let added: Vec<Value> = names
            .iter()
            .enumerate()
            .map(|(id, name)| {
                json!({"id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false,
                       "normalized": false, "special": true})
            })
            .collect();
        names.extend((0..=255u8).map(|b| format!("<0x{b:02X}>")));
        names.extend(('!'..='~').map(String::from));
        names.extend(["▁", "\n", "é"].map(String::from));
        names.extend(MERGES.iter().map(|(a, b)| format!("{a}{b}")));
        let vocab: serde_json::Map<String, Value> =
            names.into_iter().enumerate().map(|(id, name)| (name, json!(id))).collect();
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            "pre_tokenizer": null, "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
            "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "vocab": vocab, "merges": MERGES.map(|(a, b)| [a, b])}
        })
    }

    pub fn tokenizer() -> Tokenizer {
        let json = json(&[]).to_string();
        Tokenizer::from_json(json.into(), Path::new("tiny.json")).expect("the json above is sound")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_from_its_ids() {
        let words = tiny::tokenizer();
        for text in ["", "call:turn_on", " two  spaces ", "naïve 🦙 é\n", "ŵ"] {
            let ids = words.encode(text);
            let bytes: Vec<u8> = ids.iter().flat_map(|&id| words.piece(id).to_vec()).collect();
            assert_eq!(String::from_utf8(bytes).expect("whole text"), text);
        }
    }

    #[test]
    fn special_tokens_are_found_in_text_and_are_no_text() {
        let words = tiny::tokenizer();
        let special = *words.special();
        let ids = words.encode("<bos><|turn>user\n<|audio><|audio|><audio|>");
        assert_eq!(ids[..2], [special.bos, special.turn_open]);
        assert_eq!(ids[ids.len() - 2..], [special.audio, special.audio_close]);
        assert!(words.is_special(special.quote) && words.piece(special.quote).is_empty());
        assert_eq!(words.show(&ids), "<bos><|turn>user\n<|audio><|audio|><audio|>");
        assert!(words.piece(u32::MAX).is_empty() && !words.is_special(u32::MAX));
    }

    fn check(json: &str, expected: &str) {
        let error = Tokenizer::from_json(json.into(), Path::new("t.json")).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn damage_is_named() {
        check("", "t.json is not a usable tokenizer");
        check("{\"version\": 1}", "t.json is not a usable tokenizer");
        check(&tiny::json(&["<|\"|>", "<bos>"]).to_string(), "lacks the special tokens <bos> <|\"|>");
        let mut json = tiny::json(&[]);
        json["model"]["vocab"]["hole"] = 5000.into();
        check(&json.to_string(), "none with the id");
        let mut json = tiny::json(&[]);
        json["decoder"] = serde_json::Value::Null;
        check(&json.to_string(), "decoder");
        let text = tiny::json(&[]).to_string().replace("<0x41>", "<0xZZ>");
        check(&text, "which is no byte");
        let error = Tokenizer::load(Path::new("/nowhere/tokenizer.json")).expect_err("no file");
        assert!(error.to_string().contains("/nowhere/tokenizer.json"), "{error}");
    }
}

//! `tokenizer.json` as the library's type.
//!
//! The library finds out in which of two forms the merges are by keeping all that it read and trying both. So a file of
//! the form that Gemma has is read here, and its parts are handed to the library; any other is left to it.

use serde::Deserialize;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer};

/// Reads the content of a `tokenizer.json` of any kind.
pub fn read(json: Vec<u8>) -> Result<Tokenizer, String> {
    // A file of another form is known for one at the beginning of its vocabulary, a damaged one at its damage.
    let Ok(file) = serde_json::from_slice::<File>(&json) else {
        return Tokenizer::from_bytes(&json).map_err(|e| e.to_string());
    };
    // Building takes the most memory.
    drop(json);
    file.build().map_err(|e| e.to_string())
}

/// A file of the form that Gemma has. What it leaves empty must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "version")]
    _version: Version,
    #[serde(rename = "truncation")]
    _truncation: Option<()>,
    #[serde(rename = "padding")]
    _padding: Option<()>,
    added_tokens: Vec<AddedToken>,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    post_processor: Option<PostProcessorWrapper>,
    decoder: Option<DecoderWrapper>,
    model: Model,
}

#[derive(Deserialize)]
enum Version {
    #[serde(rename = "1.0")]
    One,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    #[serde(rename = "type")]
    _kind: Kind,
    #[serde(rename = "dropout")]
    _dropout: Option<()>,
    #[serde(rename = "continuing_subword_prefix")]
    _prefix: Option<()>,
    #[serde(rename = "end_of_word_suffix")]
    _suffix: Option<()>,
    unk_token: Option<String>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: Vocab,
    merges: Vec<(String, String)>,
}

#[derive(Deserialize)]
enum Kind {
    #[serde(rename = "BPE")]
    Merges,
}

impl File {
    fn build(self) -> tokenizers::Result<Tokenizer> {
        let mut words = Tokenizer::new(self.model.build()?);
        words
            .with_normalizer(self.normalizer)
            .with_pre_tokenizer(self.pre_tokenizer)
            .with_post_processor(self.post_processor)
            .with_decoder(self.decoder);
        words.add_tokens(&self.added_tokens);
        Ok(words)
    }
}

impl Model {
    fn build(self) -> tokenizers::Result<BPE> {
        let builder = BPE::builder()
            .vocab_and_merges(self.vocab, self.merges)
            .fuse_unk(self.fuse_unk)
            .byte_fallback(self.byte_fallback)
            .ignore_merges(self.ignore_merges);
        match self.unk_token {
            Some(name) => builder.unk_token(name).build(),
            None => builder.build(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tokenizer::tiny;

    #[test]
    fn it_is_what_the_library_reads() {
        let json = tiny::json(&[]).to_string();
        let ours = serde_json::from_str::<File>(&json).expect("the form of Gemma").build().expect("sound");
        let theirs = Tokenizer::from_bytes(&json).expect("sound");
        let written = |words: &Tokenizer| words.to_string(false).expect("it can be written");
        assert_eq!(written(&ours), written(&theirs));
    }

    #[test]
    fn what_is_not_known_here_is_left_to_the_library() {
        let mut json = tiny::json(&[]);
        json["model"]["dropout"] = 0.5.into();
        assert!(serde_json::from_value::<File>(json.clone()).is_err());
        let words = read(json.to_string().into()).expect("the library knows it");
        assert!(words.to_string(false).expect("it can be written").contains("\"dropout\":0.5"));
    }
}

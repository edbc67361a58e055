//! What the hub has: its listing of files, what is known of them beforehand, and which of them hearth takes. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::FetchError;

/// The models that `hearth model fetch` knows, with pinned revisions, and bytes and sums as far as they are known.
const KNOWN: &str = include_str!("known.json");
/// What lies beside the graphs; all but the last two are needed.
const SIDE_FILES: [&str; 5] =
    ["config.json", "processor_config.json", "tokenizer.json", "generation_config.json", "tokenizer_config.json"];
/// How many of [`SIDE_FILES`] must be there.
const NEEDED_SIDE_FILES: usize = 3;
/// Embeddings and decoder: 4 bit with f32 keys and values, which run fastest on a CPU.
const WEIGHTS: &str = "_q4";
/// The audio encoder is the part most sensitive to precision: 8 bit, else fp16, else 4 bit.
const ENCODERS: [&str; 3] = ["_quantized", "_fp16", "_q4"];
/// Most data files of one graph.
const MAX_SHARDS: usize = 64;

/// A model as it is pinned.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Known {
    /// `owner/name` on the hub.
    pub repository: String,
    /// Commit.
    pub revision: String,
    /// Files of which something is known.
    pub files: BTreeMap<String, KnownFile>,
}

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct KnownFile {
    /// Length.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: Option<String>,
}

impl Known {
    /// The model of that name.
    ///
    /// # Errors
    /// [`FetchError::NoSuchModel`].
    pub fn named(name: &str) -> Result<Self, FetchError> {
        let mut all: BTreeMap<String, Self> = serde_json::from_str(KNOWN).expect("a test reads it");
        let names = all.keys().cloned().collect::<Vec<_>>().join(", ");
        all.remove(name).ok_or_else(|| FetchError::NoSuchModel { name: name.to_owned(), names })
    }
}

/// What the bytes of a file must come to.
#[derive(Debug, Clone, PartialEq)]
pub enum Sum {
    /// Large files: SHA-256.
    Sha256(String),
    /// Small files, kept in git itself: SHA-1 of the blob.
    GitBlob(String),
    /// A folder without a record of sums.
    Unknown,
}

/// A file of the hub.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Path, such as `onnx/embed_tokens_q4.onnx`.
    pub path: String,
    /// Length.
    pub bytes: u64,
    /// Checksum.
    pub sum: Sum,
}

/// Reads one page of the hub's tree listing; folders are left out.
///
/// # Errors
/// [`FetchError::Listing`] when it is none.
pub fn parse(page: &str) -> Result<Vec<Entry>, FetchError> {
    #[derive(Deserialize)]
    struct Lfs {
        oid: String,
        size: u64,
    }
    #[derive(Deserialize)]
    struct Row {
        r#type: String,
        path: String,
        oid: String,
        #[serde(default)]
        size: u64,
        lfs: Option<Lfs>,
    }
    let rows: Vec<Row> =
        serde_json::from_str(page).map_err(|error| FetchError::Listing(format!("it cannot be read: {error}")))?;
    let files = rows.into_iter().filter(|row| row.r#type == "file");
    let entry = |row: Row| match row.lfs {
        Some(lfs) => Entry { path: row.path, bytes: lfs.size, sum: Sum::Sha256(lfs.oid) },
        None => Entry { path: row.path, bytes: row.size, sum: Sum::GitBlob(row.oid) },
    };
    Ok(files.map(entry).collect())
}

/// Holds the listing against what is known. With `whole`, every known file must be in it.
///
/// # Errors
/// [`FetchError::Listing`] with the first difference.
pub fn agree(entries: &[Entry], known: &Known, whole: bool) -> Result<(), FetchError> {
    for (path, file) in &known.files {
        let wrong = |what: String| Err(FetchError::Listing(format!("{path} {what}: this is not the pinned revision")));
        match entries.iter().find(|entry| entry.path == *path) {
            None if whole => return wrong("is not in it".into()),
            None => {}
            Some(entry) if entry.bytes != file.bytes => {
                return wrong(format!("has {} bytes there, and should have {}", entry.bytes, file.bytes));
            }
            Some(Entry { sum: Sum::Sha256(sum), .. }) if file.sha256.as_ref().is_some_and(|known| known != sum) => {
                return wrong("has another SHA-256 there than is known".into());
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The files that hearth takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Them.
    pub files: Vec<Entry>,
    /// What the audio encoder's precision is called there.
    pub encoder: &'static str,
}

/// Chooses the files: embeddings and decoder in 4 bit, the audio encoder in 8 bit, fp16 or 4 bit, what lies beside them.
///
/// # Errors
/// [`FetchError::Listing`] when one is not there; it says which layout was found instead, if that can be told.
pub fn choose(entries: &[Entry]) -> Result<Choice, FetchError> {
    let has = |path: &str| entries.iter().find(|entry| entry.path == path).cloned();
    let encoder = ENCODERS.into_iter().find(|suffix| has(&format!("onnx/audio_encoder{suffix}.onnx")).is_some());
    let decoder = has(&format!("onnx/decoder_model_merged{WEIGHTS}.onnx"));
    let (Some(encoder), Some(_)) = (encoder, decoder) else {
        let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
        let what = match crate::model::manifest::foreign_layout(&paths) {
            Some(what) => format!("it is {what}, and hearth needs the onnx-community layout"),
            None => format!("it has no onnx/decoder_model_merged{WEIGHTS}.onnx with an audio encoder beside it"),
        };
        return Err(FetchError::Listing(what));
    };
    let mut files = Vec::new();
    for (at, path) in SIDE_FILES.into_iter().enumerate() {
        match has(path) {
            Some(entry) => files.push(entry),
            None if at < NEEDED_SIDE_FILES => return Err(FetchError::Listing(format!("{path} is not in it"))),
            None => {}
        }
    }
    for graph in
        [format!("audio_encoder{encoder}"), format!("embed_tokens{WEIGHTS}"), format!("decoder_model_merged{WEIGHTS}")]
    {
        let graph = format!("onnx/{graph}.onnx");
        files.push(has(&graph).ok_or_else(|| FetchError::Listing(format!("{graph} is not in it")))?);
        let name = |shard| if shard == 0 { format!("{graph}_data") } else { format!("{graph}_data_{shard}") };
        files.extend((0..MAX_SHARDS).map_while(|shard| has(&name(shard))));
    }
    Ok(Choice { files, encoder: encoder.trim_start_matches('_') })
}

/// Data files that a graph names and that are not among `files`: names as they stand in it.
pub fn missing_data(graph: &[u8], files: &[String]) -> Vec<String> {
    let mark = b".onnx_data";
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let mut missing: Vec<String> = Vec::new();
    for at in graph.windows(mark.len()).enumerate().filter(|(_, window)| window == mark).map(|(at, _)| at) {
        let start = at - graph[..at].iter().rev().take_while(|byte| is_name(byte)).count();
        let rest = &graph[at + mark.len()..];
        // A number after an underscore, and nothing that happens to follow in the file.
        let digits = rest.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
        let end = at + mark.len() + if rest.first() == Some(&b'_') && digits > 0 { 1 + digits } else { 0 };
        // The length of a string stands before it, and may look like one of its letters.
        let name = String::from_utf8_lossy(&graph[start..end]).into_owned();
        let known = files.iter().any(|file| name.ends_with(file.as_str()) && name.len() <= file.len() + 1);
        if !known && !missing.contains(&name) {
            missing.push(name);
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, bytes: u64) -> Entry {
        Entry { path: path.to_owned(), bytes, sum: Sum::Sha256(format!("sum of {path}")) }
    }

    fn published(encoders: &[&str]) -> Vec<Entry> {
        let mut paths: Vec<String> = SIDE_FILES.map(str::to_owned).to_vec();
        for graph in ["embed_tokens_q4", "decoder_model_merged_q4", "decoder_model_merged_q4f16", "vision_encoder_q4"] {
            paths.push(format!("onnx/{graph}.onnx"));
            paths.push(format!("onnx/{graph}.onnx_data"));
        }
        paths.push("onnx/decoder_model_merged_q4.onnx_data_1".into());
        for suffix in encoders {
            paths.push(format!("onnx/audio_encoder{suffix}.onnx"));
            paths.push(format!("onnx/audio_encoder{suffix}.onnx_data"));
        }
        paths.iter().map(|path| entry(path, 1)).collect()
    }

    #[test]
    fn the_known_models_are_read() {
        for (name, repository, files) in [
            ("gemma-4-e4b", "onnx-community/gemma-4-E4B-it-ONNX", 12),
            ("gemma-4-e2b", "onnx-community/gemma-4-E2B-it-ONNX", 15),
        ] {
            let known = Known::named(name).expect("it is known");
            assert_eq!((known.repository.as_str(), known.files.len()), (repository, files));
            assert_eq!(known.revision.len(), 40);
            assert_eq!(known.files["tokenizer.json"].bytes, 19_439_251);
        }
        let error = Known::named("gemma-5").expect_err("there is none").to_string();
        assert!(error.contains("gemma-4-e2b, gemma-4-e4b"), "{error}");
    }

    #[test]
    fn a_page_of_the_listing_is_read() {
        let page = r#"[{"type":"directory","oid":"a","size":0,"path":"onnx"},
            {"type":"file","oid":"b","size":12,"path":"config.json"},
            {"type":"file","oid":"c","size":7,"path":"x.onnx_data","lfs":{"oid":"d","size":99,"pointerSize":7},"xetHash":"e"}]"#;
        let entries = parse(page).expect("it is one");
        let small = Entry { path: "config.json".into(), bytes: 12, sum: Sum::GitBlob("b".into()) };
        let large = Entry { path: "x.onnx_data".into(), bytes: 99, sum: Sum::Sha256("d".into()) };
        assert_eq!(entries, [small, large]);
        assert!(parse("<html>").is_err());
        assert!(parse(r#"{"error":"Repository not found"}"#).is_err());
    }

    #[test]
    fn the_encoder_is_the_best_one_that_is_listed() {
        let check = |encoders: &[&str], expected: &str| {
            let choice = choose(&published(encoders)).expect("all is there");
            assert_eq!(choice.encoder, expected);
            let graphs: Vec<&str> = choice.files.iter().map(|file| file.path.as_str()).collect();
            assert!(graphs.contains(&format!("onnx/audio_encoder_{expected}.onnx_data").as_str()), "{graphs:?}");
            assert!(graphs.contains(&"onnx/decoder_model_merged_q4.onnx_data_1"));
            assert!(!graphs.iter().any(|path| path.contains("vision") || path.contains("merged_q4f16")), "{graphs:?}");
        };
        check(&["_q4", "_fp16", "_quantized"], "quantized");
        check(&["_q4", "_fp16"], "fp16");
        check(&["_q4"], "q4");
        let error = choose(&published(&["_q4f16"])).expect_err("none fits").to_string();
        assert!(error.contains("decoder_model_merged_q4.onnx"), "{error}");
    }

    #[test]
    fn a_listing_of_another_kind_is_named() {
        let check = |paths: &[&str], expected: &str| {
            let entries: Vec<Entry> = paths.iter().map(|path| entry(path, 1)).collect();
            let error = choose(&entries).expect_err("it is another layout").to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&["genai_config.json", "model.onnx", "model.onnx.data"], "onnxruntime-genai");
        check(&["decoder/model.onnx", "audio_encoder/model.onnx"], "mobius");
        check(&["gemma-4-E4B-it-Q4_K_M.gguf"], "llama.cpp");
        check(&["model-00001-of-00004.safetensors", "model.safetensors.index.json", "config.json"], "checkpoint");
        check(&["README.md"], "no onnx/decoder_model_merged_q4.onnx");
        let mut without = published(&["_q4"]);
        without.retain(|entry| entry.path != "tokenizer.json");
        assert!(choose(&without).expect_err("it is needed").to_string().contains("tokenizer.json"));
    }

    #[test]
    fn a_listing_must_agree_with_what_is_known() {
        let file = |bytes, sum: Option<&str>| KnownFile { bytes, sha256: sum.map(str::to_owned) };
        let known = |path: &str, file: KnownFile| Known {
            repository: "a/b".into(),
            revision: "c".into(),
            files: [(path.to_owned(), file)].into(),
        };
        let check = |known: Known, whole, expected: &str| match agree(&[entry("a", 5), entry("b", 6)], &known, whole) {
            Ok(()) => assert_eq!(expected, ""),
            Err(error) => assert!(!expected.is_empty() && error.to_string().contains(expected), "{error}"),
        };
        check(known("a", file(5, None)), true, "");
        check(known("a", file(5, Some("sum of a"))), true, "");
        check(known("a", file(4, None)), true, "a has 5 bytes there, and should have 4");
        check(known("a", file(5, Some("other"))), true, "another SHA-256");
        check(known("z", file(5, None)), true, "z is not in it");
        check(known("z", file(5, None)), false, "");
    }

    #[test]
    fn data_files_that_a_graph_names_are_found() {
        let check = |graph: &[u8], expected: &[&str]| {
            let files = ["d_q4.onnx_data".to_owned(), "d_q4.onnx_data_1".to_owned()];
            assert_eq!(missing_data(graph, &files), expected);
        };
        check(b"\x0elocation\x12\x0ed_q4.onnx_data\x2a\x06offset", &[]);
        check(b"\x12\x0ed_q4.onnx_data_1 and \x12Bd_q4.onnx_data", &[]);
        check(b"\x12\x10d_q4.onnx_data_2\x00\x12\x10d_q4.onnx_data_2", &["d_q4.onnx_data_2"]);
        check(b"\x12\x0eother.onnx_data", &["other.onnx_data"]);
        check(b"nothing", &[]);
    }
}

//! `fetched.json`: what was fetched, from which revision, with bytes and sums. Lies in the model folder, and makes
//! `hearth check` of a published folder know what should be there.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::model::manifest::{FETCHED, FileEntry};

/// The file's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// `owner/name` on the hub.
    pub repository: String,
    /// Commit.
    pub revision: String,
    /// Every file.
    pub files: BTreeMap<String, FileEntry>,
}

impl Record {
    /// The record in a folder; none where it is missing or damaged.
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(folder.join(FETCHED)).ok()?).ok()
    }

    /// Are all files there, in their length?
    pub fn is_complete(&self, folder: &Path) -> bool {
        let right = |(name, file): (&String, &FileEntry)| {
            std::fs::metadata(folder.join(name)).is_ok_and(|meta| meta.len() == file.bytes)
        };
        !self.files.is_empty() && self.files.iter().all(right)
    }
}

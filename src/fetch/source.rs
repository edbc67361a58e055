//! Where a model comes from: the hub or a mirror of it over HTTP, or a folder. Blocks; holds nothing on disk.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::http::{Response, StatusCode};

use super::FetchError;
use super::listing::{self, Entry, Known, Sum};
use super::record::Record;

/// Where models are published.
const HUB: &str = "https://huggingface.co";
/// A listing has some 60 files and comes in one page; more pages than this are no listing.
const MAX_PAGES: usize = 20;
/// Most bytes of a page.
const MAX_PAGE_BYTES: u64 = 8 << 20;
/// So long a server may be silent before the connection counts as broken.
const SILENCE: Duration = Duration::from_secs(30);

/// A source of files.
#[derive(Debug)]
pub enum Source {
    /// The hub, or a server with the same paths.
    Hub {
        /// HTTP.
        agent: Agent,
        /// Address without a slash at the end.
        base: String,
    },
    /// A folder in the published layout.
    Folder(PathBuf),
}

/// Why bytes stopped coming.
#[derive(Debug)]
pub enum Break {
    /// It may go on: after so long, if the server says.
    Again(String, Option<Duration>),
    /// It will not.
    Final(FetchError),
}

impl Source {
    /// The hub, or what `--from` names: an address or a folder.
    ///
    /// # Errors
    /// When it is neither.
    pub fn open(from: Option<&str>) -> Result<Self, FetchError> {
        let from = from.unwrap_or(HUB);
        if from.starts_with("http://") || from.starts_with("https://") {
            let agent = Agent::config_builder()
                .timeout_per_read(Some(SILENCE))
                .timeout_connect(Some(SILENCE))
                .timeout_recv_response(Some(SILENCE))
                .http_status_as_error(false)
                .build();
            return Ok(Self::Hub { agent: agent.into(), base: from.trim_end_matches('/').to_owned() });
        }
        let folder = PathBuf::from(from);
        if folder.is_dir() {
            Ok(Self::Folder(folder))
        } else {
            Err(FetchError::Source { what: from.to_owned(), reason: "neither an address nor a folder".into() })
        }
    }

    /// What there is.
    ///
    /// # Errors
    /// When it cannot be reached or is no listing.
    pub fn listing(&self, known: &Known) -> Result<Vec<Entry>, FetchError> {
        match self {
            Self::Hub { agent, base } => hub_listing(agent, base, known),
            Self::Folder(folder) => folder_listing(folder, known),
        }
    }

    /// The bytes of a file from `offset` on.
    ///
    /// # Errors
    /// [`Break`]. A server that does not give ranges gives `Again` with the whole file as the only remedy: see `whole`.
    pub fn read(&self, known: &Known, entry: &Entry, offset: u64) -> Result<Body, Break> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(&entry.path);
                let open = || -> std::io::Result<File> {
                    let mut file = File::open(&path)?;
                    file.seek(SeekFrom::Start(offset))?;
                    Ok(file)
                };
                let file = open().map_err(|error| Break::Final(source_error(&path.display().to_string(), error)))?;
                Ok(Body { whole: false, bytes: Box::new(file) })
            }
            Self::Hub { agent, base } => {
                let url = format!("{base}/{}/resolve/{}/{}", known.repository, known.revision, entry.path);
                let response = agent.get(&url).header("Range", format!("bytes={offset}-")).call();
                let response = response.map_err(|error| Break::Again(error.to_string(), None))?;
                body(response, &url, entry, offset)
            }
        }
    }
}

/// Bytes that come.
pub struct Body {
    /// Does it begin at the first byte, though a later one was asked for?
    pub whole: bool,
    /// Them.
    pub bytes: Box<dyn Read>,
}

fn source_error(what: &str, reason: impl std::fmt::Display) -> FetchError {
    FetchError::Source { what: what.to_owned(), reason: reason.to_string() }
}

fn header<'a>(response: &'a Response<ureq::Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// What an answer to a request for a range means.
fn body(response: Response<ureq::Body>, url: &str, entry: &Entry, offset: u64) -> Result<Body, Break> {
    let status = response.status();
    let again_after = header(&response, "retry-after").and_then(|value| value.parse().ok()).map(Duration::from_secs);
    let other_length = |found: u64| {
        let reason = format!("{} has {found} bytes and not the {} of the listing", entry.path, entry.bytes);
        Break::Final(source_error(url, reason))
    };
    match status {
        StatusCode::PARTIAL_CONTENT => {
            let range = header(&response, "content-range").and_then(range);
            match range {
                Some((_, total)) if total != entry.bytes => return Err(other_length(total)),
                Some((start, _)) if start == offset => {}
                _ => return Err(Break::Final(source_error(url, "answered with another range than was asked for"))),
            }
        }
        StatusCode::OK => {
            let length = header(&response, "content-length").and_then(|value| value.parse().ok());
            if let Some(found) = length.filter(|&found| found != entry.bytes) {
                return Err(other_length(found));
            }
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            return Err(Break::Final(FetchError::Missing { file: entry.path.clone(), url: url.to_owned() }));
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            return Err(Break::Again(format!("status {status}"), again_after));
        }
        _ if status.is_server_error() => return Err(Break::Again(format!("status {status}"), again_after)),
        _ => return Err(Break::Final(source_error(url, format!("status {status}")))),
    }
    let whole = status == StatusCode::OK && offset > 0;
    Ok(Body { whole, bytes: Box::new(response.into_body().into_reader()) })
}

/// First byte and whole length of `bytes A-B/TOTAL`.
fn range(header: &str) -> Option<(u64, u64)> {
    let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

fn hub_listing(agent: &Agent, base: &str, known: &Known) -> Result<Vec<Entry>, FetchError> {
    let mut url = format!("{base}/api/models/{}/tree/{}?recursive=true", known.repository, known.revision);
    let mut entries = Vec::new();
    for _ in 0..MAX_PAGES {
        let mut response = agent.get(&url).call().map_err(|error| source_error(&url, error))?;
        if response.status() != StatusCode::OK {
            return Err(source_error(&url, format!("status {}", response.status())));
        }
        let next = header(&response, "link").and_then(next_page);
        let page = response.body_mut().with_config().limit(MAX_PAGE_BYTES).read_to_string();
        entries.extend(listing::parse(&page.map_err(|error| source_error(&url, error))?)?);
        match next {
            // A mirror may name itself by a path alone.
            Some(next) if next.starts_with('/') => url = format!("{base}{next}"),
            Some(next) => url = next,
            None => return Ok(entries),
        }
    }
    Err(FetchError::Listing(format!("it does not end after {MAX_PAGES} pages")))
}

/// The address behind `rel="next"` of a Link header.
fn next_page(header: &str) -> Option<String> {
    let link = header.split(',').find(|link| link.contains("rel=\"next\""))?;
    let (_, rest) = link.split_once('<')?;
    Some(rest.split_once('>')?.0.to_owned())
}

/// Files at the top of a folder and in `onnx/`, with the sums that are known or that an earlier fetch wrote down.
fn folder_listing(folder: &Path, known: &Known) -> Result<Vec<Entry>, FetchError> {
    let record = Record::read(folder).filter(|record| record.revision == known.revision);
    let mut entries = Vec::new();
    for path in crate::model::manifest::files_below(folder) {
        let meta = std::fs::metadata(folder.join(&path));
        let bytes = meta.map_err(|error| source_error(&path, error))?.len();
        let recorded = record.as_ref().and_then(|record| record.files.get(&path)).map(|file| file.sha256.clone());
        let sum = known.files.get(&path).and_then(|file| file.sha256.clone()).or(recorded);
        entries.push(Entry { path, bytes, sum: sum.map_or(Sum::Unknown, Sum::Sha256) });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        for (header, expected) in [
            ("bytes 5-9/10", Some((5, 10))),
            ("bytes 0-0/1", Some((0, 1))),
            ("bytes 5-9/*", None),
            ("bytes */10", None),
            ("items 5-9/10", None),
        ] {
            assert_eq!(range(header), expected, "{header}");
        }
        let link = r#"<https://a/b?cursor=x>; rel="next""#;
        assert_eq!(next_page(link).as_deref(), Some("https://a/b?cursor=x"));
        assert_eq!(
            next_page(r#"<https://a/c>; rel="prev", <https://a/d>; rel="next""#).as_deref(),
            Some("https://a/d")
        );
        assert_eq!(next_page(r#"<https://a/c>; rel="prev""#), None);
    }
}

//! Sound files: every kind of WAV, and FLAC, to a mono [`Clip`]; and a [`Clip`] to a 16-bit WAV.
//!
//! Reads the whole file first, at most [`MAX_BYTES`], and trusts no length in it: nothing is allocated by what a
//! header claims. A file that is cut short, empty or no sound is an error, never half a clip. Blocking I/O; runs on
//! the thread of a subcommand, never on an audio or inference thread.

use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use symphonia::core::audio::SampleBuffer;
use symphonia::core::codecs::DecoderOptions;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::FormatOptions;
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::probe::Hint;

use super::Clip;
use super::resample::resample;

/// The largest file that is read: 23 minutes of 96 kHz stereo in 16 bits.
pub const MAX_BYTES: u64 = 512 << 20;
/// The longest clip, in samples per channel. FLAC packs silence so tightly that the file's size bounds nothing.
const MAX_FRAMES: usize = 1 << 27;
/// Rates that a recording of speech can have. 768 kHz is the highest that converters offer.
const RATES_HZ: std::ops::RangeInclusive<u32> = 2_000..=768_000;
const MAX_CHANNELS: usize = 64;

/// Why a sound file could not be read or written. The variants differ in remedy (and exit code).
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// The file system refused: give another path (exit code 66).
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read and holds no usable sound: give another file (exit code 65).
    #[error("{}: {reason}", path.display())]
    NotAudio {
        /// The file.
        path: PathBuf,
        /// One line: what is wrong with it.
        reason: String,
    },
    /// The file system refused to take a clip.
    #[error("{}: cannot be written: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads WAV (8, 16, 24, 32 bit, float, extensible, streamed) or FLAC, whatever the file is called. All channels are
/// averaged into one; the rate stays the file's own.
///
/// # Errors
/// [`AudioError::Unreadable`] or [`AudioError::NotAudio`].
pub fn read(path: &Path) -> Result<Clip, AudioError> {
    let unreadable = |source| AudioError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    decode(bytes).map_err(|reason| AudioError::NotAudio { path: path.to_owned(), reason })
}

/// Reads like [`read`] and converts to `rate_hz`.
///
/// # Errors
/// Those of [`read`].
pub fn read_at(path: &Path, rate_hz: u32) -> Result<Clip, AudioError> {
    read(path).map(|clip| resample(&clip, rate_hz))
}

/// Writes 16-bit mono PCM. Samples beyond [-1, 1] are clipped.
///
/// # Errors
/// [`AudioError::Unwritable`].
pub fn write(path: &Path, clip: &Clip) -> Result<(), AudioError> {
    let unwritable = |source| AudioError::Unwritable { path: path.to_owned(), source };
    let bytes = encode(clip).map_err(unwritable)?;
    File::create(path).and_then(|mut file| file.write_all(&bytes)).map_err(unwritable)
}

fn encode(clip: &Clip) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, "longer than a WAV file can be");
    let data_bytes = u32::try_from(clip.samples.len() * 2).map_err(|_| too_long())?;
    let riff_bytes = data_bytes.checked_add(36).ok_or_else(too_long)?;
    let mut bytes = Vec::with_capacity(44 + clip.samples.len() * 2);
    bytes.extend_from_slice(b"RIFF");
    bytes.extend_from_slice(&riff_bytes.to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt ");
    bytes.extend_from_slice(&16u32.to_le_bytes());
    bytes.extend_from_slice(&PCM.to_le_bytes());
    bytes.extend_from_slice(&1u16.to_le_bytes());
    bytes.extend_from_slice(&clip.rate_hz.to_le_bytes());
    bytes.extend_from_slice(&(clip.rate_hz.saturating_mul(2)).to_le_bytes());
    bytes.extend_from_slice(&2u16.to_le_bytes());
    bytes.extend_from_slice(&16u16.to_le_bytes());
    bytes.extend_from_slice(b"data");
    bytes.extend_from_slice(&data_bytes.to_le_bytes());
    for sample in &clip.samples {
        let value = (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16;
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    Ok(bytes)
}

/// Any supported file to a clip; the error is one line without the path.
fn decode(bytes: Vec<u8>) -> Result<Clip, String> {
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("larger than {} MiB", MAX_BYTES >> 20));
    }
    let clip = match &bytes {
        riff if riff.starts_with(b"RIFF") || riff.starts_with(b"RF64") => decode_wav(riff)?,
        riff if riff.starts_with(b"RIFX") => return Err("big-endian WAV (RIFX) is not supported".to_owned()),
        ogg if ogg.starts_with(b"OggS") => return Err("Ogg is not supported: WAV or FLAC is".to_owned()),
        flac if flac.starts_with(b"fLaC") || flac.starts_with(b"ID3") => decode_flac(flac)?,
        _ => return Err("neither WAV nor FLAC".to_owned()),
    };
    if clip.samples.is_empty() {
        return Err("holds no samples".to_owned());
    }
    Ok(clip)
}

fn check_format(rate_hz: u32, channels: usize) -> Result<(), String> {
    if !RATES_HZ.contains(&rate_hz) {
        return Err(format!("its sample rate of {rate_hz} Hz is nonsense"));
    }
    if channels == 0 || channels > MAX_CHANNELS {
        return Err(format!("it claims {channels} channels"));
    }
    Ok(())
}

// --- WAV -----------------------------------------------------------------------------------------------------------

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xFFFE;
/// The tail of the GUID of an extensible format, after the two bytes of its format code.
const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71];

/// How one sample is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Encoding {
    Unsigned8,
    Signed16,
    Signed24,
    Signed32,
    Float32,
    Float64,
}

impl Encoding {
    fn bytes(self) -> usize {
        match self {
            Self::Unsigned8 => 1,
            Self::Signed16 => 2,
            Self::Signed24 => 3,
            Self::Signed32 | Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }

    /// One sample, `b.len() == self.bytes()`. What is no number is silence; what is too loud is clipped.
    fn sample(self, b: &[u8]) -> f32 {
        let float = |value: f64| if value.is_finite() { value.clamp(-1.0, 1.0) as f32 } else { 0.0 };
        match self {
            Self::Unsigned8 => (f32::from(b[0]) - 128.0) / 128.0,
            Self::Signed16 => f32::from(i16::from_le_bytes([b[0], b[1]])) / 32_768.0,
            Self::Signed24 => i32::from_le_bytes([0, b[0], b[1], b[2]]) as f32 / 2_147_483_648.0,
            Self::Signed32 => i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32 / 2_147_483_648.0,
            Self::Float32 => float(f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
            Self::Float64 => float(f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct WavFormat {
    encoding: Encoding,
    channels: usize,
    rate_hz: u32,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Walks the chunks up to the first `data` and decodes that.
fn decode_wav(bytes: &[u8]) -> Result<Clip, String> {
    if bytes.get(8..12) != Some(b"WAVE") {
        return Err("a RIFF file, but no WAV".to_owned());
    }
    let (mut at, mut format, mut long_data_bytes) = (12, None, None);
    while let (Some(id), Some(claimed)) = (bytes.get(at..at + 4), u32_at(bytes, at + 4)) {
        let body = &bytes[at + 8..];
        if id == b"data" {
            let format = format.ok_or("a WAV file without a format before its data")?;
            return samples(format, data(body, claimed, long_data_bytes)?);
        }
        let claimed = claimed as usize;
        let body = body.get(..claimed).ok_or("truncated: a chunk is longer than the file")?;
        match id {
            b"fmt " => format = Some(wav_format(body)?),
            // RF64: the 64-bit size of `data` follows that of the file.
            b"ds64" => long_data_bytes = body.get(8..16).and_then(|b| Some(u64::from_le_bytes(b.try_into().ok()?))),
            _ => {}
        }
        at += 8 + claimed + claimed % 2;
    }
    Err("truncated: a WAV file without data".to_owned())
}

/// The bytes of the `data` chunk out of the `rest` of the file.
fn data(rest: &[u8], claimed: u32, long_data_bytes: Option<u64>) -> Result<&[u8], String> {
    let claimed = match (claimed, long_data_bytes) {
        (u32::MAX, Some(bytes)) if bytes != 0 && bytes != u64::MAX => bytes,
        // Written to a pipe, size never filled in. Some writers (sox, arecord) put a number just below or at 2^31,
        // which no file read here can have.
        (0, _) if !only_chunks(rest) => return Ok(rest),
        (u32::MAX | 0x7FFF_0000..=0x8000_0000, _) => return Ok(rest),
        (bytes, _) => u64::from(bytes),
    };
    usize::try_from(claimed)
        .ok()
        .and_then(|claimed| rest.get(..claimed))
        .ok_or_else(|| format!("truncated: {} bytes of sound where its header says {claimed}", rest.len()))
}

/// Is `rest` nothing but well-formed chunks? Then a `data` of size 0 is truly empty.
fn only_chunks(rest: &[u8]) -> bool {
    let mut at = 0;
    while at < rest.len() {
        let Some(size) = u32_at(rest, at + 4) else { return false };
        if !rest[at..at + 4].iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
            return false;
        }
        at = at.saturating_add(8 + size as usize);
        if at > rest.len() {
            return false;
        }
        at = (at + size as usize % 2).min(rest.len());
    }
    true
}

fn wav_format(body: &[u8]) -> Result<WavFormat, String> {
    let short = "truncated: its format chunk is too short";
    let mut code = u16_at(body, 0).ok_or(short)?;
    let channels = usize::from(u16_at(body, 2).ok_or(short)?);
    let rate_hz = u32_at(body, 4).ok_or(short)?;
    let frame_bytes = usize::from(u16_at(body, 12).ok_or(short)?);
    let bits = usize::from(u16_at(body, 14).ok_or(short)?);
    if code == EXTENSIBLE {
        code = u16_at(body, 24).ok_or(short)?;
        if body.get(26..40) != Some(&GUID_TAIL) {
            return Err("its sample format is unknown (extensible)".to_owned());
        }
    }
    if code != PCM && code != FLOAT {
        return Err(format!("its codec is not supported: {}", codec_name(code)));
    }
    check_format(rate_hz, channels)?;
    // A sample is stored in whole bytes: 20 bits in 3, and the size of a frame decides (24 bits may lie in 4).
    let stored = if frame_bytes > 0 && frame_bytes % channels == 0 { frame_bytes / channels } else { bits.div_ceil(8) };
    let encoding = match (code, stored) {
        _ if bits == 0 || bits > stored * 8 => None,
        (PCM, 1) => Some(Encoding::Unsigned8),
        (PCM, 2) => Some(Encoding::Signed16),
        (PCM, 3) => Some(Encoding::Signed24),
        (PCM, 4) => Some(Encoding::Signed32),
        (FLOAT, 4) if bits == 32 => Some(Encoding::Float32),
        (FLOAT, 8) if bits == 64 => Some(Encoding::Float64),
        _ => None,
    };
    let encoding = encoding.ok_or_else(|| {
        let kind = if code == PCM { "integer" } else { "float" };
        format!("its sample format is not supported: {bits}-bit {kind} in {stored} bytes")
    })?;
    Ok(WavFormat { encoding, channels, rate_hz })
}

fn codec_name(code: u16) -> String {
    match code {
        0x0002 => "Microsoft ADPCM".to_owned(),
        0x0006 => "A-law".to_owned(),
        0x0007 => "mu-law".to_owned(),
        0x0011 => "IMA ADPCM".to_owned(),
        0x0031 => "GSM 6.10".to_owned(),
        0x0050 | 0x0055 => "MPEG audio".to_owned(),
        _ => format!("WAV format code {code:#06x}"),
    }
}

/// Decodes and averages the channels. An incomplete frame at the end is dropped.
fn samples(format: WavFormat, data: &[u8]) -> Result<Clip, String> {
    let WavFormat { encoding, channels, rate_hz } = format;
    let width = encoding.bytes();
    let frames = data.chunks_exact(width * channels);
    if frames.len() > MAX_FRAMES {
        return Err(too_long());
    }
    let mono = |frame: &[u8]| frame.chunks_exact(width).map(|b| encoding.sample(b)).sum::<f32>() / channels as f32;
    Ok(Clip { samples: frames.map(mono).collect(), rate_hz })
}

fn too_long() -> String {
    format!("longer than {MAX_FRAMES} samples")
}

// --- FLAC ----------------------------------------------------------------------------------------------------------

/// STREAMINFO: block header and body.
const STREAM_INFO_BYTES: usize = 4 + 34;

/// The stream with every metadata block but STREAMINFO left out, so that no tag, picture or seek table with a lying
/// length is ever parsed.
fn bare_flac(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let cut = "truncated: a FLAC file without sound";
    let mut at = 0;
    if bytes.starts_with(b"ID3") {
        // Ten bytes of header, the last four of which hold the tag's size, seven bits each.
        let size = bytes.get(6..10).ok_or(cut)?.iter().fold(0, |size, &b| (size << 7) | usize::from(b & 0x7F));
        at = 10 + size;
    }
    if bytes.get(at..at + 4) != Some(b"fLaC") {
        return Err("neither WAV nor FLAC".to_owned());
    }
    at += 4;
    let stream_info = bytes.get(at..at + STREAM_INFO_BYTES).ok_or(cut)?;
    if stream_info[0] & 0x7F != 0 || stream_info[1..4] != [0, 0, 34] {
        return Err("a FLAC file that does not begin with its stream info".to_owned());
    }
    loop {
        let header = bytes.get(at..at + 4).ok_or(cut)?;
        at += 4 + u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        if header[0] & 0x80 != 0 {
            break;
        }
    }
    let sound = bytes.get(at..).filter(|sound| !sound.is_empty()).ok_or(cut)?;
    let mut bare = Vec::with_capacity(4 + STREAM_INFO_BYTES + sound.len());
    bare.extend_from_slice(b"fLaC");
    bare.extend_from_slice(stream_info);
    bare[4] |= 0x80;
    bare.extend_from_slice(sound);
    Ok(bare)
}

fn decode_flac(bytes: &[u8]) -> Result<Clip, String> {
    let damaged = |error: SymphoniaError| format!("a damaged FLAC file: {error}");
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bare_flac(bytes)?)), Default::default());
    let mut hint = Hint::new();
    hint.with_extension("flac");
    let mut reader = symphonia::default::get_probe()
        .format(&hint, stream, &FormatOptions::default(), &MetadataOptions::default())
        .map_err(damaged)?
        .format;
    let parameters = reader.default_track().ok_or("a FLAC file without a track")?.codec_params.clone();
    let rate_hz = parameters.sample_rate.unwrap_or(0);
    check_format(rate_hz, parameters.channels.map_or(0, |channels| channels.count()))?;
    let options = DecoderOptions { verify: true };
    let mut decoder = symphonia::default::get_codecs().make(&parameters, &options).map_err(damaged)?;
    let mut samples = Vec::new();
    loop {
        let packet = match reader.next_packet() {
            Ok(packet) => packet,
            Err(SymphoniaError::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(damaged(error)),
        };
        let decoded = decoder.decode(&packet).map_err(damaged)?;
        let spec = *decoded.spec();
        let channels = spec.channels.count();
        if spec.rate != rate_hz || channels == 0 {
            return Err("a damaged FLAC file: its format changes".to_owned());
        }
        let mut interleaved = SampleBuffer::<f32>::new(decoded.capacity() as u64, spec);
        interleaved.copy_interleaved_ref(decoded);
        let frames = interleaved.samples().chunks_exact(channels);
        samples.extend(frames.map(|frame| frame.iter().sum::<f32>() / channels as f32));
        if samples.len() > MAX_FRAMES {
            return Err(too_long());
        }
    }
    // Zero: unknown, a stream.
    let claimed = parameters.n_frames.filter(|&frames| frames > 0).unwrap_or(0);
    if (samples.len() as u64) < claimed {
        return Err(format!("truncated: {} samples where its header says {claimed}", samples.len()));
    }
    if decoder.finalize().verify_ok == Some(false) {
        return Err("a damaged FLAC file: its checksum does not fit its sound".to_owned());
    }
    Ok(Clip { samples, rate_hz })
}

#[cfg(test)]
mod tests;

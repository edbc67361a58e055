//! Tables of files that are read alike, and of files that are refused.

use super::*;

/// A second of two tones at 16 kHz, on 8 bits exactly, so that every kind of sample can hold it.
fn twin() -> Vec<i16> {
    let sample = |i: usize| {
        let t = i as f64 / 16_000.0;
        let value = 0.4 * (2.0 * std::f64::consts::PI * 300.0 * t).sin() + 0.2 * (5_000.0 * t).sin();
        ((value * 128.0).round() as i16) << 8
    };
    (0..16_000).map(sample).collect()
}

fn chunk(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = [&id[..], &(body.len() as u32).to_le_bytes(), body].concat();
    bytes.resize(bytes.len() + body.len() % 2, 0);
    bytes
}

fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = [b"WAVE".to_vec(), chunks.concat()].concat();
    [&b"RIFF"[..], &(body.len() as u32).to_le_bytes(), &body].concat()
}

fn fmt(code: u16, channels: u16, rate_hz: u32, bits: u16, stored: u16) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&channels.to_le_bytes());
    body.extend_from_slice(&rate_hz.to_le_bytes());
    body.extend_from_slice(&(rate_hz.wrapping_mul(u32::from(channels * stored))).to_le_bytes());
    body.extend_from_slice(&(channels * stored).to_le_bytes());
    body.extend_from_slice(&bits.to_le_bytes());
    body
}

fn extensible(code: u16, channels: u16, bits: u16, stored: u16) -> Vec<u8> {
    let mut body = fmt(EXTENSIBLE, channels, 16_000, stored * 8, stored);
    body.extend_from_slice(&22u16.to_le_bytes());
    body.extend_from_slice(&bits.to_le_bytes());
    body.extend_from_slice(&3u32.to_le_bytes());
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&GUID_TAIL);
    body
}

/// The twin in another sample format, the same in `channels` channels.
fn packed(channels: usize, pack: impl Fn(i16) -> Vec<u8>) -> Vec<u8> {
    twin().into_iter().flat_map(|sample| pack(sample).repeat(channels)).collect()
}

fn s16(sample: i16) -> Vec<u8> {
    sample.to_le_bytes().to_vec()
}

fn s24(sample: i16) -> Vec<u8> {
    (i32::from(sample) << 8).to_le_bytes()[..3].to_vec()
}

fn s32(sample: i16) -> Vec<u8> {
    (i32::from(sample) << 16).to_le_bytes().to_vec()
}

fn f32s(sample: i16) -> Vec<u8> {
    (f32::from(sample) / 32_768.0).to_le_bytes().to_vec()
}

fn with_sizes(mut wav: Vec<u8>, riff_size: u32, data_size: u32) -> Vec<u8> {
    let at = wav.windows(4).position(|id| id == b"data").expect("it has data") + 4;
    wav[4..8].copy_from_slice(&riff_size.to_le_bytes());
    wav[at..at + 4].copy_from_slice(&data_size.to_le_bytes());
    wav
}

#[test]
fn every_kind_gives_what_its_twin_gives() {
    let expected: Vec<f32> = twin().into_iter().map(|sample| f32::from(sample) / 32_768.0).collect();
    let check = |kind: &str, wav: Vec<u8>| {
        let clip = decode(wav).unwrap_or_else(|reason| panic!("{kind}: {reason}"));
        assert_eq!(clip.rate_hz, 16_000, "{kind}");
        assert_eq!(clip.samples.len(), expected.len(), "{kind}");
        let error = clip.samples.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error < 1e-6, "{kind}: {error}");
    };
    let plain = |format: Vec<u8>, data: Vec<u8>| riff(&[chunk(b"fmt ", &format), chunk(b"data", &data)]);
    let usual = || plain(fmt(PCM, 1, 16_000, 16, 2), packed(1, s16));
    check("16 bit", usual());
    check("8 bit", plain(fmt(PCM, 1, 16_000, 8, 1), packed(1, |s| vec![((s >> 8) + 128) as u8])));
    check("24 bit", plain(fmt(PCM, 1, 16_000, 24, 3), packed(1, s24)));
    check("24 bit in 4 bytes", plain(fmt(PCM, 1, 16_000, 24, 4), packed(1, s32)));
    check("20 bit", plain(fmt(PCM, 1, 16_000, 20, 3), packed(1, s24)));
    check("32 bit", plain(fmt(PCM, 1, 16_000, 32, 4), packed(1, s32)));
    check("float", plain(fmt(FLOAT, 1, 16_000, 32, 4), packed(1, f32s)));
    let f64s = |s: i16| (f64::from(s) / 32_768.0).to_le_bytes().to_vec();
    check("double", plain(fmt(FLOAT, 1, 16_000, 64, 8), packed(1, f64s)));
    check("stereo", plain(fmt(PCM, 2, 16_000, 16, 2), packed(2, s16)));
    check("8 channels, 24 bit", plain(fmt(PCM, 8, 16_000, 24, 3), packed(8, s24)));
    check("extensible, 6 channels", plain(extensible(PCM, 6, 16, 2), packed(6, s16)));
    check("extensible, 24 in 32 bit", plain(extensible(PCM, 1, 24, 4), packed(1, s32)));
    check("extensible float", plain(extensible(FLOAT, 2, 32, 4), packed(2, f32s)));
    check("streamed, size 0", with_sizes(usual(), 0, 0));
    check("streamed, size 0 in the data alone", with_sizes(usual(), 32_036, 0));
    check("streamed, size 0xFFFFFFFF", with_sizes(usual(), u32::MAX, u32::MAX));
    check("streamed by sox", with_sizes(usual(), 0x7FFF_F024, 0x7FFF_F000));
    check("wrong RIFF size", with_sizes(usual(), 7, 32_000));
    let mut odd_end = usual();
    odd_end.push(0);
    check("half a sample at the end of a stream", with_sizes(odd_end, 0, 0));
    let (format, data) = (chunk(b"fmt ", &fmt(PCM, 1, 16_000, 16, 2)), chunk(b"data", &packed(1, s16)));
    let odd = chunk(b"LIST", b"odd");
    check("odd chunks around", riff(&[odd.clone(), format.clone(), odd.clone(), data.clone(), odd]));
    let ds64 = chunk(b"ds64", &[0u64.to_le_bytes(), 32_000u64.to_le_bytes(), 16_000u64.to_le_bytes()].concat());
    let mut long = with_sizes(riff(&[ds64, format, data, chunk(b"LIST", &[7; 64])]), u32::MAX, u32::MAX);
    long[..4].copy_from_slice(b"RF64");
    check("RF64", long);
}

const FLAC_S16: &[u8] = include_bytes!("../../../tests/fixtures/audio/twin-s16.flac");
const FLAC_S24_STEREO: &[u8] = include_bytes!("../../../tests/fixtures/audio/twin-s24-stereo.flac");
const FLAC_S8: &[u8] = include_bytes!("../../../tests/fixtures/audio/twin-s8.flac");

#[test]
fn every_flac_gives_what_its_twin_gives() {
    let expected: Vec<f32> = twin()[..4000].iter().map(|&sample| f32::from(sample) / 32_768.0).collect();
    let check = |kind: &str, flac: &[u8]| {
        let clip = decode(flac.to_vec()).unwrap_or_else(|reason| panic!("{kind}: {reason}"));
        assert_eq!((clip.rate_hz, clip.samples.len()), (16_000, 4000), "{kind}");
        let error = clip.samples.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error < 1e-6, "{kind}: {error}");
    };
    check("16 bit", FLAC_S16);
    check("24 bit, stereo", FLAC_S24_STEREO);
    check("8 bit", FLAC_S8);
    // The number of samples is the last 36 bits before the checksum, which stands at the end of STREAMINFO.
    let mut streamed = FLAC_S16.to_vec();
    streamed[21] &= 0xF0;
    streamed[22..42].fill(0);
    check("streamed", &streamed);
    check("tagged", &[b"ID3\x04\0\0\0\0\0\x05", &b"hello"[..], FLAC_S16].concat());
}

#[test]
fn bad_flacs_say_what_is_wrong() {
    let check = |flac: Vec<u8>, part: &str| {
        let reason = decode(flac).expect_err(part);
        assert!(reason.contains(part) && !reason.contains('\n'), "{part}: {reason}");
    };
    check(b"fLaC".to_vec(), "truncated");
    check(FLAC_S16[..FLAC_S16.len() - 9].to_vec(), "truncated");
    check(b"ID3\x04\0\0\0\0\0\0MP3".to_vec(), "neither WAV nor FLAC");
    let mut wrong_sum = FLAC_S16.to_vec();
    wrong_sum[30] ^= 1;
    check(wrong_sum, "checksum");
    for cut in 0..FLAC_S16.len() {
        assert!(decode(FLAC_S16[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    for at in 0..FLAC_S24_STEREO.len() {
        let mut bytes = FLAC_S24_STEREO.to_vec();
        bytes[at] ^= 1 << (at % 8);
        let _ = decode(bytes);
    }
}

#[test]
fn channels_are_averaged() {
    let data = [8192i16, -8192, 16_384, 0].iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<_>>();
    let wav = riff(&[chunk(b"fmt ", &fmt(PCM, 2, 44_100, 16, 2)), chunk(b"data", &data)]);
    assert_eq!(decode(wav), Ok(Clip { samples: vec![0.0, 0.25], rate_hz: 44_100 }));
}

#[test]
fn floats_out_of_range_are_tamed() {
    let data: Vec<u8> = [f32::NAN, f32::INFINITY, 7.5, -3.0, 0.5].iter().flat_map(|v| v.to_le_bytes()).collect();
    let wav = riff(&[chunk(b"fmt ", &fmt(FLOAT, 1, 16_000, 32, 4)), chunk(b"data", &data)]);
    assert_eq!(decode(wav).expect("valid").samples, [0.0, 0.0, 1.0, -1.0, 0.5]);
}

#[test]
fn bad_files_say_what_is_wrong() {
    let check = |wav: Vec<u8>, part: &str| {
        let reason = decode(wav).expect_err(part);
        assert!(reason.contains(part) && !reason.contains('\n'), "{part}: {reason}");
    };
    let with = |format: Vec<u8>| riff(&[chunk(b"fmt ", &format), chunk(b"data", &[0; 64])]);
    let usual = with(fmt(PCM, 1, 16_000, 16, 2));
    check(Vec::new(), "empty");
    check(b"hello".to_vec(), "neither WAV nor FLAC");
    check(vec![0; 4096], "neither WAV nor FLAC");
    check(b"RIFF\x04\0\0\0AVI ".to_vec(), "no WAV");
    check(b"RIFF".to_vec(), "no WAV");
    check(b"RIFXxxxxWAVE".to_vec(), "big-endian");
    check(b"OggS".to_vec(), "Ogg");
    check(usual[..20].to_vec(), "truncated");
    check(usual[..usual.len() - 2].to_vec(), "truncated: 62 bytes of sound where its header says 64");
    check(with_sizes(usual.clone(), 100, 0x7000_0000), "truncated");
    check(riff(&[chunk(b"fmt ", &fmt(PCM, 1, 16_000, 16, 2))]), "without data");
    check(riff(&[chunk(b"data", &[0; 64])]), "without a format");
    check(riff(&[chunk(b"fmt ", &fmt(PCM, 1, 16_000, 16, 2)), chunk(b"data", &[])]), "no samples");
    let tags = [chunk(b"fmt ", &fmt(PCM, 1, 16_000, 16, 2)), chunk(b"data", &[]), chunk(b"LIST", &[7; 31])];
    check(riff(&tags), "no samples");
    check(riff(&[chunk(b"fmt ", &[1, 0, 1]), chunk(b"data", &[0; 64])]), "format chunk is too short");
    check(with(fmt(6, 1, 8_000, 8, 1)), "A-law");
    check(with(fmt(7, 1, 8_000, 8, 1)), "mu-law");
    check(with(fmt(17, 1, 8_000, 4, 1)), "IMA ADPCM");
    check(with(fmt(0x1234, 1, 8_000, 4, 1)), "0x1234");
    check(with(fmt(PCM, 0, 16_000, 16, 2)), "0 channels");
    check(with(fmt(PCM, 1, 0, 16, 2)), "0 Hz");
    check(with(fmt(PCM, 1, 768_001, 16, 2)), "768001 Hz");
    check(with(fmt(PCM, 1, 16_000, 0, 0)), "0-bit");
    check(with(fmt(PCM, 1, 16_000, 64, 8)), "64-bit integer");
    check(with(fmt(FLOAT, 1, 16_000, 16, 2)), "16-bit float");
    let mut unknown = extensible(PCM, 1, 16, 2);
    unknown[30] ^= 1;
    check(with(unknown), "unknown (extensible)");
}

#[test]
fn no_cut_and_no_flipped_byte_panics() {
    let list = chunk(b"LIST", b"odd");
    let whole = riff(&[list, chunk(b"fmt ", &extensible(PCM, 2, 16, 2)), chunk(b"data", &[1; 96])]);
    for cut in 0..whole.len() {
        let result = decode(whole[..cut].to_vec());
        assert!(result.is_err(), "cut at {cut}: {result:?}");
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x7F, 0x80, 0xFF] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let _ = decode(bytes);
        }
    }
}

#[test]
fn written_clips_are_read_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("clip.wav");
    let samples = vec![0.0, 0.5, -0.5, 1.0, -1.0, 2.0, 0.25];
    write(&path, &Clip { samples, rate_hz: 22_050 }).expect("it can be written");
    let clip = read(&path).expect("it can be read");
    let limit = 32_767.0 / 32_768.0;
    assert_eq!(clip, Clip { samples: vec![0.0, 0.5, -0.5, limit, -1.0, limit, 0.25], rate_hz: 22_050 });
    let resampled = read_at(&path, 44_100).expect("it can be read");
    assert_eq!((resampled.rate_hz, resampled.samples.len()), (44_100, 14));
}

#[test]
fn errors_name_the_path_and_tell_files_from_sounds() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = read(&folder.path().join("missing.wav")).expect_err("it is not there");
    assert!(matches!(&missing, AudioError::Unreadable { .. }) && missing.to_string().contains("missing.wav"));
    let directory = read(folder.path()).expect_err("it is a folder");
    assert!(matches!(directory, AudioError::Unreadable { .. }), "{directory}");
    let path = folder.path().join("text.wav");
    std::fs::write(&path, "not a sound").expect("it can be written");
    let text = read(&path).expect_err("it is text");
    assert_eq!(text.to_string(), format!("{}: neither WAV nor FLAC", path.display()));
    assert!(matches!(text, AudioError::NotAudio { .. }));
    let nowhere = folder.path().join("no").join("where.wav");
    let clip = Clip { samples: vec![0.0], rate_hz: 16_000 };
    assert!(matches!(write(&nowhere, &clip), Err(AudioError::Unwritable { .. })));
}

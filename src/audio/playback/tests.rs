//! What is given to an output device, without one.

use super::*;

fn line(channels: u16) -> (Line, HeapProd<f32>, TapEnd) {
    let (rate, channels) = (NonZero::new(48_000), NonZero::new(channels));
    Line::new(rate.expect("not zero"), channels.expect("not zero"), Arc::default(), Arc::default())
}

#[test]
fn every_channel_gets_every_sample_and_progress_is_counted() {
    let check = |channels: u16, expected: &[f32]| {
        let (mut line, mut ring, _tap) = line(channels);
        ring.push_slice(&[0.1, 0.2]);
        let found: Vec<f32> = line.by_ref().take(expected.len()).collect();
        assert_eq!(found, expected);
        assert_eq!(line.shared.taken.load(Ordering::Acquire), 2);
    };
    check(1, &[0.1, 0.2, 0.0]);
    check(2, &[0.1, 0.1, 0.2, 0.2, 0.0, 0.0]);
    check(3, &[0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.0, 0.0, 0.0]);
}

#[test]
fn a_stop_fades_out_and_forgets_the_rest() {
    let (mut line, mut ring, mut tap) = line(2);
    ring.push_slice(&[0.5; 10 * BLOCK]);
    let before: Vec<f32> = line.by_ref().take(2 * BLOCK).collect();
    assert!(before.iter().all(|&x| x == 0.5));
    line.shared.stop.store(true, Ordering::Release);
    let after: Vec<f32> = line.by_ref().take(6 * BLOCK).collect();
    let steps = after.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
    assert!(steps < 0.01 && (after[0] - 0.5).abs() < 0.01, "a step of {steps}");
    assert!(after[2 * BLOCK - 1..].iter().all(|&x| x == 0.0));
    assert!(!line.shared.stop.load(Ordering::Acquire));
    assert_eq!(line.shared.taken.load(Ordering::Acquire), 10 * BLOCK as u64);
    // The next clip is heard again, and the tap has seen all of it, once per frame.
    ring.push_slice(&[0.25; BLOCK]);
    assert_eq!(line.by_ref().take(2).collect::<Vec<_>>(), [0.25, 0.25]);
    let mut seen = vec![0.0; 10 * BLOCK];
    assert_eq!(tap.ring.pop_slice(&mut seen), 5 * BLOCK);
    assert_eq!((seen[0], seen[BLOCK * 3], seen[BLOCK * 4]), (0.5, 0.0, 0.25));
}

#[test]
fn an_unread_tap_loses_counted_samples_and_nothing_else() {
    let (mut line, _ring, tap) = line(1);
    for _ in 0..96_000 + 2 * BLOCK {
        assert_eq!(line.next(), Some(0.0));
    }
    assert_eq!(tap.shared.tap_overruns.load(Ordering::Relaxed), 2 * BLOCK as u64);
}

#[test]
fn edges_are_faded_however_short_the_clip() {
    for length in [0, 1, 2, 5, 96, 1_000] {
        let mut samples = vec![1.0; length];
        fade_edges(&mut samples, 96);
        assert!(samples.iter().all(|x| (0.0..=1.0).contains(x)));
        if length > 1 {
            assert_eq!((samples[0], samples[length - 1]), (0.0, 0.0), "{length}");
        }
    }
}

#[test]
fn an_error_names_what_was_wanted_and_what_there_is() {
    let error = PlayError::NoDevice { wanted: Some("usb".into()), present: "Speaker".into() };
    assert_eq!(error.to_string(), "no output device \"usb\"; present: Speaker");
    let error = PlayError::NoDevice { wanted: None, present: "none".into() };
    assert_eq!(error.to_string(), "no output device; present: none");
}

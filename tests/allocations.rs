//! What the devices' own threads run makes no allocation: it is counted. One test, so that nothing else allocates.

use std::alloc::System;

use hearth::audio::capture::Microphone;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn the_capture_callback_allocates_nothing() {
    let (mut intake, mut microphone) = Microphone::fed(48_000, 2);
    let block = vec![100i16; 960];
    let mut fewest = usize::MAX;
    // The test harness's other thread may allocate in between: the quietest of some rounds counts.
    for _ in 0..5 {
        let region = Region::new(ALLOCATOR);
        // More than the ring holds: losing samples allocates nothing either.
        for _ in 0..300 {
            intake.push(&block);
        }
        let change = region.change();
        fewest = fewest.min(change.allocations + change.reallocations + change.deallocations);
    }
    assert_eq!(fewest, 0);
    assert!(microphone.overruns() > 0);
    let mut out = Vec::new();
    microphone.read(&mut out);
    assert!(!out.is_empty());
}

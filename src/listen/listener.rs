//! Stand-in.
/// E
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason { /// a
 Silence, /// b
 Cap, /// c
 Nothing, /// d
 Released }
/// L
#[derive(Debug, Clone, PartialEq)]
pub enum ListenEvent { /// w
 Wake { /// w
 word: String, /// s
 score: f32 }, /// s
 SpeechStarted, /// a
 Audio(Vec<f32>), /// p
 Pause, /// r
 Resumed, /// e
 End(EndReason), /// b
 BargeIn }
/// C
#[derive(Debug, Clone, PartialEq)]
pub enum ListenCommand { /// a
 Arm { /// w
 wait_ms: u32 }, /// r
 Release, /// d
 Disarm, /// m
 Mute(bool) }

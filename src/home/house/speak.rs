//! What is said of devices: always of the state that came back, never of the order.
//!
//! Pure: states and faults in, sentences out.

use serde::Deserialize;
use serde_json::Value;

use crate::dialogue::{Outcome, ToolResult};
use crate::home::device::{Device, Fault, Order, State};
use crate::home::phrase::{list, sentence, thing};
use crate::home::resolve::PAIRS;
use crate::home::{failed, refused, result};

/// Most devices that a sentence names.
pub(super) const MAX_NAMED: usize = 4;
/// So many percent or degrees next to what was wanted are what was wanted: devices round.
const NEAR_PERCENT: u8 = 4;
const NEAR_C: f64 = 0.6;

/// In which degrees people speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Degrees {
    /// Celsius.
    #[default]
    Celsius,
    /// Fahrenheit.
    Fahrenheit,
}

impl Degrees {
    /// What was said, in Celsius.
    pub(super) fn to_c(self, said: f64) -> f64 {
        if self == Self::Celsius { said } else { (said - 32.0) / 1.8 }
    }

    /// As it is said.
    pub(super) fn of_c(self, celsius: f64) -> f64 {
        if self == Self::Celsius { celsius } else { celsius * 1.8 + 32.0 }
    }

    /// A step of one degree, as people take it, in Celsius.
    pub(super) fn step_c(self) -> f64 {
        if self == Self::Celsius { 1.0 } else { 2.0 / 1.8 }
    }

    /// "21.5 degrees".
    pub(super) fn show(self, celsius: f64) -> String {
        let (value, decimals) = (self.of_c(celsius), if self == Self::Celsius { 10.0 } else { 1.0 });
        let rounded = (value * decimals).round() / decimals;
        format!("{rounded} degree{}", if rounded == 1.0 { "" } else { "s" })
    }
}

/// Of whom a sentence speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub text: String,
    pub several: bool,
}

impl Subject {
    pub fn one(device: &Device) -> Self {
        Self { text: format!("the {}", device.name), several: PAIRS.contains(&device.kind.as_str()) }
    }

    /// All of a kind, in a place or everywhere.
    pub fn all(devices: &[Device], kind: &str, place: Option<&str>) -> Self {
        match (devices, place) {
            ([device], _) => Self::one(device),
            (_, Some(place)) => Self { text: format!("the {}", thing(place, kind)), several: true },
            _ => Self { text: format!("all {kind}"), several: true },
        }
    }

    pub fn is(&self) -> &'static str {
        if self.several { "are" } else { "is" }
    }

    fn does(&self) -> &'static str {
        if self.several { "do" } else { "does" }
    }
}

/// What became of an order to one device.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub device: Device,
    pub before: Option<State>,
    pub after: Result<State, Fault>,
}

/// What can be said after "is" when the state is what was ordered; `None` when it is not.
fn words(order: &Order, kind: &str, state: &State, degrees: Degrees) -> Option<String> {
    match order {
        Order::On | Order::Off | Order::Start | Order::Stop | Order::Dock => works(order, kind, state),
        Order::Brightness(_) | Order::BrightnessStep(_) | Order::Color(_) => shines(order, state),
        Order::Open | Order::Close | Order::Position(_) => stands(order, state),
        Order::Lock | Order::Unlock => bars(*order == Order::Lock, kind, state),
        Order::Play | Order::Pause | Order::Next | Order::Previous | Order::Volume(_) | Order::VolumeStep(_) => {
            plays(order, state)
        }
        Order::Temperature(wanted) => {
            let near = state.target_c.filter(|now| (now - wanted).abs() <= NEAR_C);
            near.map(|now| format!("set to {}", degrees.show(now)))
        }
        Order::TemperatureStep(_) => state.target_c.map(|now| format!("set to {}", degrees.show(now))),
        Order::Activate if kind == "script" => Some("started".to_owned()),
        Order::Activate => Some("set".to_owned()),
        Order::Brew(_) => text_with(state, &["making"]),
    }
}

/// The text of a state, if one of these words is in it.
fn text_with(state: &State, words: &[&str]) -> Option<String> {
    state.text.clone().filter(|text| words.iter().any(|word| text.contains(word)))
}

fn is(value: Option<bool>, wanted: bool, word: &str) -> Option<String> {
    (value == Some(wanted)).then(|| word.to_owned())
}

fn works(order: &Order, kind: &str, state: &State) -> Option<String> {
    match order {
        Order::On if kind == "vacuum" => text_with(state, &["clean"]),
        Order::Off if kind == "vacuum" => text_with(state, &["dock"]),
        Order::On => is(state.on, true, "on"),
        Order::Off => is(state.on, false, "off"),
        Order::Dock => text_with(state, &["dock"]),
        Order::Stop => match &state.text {
            Some(text) if ["clean", "opening", "closing"].iter().any(|busy| text.contains(busy)) => None,
            Some(text) => Some(text.clone()),
            None => state
                .position
                .map(opened)
                .or_else(|| is(state.playing, false, "stopped"))
                .or_else(|| is(state.on, false, "off")),
        },
        _ => text_with(state, &["clean", "work", "running", "mowing"]).or_else(|| is(state.on, true, "on")),
    }
}

fn shines(order: &Order, state: &State) -> Option<String> {
    match order {
        Order::Brightness(0) => is(state.on, false, "off"),
        Order::Brightness(percent) => {
            let near = state.brightness.filter(|now| now.abs_diff(*percent) <= NEAR_PERCENT);
            near.filter(|_| state.on == Some(true)).map(|now| format!("at {now} percent"))
        }
        Order::Color(color) => state.color.clone().filter(|now| now == color && state.on != Some(false)),
        _ if state.on == Some(false) => Some("off".to_owned()),
        _ => state.brightness.map(|now| format!("at {now} percent")),
    }
}

fn stands(order: &Order, state: &State) -> Option<String> {
    match order {
        Order::Open | Order::Position(100) if state.position == Some(100) => Some("open".to_owned()),
        Order::Open | Order::Position(100) => text_with(state, &["opening"]),
        Order::Close | Order::Position(0) if state.position == Some(0) => Some("closed".to_owned()),
        Order::Close | Order::Position(0) => text_with(state, &["closing"]),
        Order::Position(percent) => match state.position {
            Some(now) if now.abs_diff(*percent) <= NEAR_PERCENT => Some(opened(now)),
            _ => text_with(state, &["opening", "closing"]),
        },
        _ => None,
    }
}

fn bars(lock: bool, kind: &str, state: &State) -> Option<String> {
    let (locked, unlocked) = if kind == "alarm system" { ("armed", "disarmed") } else { ("locked", "unlocked") };
    match lock {
        true => is(state.locked, true, locked).or_else(|| text_with(state, &["locking", "arming"])),
        false => is(state.locked, false, unlocked).or_else(|| text_with(state, &["unlocking"])),
    }
}

fn plays(order: &Order, state: &State) -> Option<String> {
    match order {
        Order::Play => is(state.playing, true, "playing"),
        Order::Pause => is(state.playing, false, "paused"),
        Order::Next => Some("on the next one".to_owned()),
        Order::Previous => Some("back on the one before".to_owned()),
        Order::Volume(percent) => {
            let near = state.volume.filter(|now| now.abs_diff(*percent) <= NEAR_PERCENT);
            near.map(|now| format!("at volume {now}"))
        }
        _ => state.volume.map(|now| format!("at volume {now}")),
    }
}

fn opened(percent: u8) -> String {
    match percent {
        0 => "closed".to_owned(),
        100 => "open".to_owned(),
        percent => format!("{percent} percent open"),
    }
}

/// How a device is, as it stands after "is"; `None` when nothing is known.
pub(super) fn describe(kind: &str, state: &State, degrees: Degrees) -> Option<String> {
    let mut said = Vec::new();
    let alarm = kind == "alarm system";
    match (state.on, state.brightness) {
        (Some(true), Some(percent)) => said.push(format!("on at {percent} percent")),
        (Some(on), _) => said.push(if on { "on" } else { "off" }.to_owned()),
        (None, _) => {}
    }
    let is_off = state.on == Some(false);
    said.extend(state.text.clone().filter(|_| !is_off));
    let moving = state.text.as_ref().is_some_and(|text| text.contains("opening") || text.contains("closing"));
    said.extend(state.position.filter(|_| !moving).map(opened));
    let locked = state.locked.map(|locked| match (alarm, locked) {
        (false, true) => "locked",
        (false, false) => "unlocked",
        (true, true) => "armed",
        (true, false) => "disarmed",
    });
    said.extend(locked.map(str::to_owned));
    if !is_off {
        said.extend(
            state
                .playing
                .filter(|playing| *playing || state.on.is_none())
                .map(|playing| if playing { "playing" } else { "paused" }.to_owned()),
        );
        said.extend(state.target_c.map(|target| format!("set to {}", degrees.show(target))));
    }
    let measured = state.current_c.filter(|_| state.target_c.is_none() && said.is_empty());
    said.extend(measured.map(|c| format!("at {}", degrees.show(c))));
    (!said.is_empty()).then(|| list(&said, "and"))
}

/// The order as it stands after "Shall I".
pub(super) fn intent(order: &Order, subject: &Subject, kind: &str, degrees: Degrees) -> String {
    let it = &subject.text;
    let alarm = kind == "alarm system";
    match order {
        Order::On => format!("turn on {it}"),
        Order::Off => format!("turn off {it}"),
        Order::Brightness(percent) | Order::Position(percent) => format!("set {it} to {percent} percent"),
        Order::BrightnessStep(step) => format!("make {it} {}", if *step > 0 { "brighter" } else { "dimmer" }),
        Order::Color(color) => format!("make {it} {color}"),
        Order::Open => format!("open {it}"),
        Order::Close => format!("close {it}"),
        Order::Lock => format!("{} {it}", if alarm { "arm" } else { "lock" }),
        Order::Unlock => format!("{} {it}", if alarm { "disarm" } else { "unlock" }),
        Order::Temperature(c) => format!("set {it} to {}", degrees.show(*c)),
        Order::TemperatureStep(step) => format!("set {it} {}", if *step > 0.0 { "warmer" } else { "cooler" }),
        Order::Play => format!("play on {it}"),
        Order::Pause => format!("pause {it}"),
        Order::Next => format!("skip ahead on {it}"),
        Order::Previous => format!("go back on {it}"),
        Order::Volume(percent) => format!("set the volume of {it} to {percent}"),
        Order::VolumeStep(step) => format!("make {it} {}", if *step > 0 { "louder" } else { "quieter" }),
        Order::Start => format!("start {it}"),
        Order::Stop => format!("stop {it}"),
        Order::Dock => format!("send {it} home"),
        Order::Activate if kind == "script" => format!("run {it}"),
        Order::Activate => format!("set {it}"),
        Order::Brew(drink) => format!("make {drink}"),
    }
}

/// A reason that fits one thing, for several.
fn plural(reason: &str) -> String {
    for (one, several) in [("has ", "have "), ("is ", "are "), ("plays ", "play "), ("makes ", "make ")] {
        if let Some(rest) = reason.strip_prefix(one) {
            return format!("{several}{rest}");
        }
    }
    reason.to_owned()
}

/// What to say of an order that was carried out on all of `subject`, as far as it was.
pub(super) fn reported(
    tool: &str,
    subject: &Subject,
    order: &Order,
    reports: &[Report],
    degrees: Degrees,
) -> ToolResult {
    let refusals: Vec<&str> = reports
        .iter()
        .filter_map(|report| match &report.after {
            Err(Fault::Refused(reason)) => Some(reason.as_str()),
            _ => None,
        })
        .collect();
    if let (Some(reason), true) = (refusals.first(), refusals.len() == reports.len()) {
        let reason = if subject.several { plural(reason) } else { (*reason).to_owned() };
        let say = sentence(&format!("{} {reason}", subject.text));
        return refused(tool, &format!("{} of {} refused: {reason}", refusals.len(), reports.len()), say);
    }
    if let Some(Fault::Unauthorised(who)) =
        reports.iter().find_map(|report| report.after.as_ref().err().filter(|f| matches!(f, Fault::Unauthorised(_))))
    {
        let say = "The home does not let me in. Its password or token has to be renewed.".to_owned();
        return failed(tool, &format!("not authorised: {who}"), say);
    }
    // What cannot do it is passed over where others can.
    let able: Vec<&Report> = reports.iter().filter(|report| !matches!(report.after, Err(Fault::Refused(_)))).collect();
    let said = |report: &Report| {
        report.after.as_ref().ok().and_then(|state| words(order, &report.device.kind, state, degrees))
    };
    let (good, bad): (Vec<&Report>, Vec<&Report>) = able.iter().partition(|report| said(report).is_some());
    if !bad.is_empty() {
        return fell_short(tool, subject, &good, &bad, said, degrees);
    }
    let words_of: Vec<String> = good.iter().filter_map(|report| said(report)).collect();
    let alike = words_of.iter().all(|words| *words == words_of[0]);
    let was =
        |report: &Report| report.before.as_ref().and_then(|state| words(order, &report.device.kind, state, degrees));
    let lasting = !matches!(order, Order::Next | Order::Previous | Order::Activate | Order::Brew(_));
    let already = lasting && good.iter().all(|report| was(report) == said(report));
    let already = if already { "already " } else { "" };
    let state = if alike { words_of[0].clone() } else { changed(order).to_owned() };
    let clause = if alike || good.len() > MAX_NAMED {
        format!("{} {} {already}{state}", subject.text, subject.is())
    } else {
        let each = |(report, words): (&&Report, &String)| {
            let one = Subject::one(&report.device);
            format!("{} {} {words}", one.text, one.is())
        };
        list(&good.iter().zip(&words_of).map(each).collect::<Vec<_>>(), "and")
    };
    let details = [("device", Value::from(subject.text.as_str())), ("state", Value::from(state.as_str()))];
    result(tool, Outcome::Done, &details, sentence(&clause))
}

/// For several that are not alike.
fn changed(order: &Order) -> &'static str {
    match order {
        Order::BrightnessStep(step) if *step > 0 => "brighter",
        Order::BrightnessStep(_) => "dimmer",
        Order::TemperatureStep(step) if *step > 0.0 => "warmer",
        Order::TemperatureStep(_) => "cooler",
        _ => "set",
    }
}

/// Some did not do it, or all.
fn fell_short(
    tool: &str,
    subject: &Subject,
    good: &[&Report],
    bad: &[&Report],
    said: impl Fn(&Report) -> Option<String>,
    degrees: Degrees,
) -> ToolResult {
    let all = good.len() + bad.len();
    let is_silent = |report: &&Report| matches!(report.after, Err(Fault::Unreachable(_) | Fault::TimedOut));
    let silent = bad.iter().filter(|report| is_silent(report)).count();
    let did = if silent == bad.len() { "answer" } else { "change" };
    let error = match bad.iter().find_map(|report| report.after.as_ref().err()) {
        Some(fault) => format!("{} of {all} did not {did}: {fault}", bad.len()),
        None => format!("{} of {all} did not change", bad.len()),
    };
    if good.is_empty() {
        let still = match bad {
            [Report { device, after: Ok(state), .. }] => describe(&device.kind, state, degrees),
            _ => None,
        };
        let (it, is) = if subject.several { ("they", "are") } else { ("it", "is") };
        let still = still.map(|words| format!(", {it} {is} {words}")).unwrap_or_default();
        let verb = if did == "answer" { format!("{} not answer", subject.does()) } else { "did not change".to_owned() };
        return failed(tool, &error, sentence(&format!("{} {verb}{still}", subject.text)));
    }
    let rest = said(good[0]).filter(|words| good.iter().all(|report| said(report).as_ref() == Some(words)));
    let rest = rest.unwrap_or_else(|| "done".to_owned());
    let who = if bad.len() > MAX_NAMED {
        format!("{} devices", bad.len())
    } else {
        list(&bad.iter().map(|report| format!("the {}", report.device.name)).collect::<Vec<_>>(), "and")
    };
    let verb = match (did, bad.len()) {
        ("answer", 1) => "does not answer",
        ("answer", _) => "do not answer",
        _ => "did not change",
    };
    let (the, are) = if good.len() == 1 { ("the other", "is") } else { ("the rest", "are") };
    let the = if good.len() == 1 && bad.len() > 1 { "the rest" } else { the };
    failed(tool, &error, sentence(&format!("{who} {verb}, {the} {are} {rest}")))
}

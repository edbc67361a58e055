//! The devices of the home and the tools over them, whatever they hang on.
//!
//! A call becomes an order to one device or several (`orders`), the backends carry it out, and `speak` words
//! the states that came back. Never guesses: what is not clear is asked back (S14). Runs on whichever thread awaits.

mod called;
pub mod declare;
mod orders;
mod speak;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

pub use speak::Degrees;

use self::called::{Called, together};
use self::orders::Action;
use self::speak::{MAX_NAMED, Report, Subject, describe, intent, reported};
use super::command::CommandConfig;
use super::device::{Backend, Device, Fault, Health, Order, State};
use super::hass::HomeAssistantConfig;
use super::mqtt::MqttConfig;
use super::phrase::{at, list, sentence};
use super::resolve::{Found, room_named};
use super::risk::{Intent, Level, RiskConfig};
use super::simulated::SimulatedConfig;
use super::webhook::WebhookConfig;
use super::{Answer, DEADLINE_S, Tool, asked, failed, refused, result};
use crate::dialogue::{Arguments, Declared, Outcome, ToolResult, ToolSpec};

/// A device has a little less time than the whole call, so that one that is silent does not hide the others.
const EACH: Duration = Duration::from_millis(DEADLINE_S * 1000 - 200);
/// Most devices that one call orders about.
const MAX_DEVICES: usize = 100;

/// `[home]` of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HomeConfig {
    /// The room that the speaker is in.
    pub here: Option<String>,
    /// In which degrees people speak.
    pub degrees: Degrees,
    /// `[home.simulated]`: a home without a house.
    pub simulated: SimulatedConfig,
    /// `[home.mqtt]`: a broker and the devices on it.
    pub mqtt: MqttConfig,
    /// `[[home.command]]`: tools that run a program.
    pub command: Vec<CommandConfig>,
    /// `[[home.webhook]]`: tools that call a URL.
    pub webhook: Vec<WebhookConfig>,
    /// `[home.home_assistant]`: devices of a Home Assistant, if there is one.
    pub home_assistant: HomeAssistantConfig,
}

/// All devices, and how they are spoken of.
#[derive(Debug)]
pub struct House {
    backends: Vec<Backend>,
    here: Option<String>,
    degrees: Degrees,
    risk: RiskConfig,
}

/// What a call comes to.
#[derive(Debug)]
enum Plan {
    /// This order.
    Do(Doing),
    /// Look at these and say how they are.
    Look(Vec<Device>, Subject),
    /// How warm it is.
    Warmth,
    /// It goes no further.
    Answer(ToolResult),
}

/// An order and whom it is for.
#[derive(Debug)]
struct Doing {
    devices: Vec<Device>,
    subject: Subject,
    order: Order,
    /// The kind as it was called, for a question.
    kind: String,
}

impl House {
    /// A house of all devices that hang on these.
    #[must_use]
    pub fn new(backends: Vec<Backend>, config: &HomeConfig, risk: &RiskConfig) -> Self {
        Self { backends, here: config.here.clone(), degrees: config.degrees, risk: risk.clone() }
    }

    /// All devices, by backend.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        self.backends.iter().flat_map(Backend::devices).collect()
    }

    /// What was last heard of a device.
    #[must_use]
    pub fn state(&self, id: &str) -> Option<State> {
        self.backends.iter().find_map(|backend| backend.state(id))
    }

    /// How a device is, in words that can follow "is".
    #[must_use]
    pub fn words(&self, device: &Device) -> Option<String> {
        describe(&device.kind, &self.state(&device.id)?, self.degrees)
    }

    /// Name and health of each backend.
    #[must_use]
    pub fn health(&self) -> Vec<(&'static str, Health)> {
        self.backends.iter().map(|backend| (backend.name(), backend.health())).collect()
    }

    /// What a model that reads declarations is told: of these tools those that this home is for, with its names, and
    /// `system` with a list of what there is.
    #[must_use]
    pub fn declared(&self, tools: &[ToolSpec], system: &str) -> Declared {
        let devices = self.devices();
        let system = format!("{}{}", system.trim_end(), declare::overview(&devices));
        Declared { system, tools: declare::narrowed(tools, &devices, self.degrees) }
    }

    /// Another number whenever the devices are others: then grammar and prompt want to be made anew.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.backends.iter().fold(0, |sum, backend| sum.wrapping_add(backend.version()))
    }

    /// The tool that `spec` declares, `None` when no device is its concern.
    #[must_use]
    pub fn tool(self: &Arc<Self>, spec: &ToolSpec) -> Option<Box<dyn Tool>> {
        let action = Action::named(&spec.name)?;
        Some(Box::new(HouseTool { spec: spec.clone(), action, house: Arc::clone(self) }))
    }

    fn plan(&self, tool: &str, action: Action, arguments: &Arguments) -> Plan {
        let order = match action {
            Action::Warmth => return Plan::Warmth,
            Action::Look => None,
            _ => match orders::order(tool, action, arguments, self.degrees) {
                Ok(order) => Some(order),
                Err(answer) => return Plan::Answer(*answer),
            },
        };
        let devices = self.devices();
        let (found, subject, kind) = match self.find(tool, action, arguments, &devices) {
            Ok(found) => found,
            Err(answer) => return Plan::Answer(*answer),
        };
        match order {
            None => Plan::Look(found, subject),
            Some(order) => Plan::Do(Doing { devices: found, subject, order, kind }),
        }
    }

    /// The devices that are meant, how they are called together, and the kind as it was called.
    fn find(
        &self,
        tool: &str,
        action: Action,
        arguments: &Arguments,
        devices: &[Device],
    ) -> Result<(Vec<Device>, Subject, String), Box<ToolResult>> {
        let Some(called) = Called::from(action, arguments) else {
            return Err(Box::new(asked(tool, "Which device do you mean?".to_owned())));
        };
        let among = called.among(action, devices);
        let found = called.found(&among, action, self.here.as_deref());
        let own =
            |device: &Device| devices.iter().find(|d| d.id == device.id).cloned().unwrap_or_else(|| device.clone());
        let (words, room, kind) = (called.words, called.room, called.kind.to_owned());
        match found {
            Found::One(device) => {
                let device = own(device);
                let subject = Subject::one(&device);
                Ok((vec![device], subject, kind))
            }
            Found::All(all) if all.len() > MAX_DEVICES => {
                Err(Box::new(refused(tool, "too many devices", format!("{} devices are too many at once.", all.len()))))
            }
            Found::All(all) => {
                let all: Vec<Device> = all.into_iter().map(own).collect();
                let subject = together(&all, devices, &called);
                Ok((all, subject, kind))
            }
            Found::Ambiguous(several) => {
                let several: Vec<Device> = several.into_iter().map(own).collect();
                match self.likeliest(action, &several) {
                    Some(device) => Ok((vec![device.clone()], Subject::one(device), kind)),
                    None => Err(Box::new(asked(tool, which(words, &several)))),
                }
            }
            Found::Nothing(near) => {
                let near: Vec<Device> = near.into_iter().map(own).collect();
                Err(Box::new(missing(tool, words, room, &near)))
            }
            Found::NoRoom => Err(Box::new(missing(tool, words, room, &[]))),
        }
    }

    /// Of several that fit, the one that is meant without being named: what plays; a thermostat before a heater; the
    /// front door.
    fn likeliest<'a>(&self, action: Action, several: &'a [Device]) -> Option<&'a Device> {
        let only = |fits: &dyn Fn(&Device) -> bool| {
            let mut fitting = several.iter().filter(|device| fits(device));
            fitting.next().filter(|_| fitting.next().is_none())
        };
        match action {
            Action::Media => only(&|device| self.state(&device.id).is_some_and(|state| state.playing == Some(true))),
            Action::SetTemperature | Action::ChangeTemperature => {
                let same_room = several.iter().all(|device| device.room == several[0].room);
                action.kinds().iter().find_map(|kind| only(&|device| device.kind == *kind)).filter(|_| same_room)
            }
            Action::Lock | Action::Unlock => only(&|device| device.name.to_lowercase().contains("front door")),
            _ => None,
        }
    }

    /// What a call is about to do, and what that takes.
    fn intent(&self, tool: &str, action: Action, arguments: &Arguments) -> Intent {
        let free = |to: String| Intent::Do { to, level: Level::Free };
        match self.plan(tool, action, arguments) {
            Plan::Answer(_) => Intent::Nothing,
            Plan::Warmth => free("say how warm it is".to_owned()),
            Plan::Look(_, subject) => free(format!("say how {} {}", subject.text, subject.is())),
            Plan::Do(doing) => {
                let levels = doing.devices.iter().map(|device| self.risk.of(device, &doing.order));
                let level = levels.max().unwrap_or_default();
                if level != Level::Free && doing.devices.len() > 1 {
                    // "All" is never enough for what is risky.
                    let kind = doing.kind.strip_suffix('s').unwrap_or(&doing.kind);
                    return Intent::Answer(asked(tool, which(kind, &doing.devices)));
                }
                let kind = doing.devices.first().map_or("", |device| device.kind.as_str());
                Intent::Do { to: intent(&doing.order, &doing.subject, kind, self.degrees), level }
            }
        }
    }

    async fn answer(&self, tool: &str, action: Action, arguments: &Arguments) -> ToolResult {
        match self.plan(tool, action, arguments) {
            Plan::Answer(answer) => answer,
            Plan::Warmth => self.warmth(tool, arguments.get("room").and_then(Value::as_str)),
            Plan::Look(devices, subject) => self.look(tool, &devices, &subject),
            Plan::Do(Doing { devices, subject, order, .. }) => {
                let before: Vec<Option<State>> = devices.iter().map(|device| self.state(&device.id)).collect();
                let applied = all(devices.iter().map(|device| self.apply(&device.id, &order)).collect()).await;
                let reports: Vec<Report> = devices
                    .into_iter()
                    .zip(before)
                    .zip(applied)
                    .map(|((device, before), after)| Report { device, before, after })
                    .collect();
                reported(tool, &subject, &order, &reports, self.degrees)
            }
        }
    }

    async fn apply(&self, id: &str, order: &Order) -> Result<State, Fault> {
        let Some(backend) = self.backends.iter().find(|backend| backend.devices().iter().any(|d| d.id == id)) else {
            return Err(Fault::Unreachable(id.to_owned()));
        };
        tokio::time::timeout(EACH, backend.apply(id, order)).await.unwrap_or(Err(Fault::TimedOut))
    }

    /// Why nobody knows how things are, if nobody does.
    fn out_of_reach(&self, tool: &str, id: &str) -> Option<ToolResult> {
        let backend = self.backends.iter().find(|backend| backend.devices().iter().any(|d| d.id == id))?;
        match backend.health() {
            Health::Ready => None,
            Health::Connecting(why) => {
                Some(failed(tool, &why, format!("I cannot reach {} right now.", backend.name())))
            }
            Health::Unauthorised(why) => {
                let say = format!("{} does not let me in. Its password or token has to be renewed.", backend.name());
                Some(failed(tool, &why, sentence(say.trim_end_matches('.'))))
            }
        }
    }

    fn look(&self, tool: &str, devices: &[Device], subject: &Subject) -> ToolResult {
        if let Some(answer) = devices.first().and_then(|device| self.out_of_reach(tool, &device.id)) {
            return answer;
        }
        let known: Vec<(&Device, String)> =
            devices.iter().filter_map(|device| Some((device, self.words(device)?))).collect();
        let Some((_, first)) = known.first() else {
            let say = format!("I do not know how {} {}.", subject.text, subject.is());
            return failed(tool, "no state is known", say);
        };
        let alike = known.len() == devices.len() && known.iter().all(|(_, words)| words == first);
        let say = |(device, words): &(&Device, String)| {
            let one = Subject::one(device);
            format!("{} {} {words}", one.text, one.is())
        };
        let clause = if alike {
            format!("{} {} {first}", subject.text, subject.is())
        } else if known.len() <= MAX_NAMED {
            list(&known.iter().map(say).collect::<Vec<_>>(), "and")
        } else {
            let on: Vec<&Device> = known
                .iter()
                .filter(|(device, _)| self.state(&device.id).is_some_and(|state| state.on == Some(true)))
                .map(|(device, _)| *device)
                .collect();
            let named: Vec<String> = on.iter().take(MAX_NAMED).map(|device| format!("the {}", device.name)).collect();
            let more = on.len() - named.len();
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            let which = if named.is_empty() { String::new() } else { format!(": {}{rest}", named.join(", ")) };
            format!("{} of {} are on{which}", on.len(), known.len())
        };
        let details = [("device", Value::from(subject.text.as_str())), ("state", Value::from(first.as_str()))];
        result(tool, Outcome::Done, if alike { &details } else { &details[..1] }, sentence(&clause))
    }

    /// `{room?}`: how warm it is there, or here, or wherever it is measured if that is one place.
    fn warmth(&self, tool: &str, room: Option<&str>) -> ToolResult {
        let devices = self.devices();
        let measured: Vec<(&Device, f64)> =
            devices.iter().filter_map(|device| Some((device, self.state(&device.id)?.current_c?))).collect();
        let place = match room.map(|room| room_named(&devices, room).ok_or(room)) {
            Some(Err(room)) => return missing(tool, "thermometer", Some(room), &[]),
            Some(Ok(place)) => Some(place),
            None => self.here.as_deref().and_then(|here| room_named(&devices, here)),
        };
        let there = |(device, _): &&(&Device, f64)| place.is_none_or(|place| super::resolve::is_in(device, place));
        let mut fitting: Vec<&(&Device, f64)> = measured.iter().filter(there).collect();
        if fitting.is_empty() && room.is_none() {
            fitting = measured.iter().collect();
        }
        // What only measures knows better than what heats.
        let rank = |device: &Device| usize::from(device.kind != "thermometer" && device.kind != "sensor");
        fitting.sort_by_key(|(device, _)| rank(device));
        let one_place = fitting.iter().all(|(device, _)| device.room == fitting[0].0.room);
        match fitting.as_slice() {
            [] => {
                let dead = devices.first().and_then(|device| self.out_of_reach(tool, &device.id));
                dead.unwrap_or_else(|| missing(tool, "thermometer", room, &[]))
            }
            [(device, celsius), ..] if one_place => {
                if let Some(answer) = self.out_of_reach(tool, &device.id) {
                    return answer;
                }
                let shown = self.degrees.show(*celsius);
                let place = place.filter(|_| room.is_some()).or(device.room.as_deref());
                let place = place.map(|place| format!(" {}", at(place, &device.kind))).unwrap_or_default();
                let details = [("device", Value::from(device.name.as_str())), ("celsius", Value::from(*celsius))];
                result(tool, Outcome::Done, &details, format!("It is {shown}{place}."))
            }
            several => {
                let mut places: Vec<String> = several.iter().filter_map(|(device, _)| device.room.clone()).collect();
                places.dedup();
                let more = places.len() > MAX_NAMED;
                let say =
                    if more { "In which room?".to_owned() } else { format!("In which room: {}?", list(&places, "or")) };
                asked(tool, say)
            }
        }
    }
}

/// "Which light: the kitchen light or the bedroom light?"
fn which(kind: &str, devices: &[Device]) -> String {
    if devices.len() > MAX_NAMED {
        return format!("Which {kind} do you mean? There are {}.", devices.len());
    }
    let names: Vec<String> = devices.iter().map(|device| format!("the {}", device.name)).collect();
    format!("Which {kind}: {}?", list(&names, "or"))
}

/// The home has no such thing; what else is in the room is named.
fn missing(tool: &str, kind: &str, room: Option<&str>, near: &[Device]) -> ToolResult {
    let is = if kind.ends_with('s') { "are" } else { "is" };
    let clause = match room {
        None => format!("there {is} no {kind} in this home"),
        Some(room) => {
            let names: Vec<String> = near.iter().map(|device| format!("the {}", device.name)).collect();
            let only = if names.is_empty() { String::new() } else { format!(", only {}", list(&names, "and")) };
            format!("there {is} no {kind} {}{only}", at(room, kind))
        }
    };
    refused(tool, &clause, sentence(&clause))
}

/// Awaits all futures at once; results in their order.
async fn all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<Pin<Box<_>>> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, done) in waiting.iter_mut().zip(&mut done) {
            if done.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(done.drain(..).flatten().collect()) } else { Poll::Pending }
    })
    .await
}

struct HouseTool {
    spec: ToolSpec,
    action: Action,
    house: Arc<House>,
}

impl Tool for HouseTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn intent(&self, arguments: &Arguments) -> Intent {
        self.house.intent(&self.spec.name, self.action, arguments)
    }

    fn call<'a>(&'a self, arguments: &'a Arguments) -> Answer<'a> {
        Box::pin(self.house.answer(&self.spec.name, self.action, arguments))
    }
}

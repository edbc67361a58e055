//! The home of a configuration: what its devices hang on, its tools, and what the model is told of it.
//!
//! Reads the model folder's descriptions and starts connections; opens no model. A command looks in as a guest, only the
//! daemon shows itself to the servers.

use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::dialogue::{Declared, ToolSpec};
use crate::failure::{Failure, UNAVAILABLE};
use crate::home::device::Backend;
use crate::home::hass::HomeAssistant;
use crate::home::house::{House, declare};
use crate::home::mqtt::Mqtt;
use crate::home::resolve::room_named;
use crate::home::risk::{Level, RiskConfig};
use crate::home::simulated::Simulated;
use crate::home::{self, HomeError, Registry, command, own, schema, timers, webhook};
use crate::model::manifest::Folder;

/// The tools of the starter, for a model folder that names none.
const STARTER_TOOLS: &str = include_str!("../../onnx/starter/tools.json");

/// The home of the configuration, with the tools that the model folder names, or else those of the starter.
///
/// # Errors
/// When the tools are damaged (69) or the home contradicts itself (78).
pub fn home(config: &Config) -> Result<Registry, Failure> {
    Ok(household(config)?.tools)
}

/// The timers in the state folder; where that cannot be used, timers that last as long as the process.
pub fn kept_timers(config: &Config) -> timers::SharedTimers {
    let kept = timers::SharedTimers::open(&config.state.timers(), timers::clock());
    let kept = kept.unwrap_or_else(|error| {
        tracing::error!(%error, "timers will not outlive a restart");
        timers::SharedTimers::new(timers::clock())
    });
    kept.with(config.timers.clone())
}

/// The tools, and what they work on.
pub struct Household {
    /// All tools.
    pub tools: Registry,
    /// The devices.
    pub house: Arc<House>,
    /// The timers, for whoever lets them ring.
    pub timers: timers::SharedTimers,
    /// The broker, if there is one, for whoever shows there what hearth does.
    pub mqtt: Option<Mqtt>,
    /// For whoever has the model.
    pub teller: Teller,
}

/// Tells a model what the home is like.
#[derive(Debug)]
pub struct Teller {
    house: Arc<House>,
    tools: Vec<ToolSpec>,
    /// The system text of the configuration.
    system: String,
    /// Does the model read declarations of tools?
    declares: bool,
    /// Of the house, when the model was told last.
    version: u64,
}

impl Teller {
    /// The same of these tools.
    fn of(self, tools: &Registry) -> Self {
        Self { tools: tools.specs(), ..self }
    }

    /// What the model is to be told before the first turn: one that reads declarations hears of this home as it is now,
    /// another has what it was trained on.
    pub fn told(&mut self) -> Declared {
        self.version = self.house.version();
        match self.declares {
            true => self.house.declared(&self.tools, &self.system),
            false => Declared { system: self.system.clone(), tools: self.tools.clone() },
        }
    }

    /// The same if the home is another since the model was told.
    pub fn news(&mut self) -> Option<Declared> {
        (self.declares && self.house.version() != self.version).then(|| self.told())
    }
}

/// The home of the configuration, with timers that last as long as the process.
///
/// # Errors
/// As [`home()`].
pub fn household(config: &Config) -> Result<Household, Failure> {
    let timers = timers::SharedTimers::new(timers::clock()).with(config.timers.clone());
    household_with(config, timers, Presence::Visit)
}

/// How the servers of the home are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// As hearth, which shows itself there: the daemon.
    Live,
    /// For the length of a command.
    Visit,
    /// Not at all: what is configured is looked at, and nothing is connected.
    Away,
}

/// The home of the configuration with these timers.
///
/// # Errors
/// As [`home()`].
pub fn household_with(config: &Config, timers: timers::SharedTimers, presence: Presence) -> Result<Household, Failure> {
    let (backends, mqtt) = backends(config, presence)?;
    let house = Arc::new(House::new(backends, &config.home, &config.risk));
    // What a server has may not be known yet.
    let known = config.home.home_assistant.url.is_none() && presence != Presence::Away;
    if known && let Some(here) = config.home.here.as_ref().filter(|here| room_named(&house.devices(), here).is_none()) {
        return Err(HomeError::Config(format!("here: there is no {here}")).into());
    }
    let (mut registry, teller, margin) = with_tools(config, &house, &timers)?;
    for tool in command::tools(&config.home.command)?.into_iter().chain(webhook::tools(&config.home.webhook)?) {
        registry = registry.with(tool)?;
    }
    let registry = registry.careful(&config.risk, config.model.min_margin.or(margin).unwrap_or(0.0));
    // A tool of your own goes here, see README.
    Ok(Household { teller: teller.of(&registry), tools: registry, house, timers, mqtt })
}

/// A home of its own in which nothing is asked back, with the tools of the configured model.
pub(super) fn measured(config: &Config, home: Simulated) -> Result<Household, Failure> {
    let free = home.devices().into_iter().map(|device| (device.id, Level::Free)).collect();
    let risk = RiskConfig { levels: free, ..config.risk.clone() };
    let house = Arc::new(House::new(vec![Backend::Simulated(home)], &config.home, &risk));
    let timers = timers::SharedTimers::new(timers::clock());
    let (registry, teller, _) = with_tools(config, &house, &timers)?;
    Ok(Household { tools: registry.careful(&risk, 0.0), house, timers, mqtt: None, teller })
}

/// The tools of the model over a house, and the margin that its manifest asks for.
fn with_tools(
    config: &Config,
    house: &Arc<House>,
    timers: &timers::SharedTimers,
) -> Result<(Registry, Teller, Option<f32>), Failure> {
    // A folder that is none is for whoever loads it to complain about.
    let manifest = Folder::read(&config.model.dir).map(|folder| folder.manifest);
    let (declares, margin) = manifest.map_or((false, None), |manifest| (manifest.declares_tools, manifest.min_margin));
    let registry = home::registry(&tools(&config.model.dir, declares)?, house, timers, &own::calendar())?;
    let (tools, system) = (registry.specs(), config.model.system.clone());
    let teller = Teller { house: Arc::clone(house), tools, system, declares, version: 0 };
    Ok((registry, teller, margin))
}

/// The tools that the model folder names, or those that go with such a model.
fn tools(folder: &Path, declares: bool) -> Result<Vec<ToolSpec>, Failure> {
    let path = folder.join("tools.json");
    let tools = match (path.exists(), declares) {
        (true, _) => schema::load(&path),
        (false, true) => Ok(declare::tools()),
        (false, false) => schema::parse(STARTER_TOOLS),
    };
    tools.map_err(|error| Failure::new(UNAVAILABLE, format!("{}: {error}", path.display())))
}

/// What the devices hang on, and the broker among it.
fn backends(config: &Config, presence: Presence) -> Result<(Vec<Backend>, Option<Mqtt>), Failure> {
    let (mut backends, mut mqtt) = (Vec::new(), None);
    let home = &config.home;
    if !home.simulated.is_empty() {
        backends.push(Backend::Simulated(Simulated::new(&home.simulated)?));
    }
    if home.mqtt.host.is_some() {
        mqtt = match presence {
            Presence::Live => Some(Mqtt::start(&home.mqtt)?),
            Presence::Visit => Some(Mqtt::visit(&home.mqtt)?),
            Presence::Away => home.mqtt.examine().map(|()| None)?,
        };
        backends.extend(mqtt.clone().map(Backend::Mqtt));
    }
    if home.home_assistant.url.is_some() {
        let (server, examined) = match presence {
            Presence::Away => (None, home.home_assistant.examine()),
            _ => (Some(HomeAssistant::start(&home.home_assistant).map_err(HomeError::from)?), Ok(())),
        };
        examined.map_err(HomeError::from)?;
        backends.extend(server.map(Backend::HomeAssistant));
    }
    Ok((backends, mqtt))
}

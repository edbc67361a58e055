//! Tools that need no house: the time, the date, the speaker's own volume; and what only a conversation can answer.
//!
//! Pure but for the clock that they are given. The volume is not set here: the result asks for it ([`Effect::Volume`]).

use std::sync::Arc;

use jiff::ZonedDateTime;
use serde_json::Value;

use super::risk::{Intent, Level};
use super::timers::time_of_day;
use super::{Answer, Tool, asked, done, refused, result};
use crate::dialogue::{Arguments, Effect, Outcome, ToolResult, ToolSpec, Volume};

/// Percentage points of "louder" and "quieter".
const STEP: i8 = 15;

/// Tells the date and the local time; a test's calendar stands still.
pub type Calendar = Arc<dyn Fn() -> ZonedDateTime + Send + Sync>;

/// The machine's calendar.
#[must_use]
pub fn calendar() -> Calendar {
    Arc::new(ZonedDateTime::now)
}

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Time,
    Date,
    SetVolume,
    ChangeVolume,
    /// Nothing to stop: that is no fault, and nothing to talk about.
    Stop,
    /// Yes, no and the like, outside of a conversation.
    Talk,
}

struct OwnTool {
    spec: ToolSpec,
    action: Action,
    calendar: Calendar,
}

/// The tool that `spec` declares, `None` when it is none of these.
#[must_use]
pub fn tool(spec: &ToolSpec, calendar: &Calendar) -> Option<Box<dyn Tool>> {
    let action = match spec.name.as_str() {
        "get_time" => Action::Time,
        "get_date" => Action::Date,
        "set_volume" => Action::SetVolume,
        "change_volume" => Action::ChangeVolume,
        "stop" => Action::Stop,
        "confirm" | "deny" | "repeat" | "correct" => Action::Talk,
        _ => return None,
    };
    Some(Box::new(OwnTool { spec: spec.clone(), action, calendar: Arc::clone(calendar) }))
}

impl OwnTool {
    fn answer(&self, arguments: &Arguments) -> ToolResult {
        let name = &self.spec.name;
        match self.action {
            Action::Time => {
                let now = (self.calendar)();
                let details = [("time", Value::from(now.strftime("%H:%M").to_string()))];
                result(name, Outcome::Done, &details, format!("It is {}.", time_of_day(now.time())))
            }
            Action::Date => {
                let now = (self.calendar)();
                let details = [("date", Value::from(now.date().to_string()))];
                result(name, Outcome::Done, &details, format!("Today is {}.", now.strftime("%A, %B %-d")))
            }
            Action::SetVolume => {
                let percent = arguments.get("percent").and_then(Value::as_i64);
                match percent.map(|percent| u8::try_from(percent).ok().filter(|percent| *percent <= 100)) {
                    None => asked(name, "How loud, in percent?".to_owned()),
                    Some(None) => refused(name, "out of range", "The volume goes from 0 to 100 percent.".to_owned()),
                    Some(Some(percent)) => {
                        self.volume(Volume::To(percent), format!("The volume is {percent} percent."))
                    }
                }
            }
            Action::ChangeVolume => match arguments.get("direction").and_then(Value::as_str) {
                Some("louder" | "up") => self.volume(Volume::By(STEP), "Louder.".to_owned()),
                Some("quieter" | "down") => self.volume(Volume::By(-STEP), "Quieter.".to_owned()),
                _ => asked(name, "Louder or quieter?".to_owned()),
            },
            Action::Stop => done(name, String::new()),
            Action::Talk => refused(name, "there is no conversation", "There is nothing to answer.".to_owned()),
        }
    }

    fn volume(&self, volume: Volume, say: String) -> ToolResult {
        ToolResult { effect: Some(Effect::Volume(volume)), ..done(&self.spec.name, say) }
    }
}

impl Tool for OwnTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn intent(&self, arguments: &Arguments) -> Intent {
        let to = match self.action {
            Action::Time => "tell the time".to_owned(),
            Action::Date => "tell the date".to_owned(),
            Action::SetVolume => match arguments.get("percent") {
                Some(percent) => format!("set my volume to {percent} percent"),
                None => return Intent::Nothing,
            },
            Action::ChangeVolume => {
                let direction = arguments.get("direction").and_then(Value::as_str).unwrap_or("louder");
                format!("speak {direction}")
            }
            Action::Stop | Action::Talk => return Intent::Nothing,
        };
        Intent::Do { to, level: Level::Free }
    }

    fn call<'a>(&'a self, arguments: &'a Arguments) -> Answer<'a> {
        Box::pin(std::future::ready(self.answer(arguments)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn time_date_and_volume() {
        let check = |at: &str, name: &str, arguments: Value, outcome: Outcome, say: &str, effect: Option<Volume>| {
            let now: ZonedDateTime = at.parse().unwrap();
            let calendar: Calendar = Arc::new(move || now.clone());
            let mut spec = ToolSpec::from_json(&json!({"name": name, "description": ""})).unwrap();
            spec.parameters.clear();
            let tool = tool(&spec, &calendar).unwrap();
            let arguments = arguments.as_object().unwrap().clone();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let result = runtime.block_on(tool.call(&arguments));
            assert_eq!(result.say.as_deref(), Some(say), "{name} {arguments:?}");
            assert_eq!(result.outcome, outcome, "{name} {arguments:?}");
            assert_eq!(result.effect, effect.map(Effect::Volume), "{name} {arguments:?}");
        };
        use Outcome::{Asked, Done, Refused};
        let noon = "2026-11-25T12:00:00+01:00[Europe/Berlin]";
        check(noon, "get_time", json!({}), Done, "It is noon.", None);
        check("2026-11-25T00:05:00[Europe/Berlin]", "get_time", json!({}), Done, "It is 12:05 AM.", None);
        check("2026-11-25T19:30:59[Europe/Berlin]", "get_time", json!({}), Done, "It is 7:30 PM.", None);
        check(noon, "get_date", json!({}), Done, "Today is Wednesday, November 25.", None);
        let volume = |percent: Value, outcome, say, effect| {
            check(noon, "set_volume", json!({"percent": percent}), outcome, say, effect);
        };
        volume(json!(40), Done, "The volume is 40 percent.", Some(Volume::To(40)));
        volume(json!(140), Refused, "The volume goes from 0 to 100 percent.", None);
        volume(json!(null), Asked, "How loud, in percent?", None);
        check(noon, "change_volume", json!({"direction": "louder"}), Done, "Louder.", Some(Volume::By(15)));
        check(noon, "change_volume", json!({"direction": "quieter"}), Done, "Quieter.", Some(Volume::By(-15)));
        check(noon, "stop", json!({}), Done, "", None);
        check(noon, "confirm", json!({}), Refused, "There is nothing to answer.", None);
    }
}

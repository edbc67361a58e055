//! Faults that a real server does not show on demand: scenario S17 of the field notes.

use std::time::{Duration, Instant};

use hearth::home::device::{Fault, Health, Order};
use hearth::home::hass::{HomeAssistant, HomeAssistantConfig, HomeAssistantError};
use tempfile::TempDir;

use super::fake::{Deed, Door, Fake};
use super::{apply, block_on, start, until};

const SECRET: &str = "eyJhbGciOi.not-a-real-token";

fn token() -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("token");
    std::fs::write(&path, format!("{SECRET}\n")).expect("it is written");
    (dir, path)
}

#[test]
fn every_bad_door_is_bounded() {
    block_on(async {
        for (door, expected) in [
            (Door::Status(500), "HTTP 500"),
            (Door::Status(403), "HTTP 403"),
            (Door::Status(302), "HTTP 302"),
            (Door::Nonsense, ""),
            (Door::Silent, ""),
        ] {
            let fake = Fake::start(door).await;
            let (_dir, path) = token();
            let home = start(fake.port, &path);
            let (result, took) = apply(&home, "light.kitchen", &Order::On).await;
            assert!(matches!(result, Err(Fault::Unreachable(_))), "{door:?}: {result:?}");
            assert!(took < Duration::from_millis(500), "{door:?}: {took:?}");
            let says = || matches!(home.health(), Health::Connecting(reason) if reason.contains(expected));
            until("the reason", 7, says).await;
            // Half a second, one, two: no storm.
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(fake.connections() <= 3, "{door:?}: {}", fake.connections());
            if door == Door::Status(403) {
                assert_eq!(fake.connections(), 1, "who is turned away does not knock again soon");
            }
        }
    });
}

#[test]
fn a_refused_token_is_said_once_and_not_tried_again() {
    block_on(async {
        for door in [Door::Refused, Door::Status(401)] {
            let fake = Fake::start(door).await;
            let (_dir, path) = token();
            let home = start(fake.port, &path);
            let Health::Unauthorised(message) = home.ready(Duration::from_secs(3)).await else {
                panic!("{door:?}: {:?}", home.health());
            };
            assert!(message.contains("does not accept the token") && !message.contains(SECRET), "{message}");
            for _ in 0..20 {
                let (result, took) = apply(&home, "light.kitchen", &Order::On).await;
                assert_eq!(result, Err(Fault::Unauthorised(message.clone())));
                assert!(took < Duration::from_millis(100), "{took:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert_eq!(fake.connections(), 1, "{door:?}");
            assert!(!format!("{home:?}").contains(SECRET));
        }
    });
}

#[test]
fn nobody_there() {
    block_on(async {
        let (_dir, path) = token();
        let home = start(super::server::free_port(), &path);
        let (result, _) = apply(&home, "light.kitchen", &Order::On).await;
        assert!(matches!(result, Err(Fault::Unreachable(_))), "{result:?}");
        let refused = || matches!(home.health(), Health::Connecting(reason) if reason.contains("refused"));
        until("the reason", 3, refused).await;
        assert!(home.devices().is_empty());
    });
}

#[test]
fn faults_of_the_configuration() {
    block_on(async {
        let (_dir, path) = token();
        let check = |url: &str, token_file: Option<&std::path::Path>, expected: &str| {
            let token_file = token_file.map(Into::into);
            let config = HomeAssistantConfig { url: Some(url.to_owned()), token_file, ca_file: None };
            let error: HomeAssistantError = HomeAssistant::start(&config).expect_err(url);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.to_string().contains(SECRET), "{error}");
        };
        check("homeassistant.local", Some(&path), "home.home_assistant.url");
        check("http://h:8123", None, "no token for Home Assistant");
        check("http://h:8123", Some(&path.with_extension("gone")), "token.gone: No such file");
        std::fs::write(&path, "two words").expect("it is written");
        check("http://h:8123", Some(&path), "does not hold a token");
    });
}

/// A fake with its connection up.
async fn connected() -> (Fake, HomeAssistant, TempDir) {
    let fake = Fake::start(Door::Open).await;
    let (dir, path) = token();
    let home = start(fake.port, &path);
    assert_eq!(home.ready(Duration::from_secs(3)).await, Health::Ready);
    (fake, home, dir)
}

#[test]
fn only_what_may_be_done_twice_is_repeated() {
    block_on(async {
        let (fake, home, _dir) = connected().await;
        fake.will(&[Deed::Break]);
        let (result, _) = apply(&home, "light.kitchen", &Order::On).await;
        assert_eq!(result.map(|state| state.on), Ok(Some(true)));
        assert_eq!(fake.calls(), ["light.turn_on", "light.turn_on"]);
        fake.will(&[Deed::Break]);
        let (result, _) = apply(&home, "media_player.radio", &Order::Next).await;
        assert!(matches!(result, Err(Fault::Unconfirmed(_))), "{result:?}");
        until("the connection", 5, || home.health() == Health::Ready).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(fake.calls(), ["media_player.media_next_track"]);
        // It never comes through: bounded, and with an end to the repeating.
        fake.will(&[Deed::Break; 50]);
        let (result, _) = apply(&home, "light.kitchen", &Order::Off).await;
        assert_eq!(result, Err(Fault::TimedOut));
        tokio::time::sleep(Duration::from_millis(500)).await;
        let calls = fake.calls().len();
        assert!((2..15).contains(&calls), "{calls}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(fake.calls().len(), 0, "who no longer waits is no longer served");
    });
}

#[test]
fn what_the_server_says_of_a_call_is_told() {
    block_on(async {
        let (fake, home, _dir) = connected().await;
        let unreachable = Fault::Unreachable("the bulb does not answer".to_owned());
        for (deed, expected) in [
            (Deed::Fail("home_assistant_error", "the bulb does not answer"), unreachable),
            (Deed::Fail("service_validation_error", "no"), Fault::Refused("cannot be switched on or off".to_owned())),
            (Deed::Fail("unauthorized", "no"), Fault::Refused("may not be used by hearth".to_owned())),
            (Deed::Fail("unknown_error", "oops"), Fault::Unconfirmed("unknown_error: oops".to_owned())),
            (Deed::Pretend, Fault::Unconfirmed("light.kitchen is off".to_owned())),
        ] {
            fake.will(&[deed]);
            let (result, _) = apply(&home, "light.kitchen", &Order::On).await;
            assert_eq!(result, Err(expected), "{deed:?}");
        }
        assert_eq!(fake.calls().len(), 5, "a call that failed is not repeated");
        fake.will(&[Deed::ObeyThenFail]);
        let (result, _) = apply(&home, "light.kitchen", &Order::On).await;
        assert_eq!(result.map(|state| state.on), Ok(Some(true)), "the light is on, whatever the server says");
    });
}

#[test]
fn many_orders_at_once() {
    block_on(async {
        let (fake, home, _dir) = connected().await;
        let begun = Instant::now();
        let orders = (0..40).map(|number| {
            let order = if number % 2 == 0 { Order::On } else { Order::Next };
            let id = if number % 2 == 0 { "light.kitchen" } else { "media_player.radio" };
            let home = home.clone();
            tokio::spawn(async move { home.apply(id, &order).await })
        });
        for order in orders.collect::<Vec<_>>() {
            let result = order.await.expect("it does not panic");
            assert!(result.is_ok(), "{result:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(fake.calls().len(), 40);
        // One whose future is dropped at once never goes out.
        drop(home.apply("light.kitchen", &Order::Off));
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(fake.calls().len(), 0);
    });
}

#[test]
fn floors_and_labels_of_newer_servers() {
    block_on(async {
        let (fake, home, _dir) = connected().await;
        let devices = home.devices();
        let light = devices.iter().find(|device| device.id == "light.kitchen").expect("it is exposed");
        assert_eq!(light.room.as_deref(), Some("Kitchen"));
        assert_eq!(light.places, ["Cooking Corner", "Ground Floor", "Downstairs", "Evening"]);
        assert_eq!(light.aliases, ["Big Light"]);
        fake.door(Door::Refused);
        assert_eq!(home.health(), Health::Ready, "an open connection stays");
    });
}

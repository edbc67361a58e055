//! Other players on a real D-Bus of the test's own: lowered or paused while hearth listens and speaks, and let go on.

use std::future::Future;
use std::time::Duration;

use hearth::conversation::State;
use hearth::duck::{Duck, DuckConfig, Players};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

mod mpris;

use mpris::{Bus, FIXED, Nature, PLAYS, Player};

/// Waits until a player is seen so.
async fn until(player: &Player, expected: (&'static str, f64)) {
    let begun = Instant::now();
    while player.seen() != expected {
        assert!(begun.elapsed() < Duration::from_secs(5), "seen {:?}, expected {expected:?}", player.seen());
        sleep(Duration::from_millis(5)).await;
    }
}

/// Long enough for whatever is not expected to happen.
async fn rest() {
    sleep(Duration::from_millis(300)).await;
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(Bus) -> F) {
    let Some(bus) = Bus::start() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test(bus));
}

fn start(bus: &Bus, players: Players) -> Duck {
    Duck::start(&DuckConfig { players }, Some(bus.address.clone()))
}

#[test]
fn players_are_quiet_while_hearth_listens_and_speaks() {
    run(|bus| async move {
        let loud = Player::start(&bus.address, "loud", PLAYS).await;
        let fixed = Player::start(&bus.address, "fixed", FIXED).await;
        let silent = Player::start(&bus.address, "silent", Nature { status: "Paused", ..PLAYS }).await;
        // It has a second name, and is lowered once.
        loud.bus.request_name("org.mpris.MediaPlayer2.loud.instance1").await.expect("the name is free");
        let duck = start(&bus, Players::Volume);
        for state in [State::Listening, State::Thinking, State::Acting, State::Speaking] {
            duck.show(state);
            until(&loud, ("Playing", 0.16)).await;
            until(&fixed, ("Paused", 0.8)).await;
            rest().await;
            assert_eq!((loud.seen().1, silent.seen()), (0.16, ("Paused", 0.8)), "{state:?}");
        }
        duck.show(State::Idle);
        until(&loud, ("Playing", 0.8)).await;
        until(&fixed, ("Playing", 0.8)).await;
        assert_eq!(silent.seen(), ("Paused", 0.8));

        // The daemon ends in the middle of a turn.
        duck.show(State::Listening);
        until(&loud, ("Playing", 0.16)).await;
        duck.end().await;
        assert_eq!((loud.seen(), fixed.seen()), (("Playing", 0.8), ("Playing", 0.8)));
    });
}

#[test]
fn what_somebody_changed_meanwhile_stays() {
    // What the player is like, what hearth makes of it, what somebody does then, one after another, and what is left.
    type Seen = (&'static str, f64);
    async fn check(players: Players, nature: Nature, made: Seen, done: &[Seen], left: Seen) {
        let Some(bus) = Bus::start() else { return };
        let player = Player::start(&bus.address, "player", nature).await;
        let duck = start(&bus, players);
        duck.show(State::Listening);
        until(&player, made).await;
        rest().await;
        for (status, volume) in done {
            player.set(status, *volume).await;
        }
        duck.show(State::Idle);
        until(&player, left).await;
        rest().await;
        assert_eq!(player.seen(), left, "{players:?}, {done:?}");
        duck.end().await;
    }
    run(|_| async {
        let (lowered, paused) = (("Playing", 0.16), ("Paused", 0.8));
        check(Players::Volume, PLAYS, lowered, &[("Playing", 0.5)], ("Playing", 0.5)).await;
        check(Players::Volume, PLAYS, lowered, &[("Paused", 0.16)], paused).await;
        check(Players::Pause, PLAYS, paused, &[], ("Playing", 0.8)).await;
        check(Players::Pause, PLAYS, paused, &[("Stopped", 0.8)], ("Stopped", 0.8)).await;
        // Nobody would see from the end that it was paused by somebody else.
        check(Players::Pause, PLAYS, paused, &[("Playing", 0.8), paused], paused).await;
        check(Players::Off, PLAYS, ("Playing", 0.8), &[], ("Playing", 0.8)).await;
    });
}

#[test]
fn a_player_that_vanishes_or_hangs_keeps_no_other_waiting() {
    run(|bus| async move {
        let player = Player::start(&bus.address, "player", PLAYS).await;
        let vanishing = Player::start(&bus.address, "vanishing", PLAYS).await;
        let hanging = Player::start(&bus.address, "hanging", Nature { hangs: true, ..PLAYS }).await;
        let duck = start(&bus, Players::Volume);
        let begun = Instant::now();
        duck.show(State::Listening);
        until(&player, ("Playing", 0.16)).await;
        until(&vanishing, ("Playing", 0.16)).await;
        assert!(begun.elapsed() < Duration::from_millis(450), "{:?}", begun.elapsed());
        vanishing.vanish().await;
        // One that is started anew under its name was never touched.
        let anew = Player::start(&bus.address, "vanishing", Nature { volume: 0.16, ..PLAYS }).await;
        duck.show(State::Idle);
        until(&player, ("Playing", 0.8)).await;
        rest().await;
        assert_eq!((anew.seen().1, hanging.seen().1), (0.16, 0.8));

        // One that hangs once it was lowered is given up, and no other is.
        duck.show(State::Listening);
        until(&player, ("Playing", 0.16)).await;
        rest().await;
        anew.nature.borrow_mut().hangs = true;
        duck.show(State::Idle);
        until(&player, ("Playing", 0.8)).await;
        sleep(Duration::from_millis(600)).await;
        duck.show(State::Speaking);
        until(&player, ("Playing", 0.16)).await;
        duck.end().await;
        assert_eq!(player.seen(), ("Playing", 0.8));
    });
}

#[test]
fn without_a_bus_nothing_happens() {
    run(|_| async {
        let nowhere = "unix:path=/nonexistent/bus".to_owned();
        let duck = Duck::start(&DuckConfig::default(), Some(nowhere));
        for state in [State::Listening, State::Idle, State::Listening] {
            duck.show(state);
            rest().await;
        }
        let begun = Instant::now();
        duck.end().await;
        assert!(begun.elapsed() < Duration::from_millis(500));
    });
}

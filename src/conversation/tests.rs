//! What the conversation does, as tables of what happens and what is to be done.

use std::time::Duration;

use serde_json::Map;

use super::*;
use crate::dialogue::{Effect, ReplyEvent, Stop, ToolCall, ToolResult};
use crate::listen::listener::DeviceState;

mod silences;

const CONFIG: TurnTaking = TurnTaking {
    phrases: false,
    reads_text: true,
    wait_ms: 4000,
    follow_up_ms: 0,
    question_ms: 6000,
    barge_in: true,
    max_ms: 30_000,
    ends: EndSilences { early_ms: None, late_ms: None },
    consent: Duration::from_secs(15),
};

/// Outputs in short: `begin 1`, `call 1`, `say 1 text`, `show idle`, ...
fn short(output: Output) -> String {
    match output {
        Output::Model(id, job) => {
            let job = match job {
                Job::Begin(Start::Answer) => "begin answer".into(),
                Job::Begin(_) => "begin".into(),
                Job::Hear(samples) => format!("hear {}", samples.len()),
                Job::Read(text) => format!("read {text}"),
                Job::Draft(0) => "draft".into(),
                Job::Draft(pause) => format!("draft {pause}"),
                Job::Resume => "resume".into(),
                Job::Commit => "commit".into(),
                Job::Answer(_) => "answer".into(),
                Job::Settle { .. } => "settle".into(),
                Job::Cancel => "forget".into(),
                Job::Declare(_) => "declare".into(),
                Job::Transcribe(_) => "transcribe".into(),
            };
            format!("{}:{job}", id.0)
        }
        Output::Listen(ListenCommand::Arm { pre_roll, wait_ms, hold }) => {
            format!("arm {wait_ms}{}{}", if pre_roll { "" } else { " from now" }, if hold { " held" } else { "" })
        }
        Output::Listen(ListenCommand::Speaking(Some(words))) => format!("echo {words}"),
        Output::Listen(ListenCommand::Speaking(None)) => "drained".into(),
        Output::Listen(command) => format!("{command:?}").to_lowercase(),
        Output::Call(id, call) => format!("{}:call {}", id.0, call.name),
        Output::Say(id, text) => format!("{}:say {text}", id.0),
        Output::Voice(id, text) => format!("{}:voice {text}", id.0),
        Output::EndSpeech(id) => format!("{}:end", id.0),
        Output::Hush(_) => "hush".into(),
        Output::Ring(id) => format!("{}:ring", id.0),
        Output::Play(earcon) => format!("{earcon:?}").to_lowercase(),
        Output::Show(state) => format!("[{state:?}]").to_lowercase(),
        Output::NothingSaid => "nothing".into(),
    }
}

struct Talk(Conversation);

impl Talk {
    fn new(config: TurnTaking) -> Self {
        Self(Conversation::new(config, 0, Instant::now()))
    }

    fn check(&mut self, input: Input, expected: &str) {
        let found: Vec<String> = self.0.handle(input.clone(), Instant::now()).into_iter().map(short).collect();
        assert_eq!(found.join(", "), expected, "{input:?}");
    }
}

fn wake() -> Input {
    Input::Heard(ListenEvent::Wake { word: "computer".into(), score: 0.9 })
}

fn heard(event: ListenEvent) -> Input {
    Input::Heard(event)
}

fn call(turn: u64) -> Input {
    Input::Reply(TurnId(turn), ReplyEvent::Call(ToolCall::new("turn_on", Map::new())))
}

fn stop(turn: u64, stop: Stop) -> Input {
    Input::Reply(TurnId(turn), ReplyEvent::End(stop))
}

fn done(turn: u64, outcome: Outcome, say: &str) -> Input {
    let result =
        ToolResult { name: "turn_on".into(), outcome, content: Map::new(), say: Some(say.into()), effect: None };
    Input::Done(TurnId(turn), result)
}

#[test]
fn a_command_from_wake_word_to_idle() {
    let mut talk = Talk::new(CONFIG);
    talk.check(wake(), "1:begin, arm 4000, [listening]");
    talk.check(heard(ListenEvent::Waiting), "listening");
    talk.check(heard(ListenEvent::SpeechStarted), "");
    talk.check(heard(ListenEvent::Audio(vec![0.0; 3])), "1:hear 3");
    talk.check(heard(ListenEvent::Pause(1)), "1:draft 1");
    talk.check(heard(ListenEvent::Audio(vec![0.0; 2])), "1:hear 2");
    talk.check(heard(ListenEvent::Resumed), "1:resume");
    talk.check(heard(ListenEvent::Pause(1)), "1:draft 1");
    talk.check(heard(ListenEvent::End(EndReason::Silence(700))), "1:commit, [thinking]");
    talk.check(call(1), "");
    talk.check(stop(1, Stop::AwaitsTools), "1:call turn_on, [acting]");
    talk.check(done(1, Outcome::Done, "It is on."), "echo It is on., 1:say It is on., [speaking], 1:end, 1:settle");
    talk.check(Input::Spoken(TurnId(1)), "drained, [idle]");
}

#[test]
fn an_end_without_a_pause_is_drafted_first() {
    let mut talk = Talk::new(CONFIG);
    talk.check(Input::Key(Key::Down), "1:begin, arm 30000 held, [listening]");
    talk.check(Input::Key(Key::Down), "");
    talk.check(heard(ListenEvent::Audio(vec![0.0])), "1:hear 1");
    talk.check(Input::Key(Key::Up), "release");
    talk.check(heard(ListenEvent::End(EndReason::Released)), "1:draft, 1:commit, [thinking]");
    talk.check(stop(1, Stop::EndOfTurn), "1:end, 1:settle");
    talk.check(Input::Spoken(TurnId(1)), "[idle]");
    talk.check(Input::Key(Key::Up), "");
}

#[test]
fn nobody_speaks() {
    let mut talk = Talk::new(CONFIG);
    talk.check(wake(), "1:begin, arm 4000, [listening]");
    talk.check(heard(ListenEvent::End(EndReason::Nothing)), "nothing, hush, 1:forget, disarm, [idle], sorry");
}

#[test]
fn without_a_microphone_nothing_is_waited_for() {
    let lost = || heard(ListenEvent::Device(DeviceState::Missing("it was unplugged".into())));
    let back = || heard(ListenEvent::Device(DeviceState::Running("mic".into())));
    let mut talk = Talk::new(TurnTaking { follow_up_ms: 3000, ..CONFIG });
    talk.check(back(), "");
    talk.check(Input::Key(Key::Toggle), "1:begin, arm 4000, [listening]");
    talk.check(Input::Announce("The egg timer is over.".into()), "");
    let rings = "echo The egg timer is over., 2:say The egg timer is over., [speaking], 2:end";
    talk.check(lost(), &format!("nothing, hush, 1:forget, disarm, [idle], sorry, {rings}"));
    talk.check(Input::Spoken(TurnId(2)), "drained, [idle]");
    talk.check(Input::Key(Key::Down), "");
    talk.check(back(), "");
    talk.check(Input::Key(Key::Down), "3:begin, arm 30000 held, [listening]");
    // What is decided goes on.
    talk.check(heard(ListenEvent::End(EndReason::Released)), "3:draft, 3:commit, [thinking]");
    talk.check(lost(), "");
    talk.check(stop(3, Stop::EndOfTurn), "3:end, 3:settle");
}

#[test]
fn what_waited_is_said_after_a_tap_a_cancel_and_a_mute() {
    let said = "echo Tea., 2:say Tea., [speaking], 2:end";
    let muted = "mute(true), muted, [muted], echo Tea., 2:say Tea., 2:end";
    for (input, expected) in [
        (Input::Tap, format!("nothing, hush, 1:forget, disarm, [idle], {said}")),
        (Input::Cancel, format!("hush, 1:forget, disarm, [idle], {said}")),
        (Input::Mute(true), format!("hush, 1:forget, disarm, [idle], {muted}")),
    ] {
        let mut talk = Talk::new(CONFIG);
        talk.check(Input::Key(Key::Down), "1:begin, arm 30000 held, [listening]");
        talk.check(Input::Announce("Tea.".into()), "");
        talk.check(input, &expected);
    }
}

#[test]
fn a_long_announcement_is_said_sentence_by_sentence() {
    let mut talk = Talk::new(CONFIG);
    let expected = "echo One., 1:say One., [speaking], echo One. Two., 1:say Two., 1:end";
    talk.check(Input::Announce("One. Two.".into()), expected);
}

#[test]
fn waking_cancel_and_mute_end_the_turn_and_what_is_late_is_dropped() {
    for (interruption, expected) in [
        (wake(), "hush, 1:forget, disarm, [idle], 2:begin, arm 4000, [listening]"),
        (Input::Cancel, "hush, 1:forget, disarm, [idle]"),
        (Input::Mute(true), "hush, 1:forget, disarm, [idle], mute(true), muted, [muted]"),
    ] {
        let mut talk = Talk::new(CONFIG);
        talk.check(wake(), "1:begin, arm 4000, [listening]");
        talk.check(heard(ListenEvent::End(EndReason::Silence(700))), "1:draft, 1:commit, [thinking]");
        talk.check(interruption, expected);
        talk.check(call(1), "");
        talk.check(stop(1, Stop::AwaitsTools), "");
        talk.check(done(1, Outcome::Done, "It is on."), "");
        talk.check(Input::Spoken(TurnId(1)), "");
        talk.check(Input::Failed(TurnId(1)), "");
    }
}

#[test]
fn muted_is_deaf_but_not_dumb() {
    let mut talk = Talk::new(CONFIG);
    talk.check(Input::Mute(false), "");
    talk.check(Input::Mute(true), "mute(true), muted, [muted]");
    talk.check(wake(), "");
    talk.check(heard(ListenEvent::BargeIn), "");
    talk.check(Input::Key(Key::Down), "");
    talk.check(
        Input::Announce("The egg timer is over.".into()),
        "echo The egg timer is over., 1:say The egg timer is over., 1:end",
    );
    talk.check(Input::Spoken(TurnId(1)), "drained");
    talk.check(Input::Ask("hello".into()), "2:begin, 2:read hello, 2:draft, 2:commit");
    talk.check(Input::Mute(false), "hush, 2:forget, disarm, mute(false), unmuted, [idle]");
}

#[test]
fn the_microphone_opens_after_a_question_once_it_was_heard() {
    let mut talk = Talk::new(CONFIG);
    talk.check(wake(), "1:begin, arm 4000, [listening]");
    talk.check(heard(ListenEvent::End(EndReason::Silence(700))), "1:draft, 1:commit, [thinking]");
    talk.check(call(1), "");
    talk.check(stop(1, Stop::AwaitsTools), "1:call turn_on, [acting]");
    talk.check(done(1, Outcome::Asked, "Which one?"), "echo Which one?, 1:say Which one?, [speaking], 1:end, 1:settle");
    talk.check(Input::Spoken(TurnId(1)), "drained, 2:begin, arm 6000 from now, [listening]");
    talk.check(heard(ListenEvent::End(EndReason::Nothing)), "nothing, hush, 2:forget, disarm, [idle]");
}

/// What is heard right after a question that a yes answers is an answer; who calls anew may want something else.
#[test]
fn a_question_is_answered_by_yes_or_no() {
    let asks = || {
        let effect = Some(Effect::Confirm("unlock the front door".into()));
        let say = Some("Shall I unlock the front door?".into());
        let result = ToolResult { name: "turn_on".into(), outcome: Outcome::Asked, content: Map::new(), say, effect };
        Input::Done(TurnId(1), result)
    };
    for (calls, expected) in [
        (false, "drained, 2:begin answer, arm 6000 from now, [listening]"),
        (true, "hush, drained, disarm, [idle], 2:begin, arm 4000, [listening]"),
    ] {
        let mut talk = Talk::new(CONFIG);
        talk.check(wake(), "1:begin, arm 4000, [listening]");
        talk.check(heard(ListenEvent::End(EndReason::Silence(700))), "1:draft, 1:commit, [thinking]");
        talk.check(call(1), "");
        talk.check(stop(1, Stop::AwaitsTools), "1:call turn_on, [acting]");
        talk.check(
            asks(),
            "echo Shall I unlock the front door?, 1:say Shall I unlock the front door?, [speaking], 1:end, 1:settle",
        );
        talk.check(if calls { wake() } else { Input::Spoken(TurnId(1)) }, expected);
    }
}

#[test]
fn a_cough_after_the_wake_word_is_not_the_command() {
    let mut talk = Talk::new(CONFIG);
    talk.check(wake(), "1:begin, arm 4000, [listening]");
    talk.check(heard(ListenEvent::End(EndReason::Silence(700))), "1:draft, 1:commit, [thinking]");
    talk.check(stop(1, Stop::EndOfTurn), "1:end, 1:settle");
    talk.check(Input::Spoken(TurnId(1)), "2:begin, arm 4000, [listening]");
    talk.check(heard(ListenEvent::Waiting), "");
    talk.check(heard(ListenEvent::End(EndReason::Silence(700))), "2:draft, 2:commit, [thinking]");
    talk.check(stop(2, Stop::EndOfTurn), "2:end, 2:settle");
    // Once is enough.
    talk.check(Input::Spoken(TurnId(2)), "[idle]");
}

#[test]
fn announcements_wait_for_the_turn_to_end() {
    let mut talk = Talk::new(CONFIG);
    talk.check(wake(), "1:begin, arm 4000, [listening]");
    talk.check(Input::Announce("The egg timer is over.".into()), "");
    talk.check(heard(ListenEvent::End(EndReason::Silence(700))), "1:draft, 1:commit, [thinking]");
    talk.check(stop(1, Stop::EndOfTurn), "1:end, 1:settle");
    talk.check(
        Input::Spoken(TurnId(1)),
        "[idle], echo The egg timer is over., 2:say The egg timer is over., [speaking], 2:end",
    );
    talk.check(Input::Spoken(TurnId(2)), "drained, [idle]");
}

#[test]
fn ringing_is_silenced_as_a_reply_is_and_waits_for_nobody() {
    let mut talk = Talk::new(CONFIG);
    talk.check(Input::Ring, "1:ring, [speaking], 1:end");
    talk.check(Input::Ring, "");
    talk.check(Input::Spoken(TurnId(1)), "[idle]");
    talk.check(Input::Ring, "2:ring, [speaking], 2:end");
    talk.check(wake(), "hush, disarm, [idle], 3:begin, arm 4000, [listening]");
    talk.check(Input::Ring, "");
    talk.check(Input::Cancel, "hush, 3:forget, disarm, [idle]");
}

#[test]
fn what_the_model_writes_is_said_a_sentence_at_a_time_while_it_writes() {
    let mut talk = Talk::new(TurnTaking { phrases: true, ..CONFIG });
    talk.check(Input::Ask("hello".into()), "1:begin, 1:read hello, 1:draft, 1:commit, [thinking]");
    let text = |piece: &str| Input::Reply(TurnId(1), ReplyEvent::Text(piece.into()));
    talk.check(text("It is"), "");
    talk.check(text(" nine. The"), "echo It is nine., 1:say It is nine., [speaking]");
    talk.check(text(" sun is up. And"), "echo It is nine. The sun is up., 1:say The sun is up.");
    talk.check(stop(1, Stop::EndOfTurn), "echo It is nine. The sun is up. And, 1:say And, 1:end, 1:settle");
    talk.check(Input::Spoken(TurnId(1)), "drained, [idle]");
    // What was begun before a call is said before it is made, and an interruption forgets it.
    talk.check(Input::Ask("hello".into()), "2:begin, 2:read hello, 2:draft, 2:commit, [thinking]");
    talk.check(Input::Reply(TurnId(2), ReplyEvent::Text("Let me see".into())), "");
    talk.check(call(2), "");
    talk.check(stop(2, Stop::AwaitsTools), "echo Let me see, 2:say Let me see, [speaking], 2:call turn_on, [acting]");
    talk.check(Input::Cancel, "hush, 2:forget, drained, disarm, [idle]");
}

#[test]
fn a_failing_model_apologises() {
    let mut talk = Talk::new(CONFIG);
    talk.check(Input::Ask("hello".into()), "1:begin, 1:read hello, 1:draft, 1:commit, [thinking]");
    let sorry = "echo Sorry, something went wrong., 1:say Sorry, something went wrong., [speaking], 1:end, 1:settle";
    talk.check(Input::Failed(TurnId(1)), sorry);
    talk.check(Input::Spoken(TurnId(1)), "drained, [idle]");
}

#[test]
fn speech_interrupts_a_reply_and_nothing_else() {
    let mut talk = Talk::new(CONFIG);
    talk.check(heard(ListenEvent::BargeIn), "");
    talk.check(
        Input::Announce("The egg timer is over.".into()),
        "echo The egg timer is over., 1:say The egg timer is over., [speaking], 1:end",
    );
    let opened = "hush, drained, disarm, [idle], 2:begin, arm 4000, [listening]";
    talk.check(heard(ListenEvent::BargeIn), opened);
    talk.check(heard(ListenEvent::BargeIn), "");
    talk.check(heard(ListenEvent::Waiting), "");
    // Nobody called, so nobody is told that nothing was said.
    talk.check(heard(ListenEvent::End(EndReason::Nothing)), "nothing, hush, 2:forget, disarm, [idle]");
    let mut talk = Talk::new(TurnTaking { barge_in: false, ..CONFIG });
    talk.check(Input::Announce("Yes.".into()), "echo Yes., 1:say Yes., [speaking], 1:end");
    talk.check(heard(ListenEvent::BargeIn), "");
    talk.check(wake(), "hush, drained, disarm, [idle], 2:begin, arm 4000, [listening]");
}

#[test]
fn the_stop_word_ends_a_reply_and_nothing_else() {
    let stop = || heard(ListenEvent::Stop { score: 0.95 });
    let mut talk = Talk::new(CONFIG);
    talk.check(stop(), "");
    talk.check(Input::Announce("One.".into()), "echo One., 1:say One., [speaking], 1:end");
    talk.check(stop(), "hush, drained, disarm, [idle]");
    // Its first sound was taken for somebody who speaks into the reply.
    talk.check(Input::Announce("Two.".into()), "echo Two., 2:say Two., [speaking], 2:end");
    talk.check(heard(ListenEvent::BargeIn), "hush, drained, disarm, [idle], 3:begin, arm 4000, [listening]");
    talk.check(stop(), "hush, 3:forget, disarm, [idle]");
    // Who called and says it means the model.
    talk.check(wake(), "4:begin, arm 4000, [listening]");
    talk.check(stop(), "");
    talk.check(Input::Cancel, "hush, 4:forget, disarm, [idle]");
    // What waited is said next.
    talk.check(Input::Announce("Three.".into()), "echo Three., 5:say Three., [speaking], 5:end");
    talk.check(Input::Announce("Four.".into()), "");
    talk.check(stop(), "hush, drained, disarm, [idle], echo Four., 6:say Four., [speaking], 6:end");
}

#[test]
fn who_calls_again_begins_anew() {
    let mut talk = Talk::new(CONFIG);
    talk.check(wake(), "1:begin, arm 4000, [listening]");
    talk.check(wake(), "hush, 1:forget, disarm, [idle], 2:begin, arm 4000, [listening]");
}

#[test]
fn a_command_that_is_too_long_is_cut_and_said_to_be() {
    let mut talk = Talk::new(CONFIG);
    talk.check(Input::Key(Key::Toggle), "1:begin, arm 4000, [listening]");
    let say = "I only listened to the first 30 seconds.";
    let cut = format!("1:draft, 1:commit, [thinking], echo {say}, 1:say {say}, [speaking]");
    talk.check(heard(ListenEvent::End(EndReason::Cap)), &cut);
    talk.check(stop(1, Stop::EndOfTurn), "1:end, 1:settle");
}

#[test]
fn what_was_said_is_forgotten_once() {
    let mut conversation = Conversation::new(CONFIG, 0, Instant::now());
    let mut start = |input| {
        let outputs = conversation.handle(input, Instant::now());
        outputs.into_iter().find_map(|output| match output {
            Output::Model(_, Job::Begin(start)) => Some(start),
            _ => None,
        })
    };
    assert_eq!(start(wake()), Some(Start::Continue));
    assert_eq!(start(Input::Forget), None);
    assert_eq!(start(wake()), Some(Start::Fresh));
    assert_eq!(start(wake()), Some(Start::Continue));
}

#[test]
fn a_model_that_does_not_read_hears_the_text() {
    let mut talk = Talk::new(TurnTaking { reads_text: false, ..CONFIG });
    talk.check(Input::Ask("hello".into()), "1:begin, 1:voice hello, [thinking]");
    talk.check(Input::Voiced(TurnId(0), vec![0.0]), "");
    talk.check(Input::Voiced(TurnId(1), vec![0.0]), "1:hear 1, 1:draft, 1:commit");
}

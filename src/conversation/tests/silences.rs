//! When drafts change the end of a command, and when they do not.

use super::*;
use crate::listen::ListenConfig;
use crate::listen::segment::{Frame, SegmentEvent, Segmenter};
use crate::listen::vad::FRAME;

const ENDS: EndSilences = EndSilences { early_ms: Some(400), late_ms: Some(1200) };

fn drafted(turn: u64, pause: u32, tools: &[&str]) -> Input {
    let calls: Vec<ToolCall> = tools.iter().map(|&tool| ToolCall::new(tool, Map::new())).collect();
    Input::Drafted(TurnId(turn), pause, if calls.is_empty() { Drafted::Nothing } else { Drafted::Calls(calls) })
}

#[test]
fn a_call_that_two_drafts_made_ends_the_command_sooner_and_nothing_else_happens_before() {
    let mut talk = Talk::new(TurnTaking { ends: ENDS, ..CONFIG });
    talk.check(wake(), "1:begin, arm 4000, [listening]");
    talk.check(heard(ListenEvent::Audio(vec![0.0; 3])), "1:hear 3");
    talk.check(heard(ListenEvent::Pause(7)), "1:draft 7");
    talk.check(drafted(1, 7, &["turn_on"]), "pauseagain { pause: 7, silence_ms: 304 }");
    talk.check(heard(ListenEvent::Audio(vec![0.0; 2])), "1:hear 2");
    talk.check(heard(ListenEvent::StillPaused(8)), "1:resume, 1:draft 8");
    talk.check(drafted(1, 8, &["turn_on"]), "endpause { pause: 8, silence_ms: 400 }");
    talk.check(heard(ListenEvent::End(EndReason::Silence(400))), "1:commit, [thinking]");
    // Late is late.
    talk.check(drafted(1, 8, &["turn_on"]), "");
}

#[test]
fn a_draft_that_makes_nothing_of_it_waits_longer() {
    let mut talk = Talk::new(TurnTaking { ends: ENDS, ..CONFIG });
    talk.check(wake(), "1:begin, arm 4000, [listening]");
    talk.check(heard(ListenEvent::Pause(1)), "1:draft 1");
    talk.check(drafted(1, 1, &[]), "endpause { pause: 1, silence_ms: 1200 }");
    talk.check(heard(ListenEvent::Resumed), "1:resume");
    // What was made of an earlier pause, or in an earlier turn, says nothing of this one.
    talk.check(drafted(1, 1, &[]), "");
    talk.check(heard(ListenEvent::Pause(2)), "1:draft 2");
    talk.check(drafted(1, 1, &[]), "");
    talk.check(drafted(0, 2, &[]), "");
    talk.check(Input::Drafted(TurnId(1), 2, Drafted::Other), "");
    talk.check(heard(ListenEvent::End(EndReason::Silence(700))), "1:commit, [thinking]");
}

#[test]
fn an_answer_to_a_question_never_ends_sooner() {
    let mut talk = Talk::new(TurnTaking { ends: ENDS, ..CONFIG });
    talk.check(wake(), "1:begin, arm 4000, [listening]");
    talk.check(heard(ListenEvent::End(EndReason::Silence(700))), "1:draft, 1:commit, [thinking]");
    talk.check(call(1), "");
    talk.check(stop(1, Stop::AwaitsTools), "1:call turn_on, [acting]");
    let mut asked = done(1, Outcome::Asked, "Unlock it?");
    if let Input::Done(_, result) = &mut asked {
        result.effect = Some(Effect::Confirm("unlock it".into()));
    }
    talk.check(asked, "echo Unlock it?, 1:say Unlock it?, [speaking], 1:end, 1:settle");
    talk.check(Input::Spoken(TurnId(1)), "drained, 2:begin answer, arm 6000 from now, [listening]");
    talk.check(heard(ListenEvent::Pause(1)), "2:draft 1");
    talk.check(drafted(2, 1, &["confirm"]), "");
    talk.check(heard(ListenEvent::Resumed), "2:resume");
    talk.check(heard(ListenEvent::Pause(2)), "2:draft 2");
    talk.check(drafted(2, 2, &["confirm"]), "");
    talk.check(heard(ListenEvent::Resumed), "2:resume");
    talk.check(heard(ListenEvent::Pause(3)), "2:draft 3");
    talk.check(drafted(2, 3, &[]), "endpause { pause: 3, silence_ms: 1200 }");
}

/// Before it a command, and what the home asked back about it.
fn ask_back(talk: &mut Talk, question: &str, effect: Option<Effect>) {
    talk.check(wake(), "1:begin, arm 4000, [listening]");
    talk.check(heard(ListenEvent::End(EndReason::Silence(700))), "1:draft, 1:commit, [thinking]");
    let rival = Some(Box::new(ToolCall::new("turn_off", Map::new())));
    let doubtful = ToolCall { rival, ..ToolCall::new("turn_on", Map::new()) };
    talk.check(Input::Reply(TurnId(1), ReplyEvent::Call(doubtful)), "");
    talk.check(stop(1, Stop::AwaitsTools), "1:call turn_on, [acting]");
    let mut asked = done(1, Outcome::Asked, question);
    if let Input::Done(_, result) = &mut asked {
        result.effect = effect;
    }
    let said = format!("echo {question}, 1:say {question}, [speaking], 1:end, 1:settle");
    talk.check(asked, &said);
}

/// Any question, not only one that a yes answers, and however the answer begins: after it, into it, or with the wake word.
#[test]
fn what_may_answer_a_question_never_ends_sooner() {
    let which = ("Which one?", None);
    let rival = ("The lamp or the fan?", Some(Effect::Choose("turn on the lamp".into())));
    let yes_or_no = ("Unlock it?", Some(Effect::Confirm("unlock it".into())));
    for (question, effect) in [which, rival, yes_or_no] {
        let answer = if question == "Unlock it?" { " answer" } else { "" };
        let after = format!("drained, 2:begin{answer}, arm 6000 from now, [listening]");
        let anew = "hush, drained, disarm, [idle], 2:begin, arm 4000, [listening]";
        for (opens, expected) in
            [(Input::Spoken(TurnId(1)), after.as_str()), (heard(ListenEvent::BargeIn), anew), (wake(), anew)]
        {
            let mut talk = Talk::new(TurnTaking { ends: ENDS, ..CONFIG });
            ask_back(&mut talk, question, effect.clone());
            talk.check(opens, expected);
            talk.check(heard(ListenEvent::Pause(1)), "2:draft 1");
            talk.check(drafted(2, 1, &["turn_on"]), "");
            talk.check(heard(ListenEvent::Resumed), "2:resume");
            talk.check(heard(ListenEvent::Pause(2)), "2:draft 2");
            talk.check(drafted(2, 2, &["turn_on"]), "");
        }
    }
    // Who calls while the answer is awaited may answer too, and who has answered is done with it.
    let mut talk = Talk::new(TurnTaking { ends: ENDS, ..CONFIG });
    ask_back(&mut talk, "Which one?", None);
    talk.check(Input::Spoken(TurnId(1)), "drained, 2:begin, arm 6000 from now, [listening]");
    talk.check(wake(), "hush, 2:forget, disarm, [idle], 3:begin, arm 4000, [listening]");
    talk.check(heard(ListenEvent::Pause(1)), "3:draft 1");
    talk.check(drafted(3, 1, &["turn_on"]), "");
    talk.check(heard(ListenEvent::End(EndReason::Silence(700))), "3:commit, [thinking]");
    talk.check(stop(3, Stop::EndOfTurn), "3:end, 3:settle");
    // Nothing came of it, so it hears on, still upon the question.
    talk.check(Input::Spoken(TurnId(3)), "4:begin, arm 4000, [listening]");
    talk.check(heard(ListenEvent::Pause(2)), "4:draft 2");
    talk.check(drafted(4, 2, &["turn_on"]), "");
    talk.check(heard(ListenEvent::End(EndReason::Silence(700))), "4:commit, [thinking]");
    talk.check(call(4), "");
    talk.check(stop(4, Stop::AwaitsTools), "4:call turn_on, [acting]");
    talk.check(done(4, Outcome::Done, "It is on."), "echo It is on., 4:say It is on., [speaking], 4:end, 4:settle");
    talk.check(heard(ListenEvent::BargeIn), "hush, drained, disarm, [idle], 5:begin, arm 4000, [listening]");
    talk.check(heard(ListenEvent::Pause(3)), "5:draft 3");
    talk.check(drafted(5, 3, &["turn_on"]), "pauseagain { pause: 3, silence_ms: 304 }");
}

/// The listener, too, goes by what it was told when the turn began.
#[test]
fn settings_that_come_in_the_middle_of_a_turn_count_from_the_next_one_on() {
    let with = TurnTaking { ends: ENDS, max_ms: 20_000, ..CONFIG };
    let say = |seconds: u32| format!("I only listened to the first {seconds} seconds.");
    for (before, after) in [(with, CONFIG), (CONFIG, with)] {
        let mut talk = Talk::new(before);
        for turn in [1, 2] {
            let is_with = (if turn == 1 { before } else { after }) == with;
            let begun = format!("{turn}:begin, arm 4000, [listening]");
            talk.check(
                wake(),
                &if turn == 1 { begun } else { format!("hush, 1:forget, drained, disarm, [idle], {begun}") },
            );
            talk.check(Input::Configure(after), "");
            talk.check(heard(ListenEvent::Pause(1)), &format!("{turn}:draft 1"));
            let wish = if is_with { "endpause { pause: 1, silence_ms: 1200 }" } else { "" };
            talk.check(drafted(turn, 1, &[]), wish);
            let say = say(if is_with { 20 } else { 30 });
            let told = format!("{turn}:commit, [thinking], echo {say}, {turn}:say {say}, [speaking]");
            talk.check(heard(ListenEvent::End(EndReason::Cap)), &told);
        }
    }
}

/// Milliseconds in a frame.
const FRAME_MS: usize = FRAME / 16;

/// Somebody speaks and is silent; the model makes the same call of every draft, and takes `draft_ms` for it, one at a time.
/// After how much silence is the call there to be told?
fn answered_ms(early_ms: Option<u32>, draft_ms: usize) -> usize {
    let mut conversation =
        Conversation::new(TurnTaking { ends: EndSilences { early_ms, late_ms: None }, ..CONFIG }, 0, Instant::now());
    let mut segmenter = Segmenter::new(&ListenConfig::default());
    let frame = |speaks: bool, i: usize| Frame {
        probability: if speaks { 0.95 } else { 0.1 },
        level_db: if i % 4 < 2 { -20.0 } else { -32.0 },
    };
    let (mut inputs, mut pauses, mut drafting, mut ended) = (vec![wake()], 0, None, false);
    // By the millisecond, the silence begins at 0.
    for now_ms in -320.. {
        if now_ms % FRAME_MS as i32 == 0 {
            let event = segmenter.push(frame(now_ms <= 0, now_ms.unsigned_abs() as usize / FRAME_MS));
            pauses += u32::from(matches!(event, Some(SegmentEvent::Paused | SegmentEvent::StillPaused)));
            let heard = event.map(|event| match event {
                SegmentEvent::Started { .. } => ListenEvent::SpeechStarted,
                SegmentEvent::Resumed => ListenEvent::Resumed,
                SegmentEvent::Paused => ListenEvent::Pause(pauses),
                SegmentEvent::StillPaused => ListenEvent::StillPaused(pauses),
                SegmentEvent::Ended(segment) => ListenEvent::End(EndReason::Silence((segment.quiet / 16) as u32)),
            });
            inputs.extend(heard.map(Input::Heard));
        }
        if let Some((pause, whole_ms)) = drafting
            && whole_ms <= now_ms
        {
            if ended {
                return now_ms.unsigned_abs() as usize;
            }
            drafting = None;
            inputs.push(drafted(1, pause, &["turn_on"]));
        }
        for input in std::mem::take(&mut inputs) {
            for output in conversation.handle(input, Instant::now()) {
                match output {
                    Output::Model(_, Job::Draft(pause)) => drafting = Some((pause, now_ms + draft_ms as i32)),
                    Output::Model(_, Job::Resume) => drafting = None,
                    // What stands is told at once.
                    Output::Model(_, Job::Commit) if drafting.is_none() => return now_ms.unsigned_abs() as usize,
                    Output::Model(_, Job::Commit) => ended = true,
                    Output::Listen(ListenCommand::EndPause { pause, silence_ms }) if pause == pauses => {
                        segmenter.end_pause_after(silence_ms);
                    }
                    Output::Listen(ListenCommand::PauseAgain { pause, silence_ms }) if pause == pauses => {
                        segmenter.tell_pause_again(silence_ms);
                    }
                    _ => {}
                }
            }
        }
    }
    unreachable!("the silence ends it")
}

/// With the early end nothing is told later than without it, however long a draft takes, and sooner where there is time
/// for two. A second draft that was begun late threw away one that was nearly or wholly decoded.
#[test]
fn however_slow_the_model_no_call_is_told_later_for_the_early_end() {
    for early_ms in [250, 300, 400, 500, 600] {
        let mut sooner = 0;
        for draft_ms in (0..900).step_by(5) {
            let [usual, early] = [None, Some(early_ms)].map(|early_ms| answered_ms(early_ms, draft_ms));
            assert!(early <= usual, "{early_ms} ms, drafts of {draft_ms} ms: {early} ms instead of {usual}");
            assert_eq!(usual, (208 + draft_ms).max(704), "drafts of {draft_ms} ms");
            sooner += usize::from(early < usual);
        }
        println!("early {early_ms} ms: sooner for drafts of under {} ms", sooner * 5);
        assert!(sooner > 0, "{early_ms} ms");
    }
    // Both drafts fit before half a second; nothing is begun anew where they do not.
    assert_eq!([0, 100, 140].map(|draft_ms| answered_ms(Some(500), draft_ms)), [512, 512, 512]);
    assert_eq!([300, 600].map(|draft_ms| answered_ms(Some(500), draft_ms)), [704, 808]);
}

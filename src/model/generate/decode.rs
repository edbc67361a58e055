//! The reply: token by token under the grammar, and what a doubtful call might have been instead.

use std::time::Instant;

use super::Gemma;
use crate::dialogue::{ReplyEvent, Stop, ToolCall};
use crate::model::ModelError;
use crate::model::draft::{Choice, Draft, Fork};
use crate::model::reply::ReplyParser;
use crate::model::sample::{Pick, lead, runner_up};
use crate::timeline::ms;

/// Steps after a doubtful choice that are looked at for what the call might have been.
const MAX_RIVAL: usize = 12;

impl Gemma {
    pub(super) fn start_draft(&self, mut logits: Vec<f32>) -> Draft {
        for &stop in &self.stops {
            if let Some(logit) = logits.get_mut(stop as usize) {
                *logit += self.folder.manifest.quiet_bias;
            }
        }
        let question = self.turn.as_ref().and_then(|turn| turn.question.as_ref());
        let all = question.map_or(&self.grammar, |(_, grammar)| grammar);
        // What follows the results of a call is no answer to a question any more.
        let answers = self.turn.as_ref().is_some_and(|turn| turn.answers && !turn.committed);
        let narrow = self.yes_no.as_ref().filter(|_| answers);
        let mut draft = Draft::new(narrow.unwrap_or(all).start(), &self.tokenizer, self.config.sample.clone(), logits);
        draft.wide = narrow.map(|_| self.grammar.start());
        draft
    }

    /// One token, and those that the grammar forces after it. True while there is more.
    pub(super) fn decode(&mut self, draft: &mut Draft) -> Result<bool, ModelError> {
        if draft.ended.is_some() {
            return Ok(false);
        }
        if self.interrupt.is_raised() {
            return Err(ModelError::Interrupted);
        }
        if !draft.unfed.is_empty() {
            let rows = self.embedder.embed(&draft.unfed, &self.interrupt)?;
            draft.logits = self.decoder.step(&rows, &self.interrupt)?;
            draft.unfed.clear();
        }
        let mask = draft.grammar.mask()?;
        let mut pick = draft.sampler.pick(&draft.logits, Some(mask.as_slice())).ok_or(ModelError::NoToken)?;
        if let Some(wide) = &mut draft.wide {
            pick.margin = pick.margin.min(lead(&draft.logits, wide.mask()?.as_slice(), pick.token));
        }
        draft.margin = draft.margin.min(pick.margin);
        draft.choices.push(Choice { token: pick.token, gap: pick.margin });
        let least = draft.choices.iter().map(|choice| choice.gap).fold(f32::INFINITY, f32::min);
        self.timeline.margin = least.is_finite().then(|| f64::from(least));
        self.mark(draft, mask.as_slice(), pick);
        let mut chosen = vec![pick.token];
        draft.grammar.accept(pick.token)?;
        // Beside a wider grammar nothing is forced: what else could be said counts for every token.
        if self.stop(pick.token).is_none() && draft.wide.is_none() {
            let forced = draft.grammar.forced();
            forced.iter().try_for_each(|&token| draft.grammar.accept(token))?;
            chosen.extend(forced);
        }
        for (i, token) in chosen.into_iter().enumerate() {
            draft.wide.as_mut().map_or(Ok(()), |wide| wide.accept(token))?;
            draft.unfed.push(token);
            draft.written.push(token);
            draft.tokens += 1;
            self.timeline.tokens += 1;
            self.timeline.forced_tokens += usize::from(i > 0);
            let stop = match self.stop(token) {
                Some(stop) => Some(stop),
                None => {
                    let events = draft.parser.push(token);
                    if draft.keep(events) {
                        self.note_call();
                    }
                    let bound = (draft.tokens >= self.config.max_tokens).then_some(Stop::TokenLimit);
                    draft.loops.push(token).then_some(Stop::Loop).or(bound)
                }
            };
            if let Some(stop) = stop {
                let events = draft.parser.finish(stop);
                draft.keep(events);
                draft.ended = Some(stop);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Decodes to the end, releasing events as they come.
    pub(super) fn run_out(&mut self, mut draft: Draft, emit: &mut dyn FnMut(ReplyEvent)) -> Result<(), ModelError> {
        let started = Instant::now();
        let result = loop {
            // A doubtful call waits until it is known what else it might be.
            let held =
                draft.events.iter().position(|event| draft.fork.is_some() && matches!(event, ReplyEvent::Call(_)));
            let free = held.unwrap_or(draft.events.len());
            draft.events.drain(..free).for_each(&mut *emit);
            match self.decode(&mut draft) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(ModelError::Interrupted) => {
                    draft.events.extend(draft.parser.finish(Stop::Cancelled));
                    break Err(ModelError::Interrupted);
                }
                Err(error) => break Err(error),
            }
        };
        let result = result.and_then(|()| self.weigh(&mut draft));
        draft.events.drain(..).for_each(&mut *emit);
        self.timeline.decode_ms += ms(started.elapsed());
        if let Some(turn) = &mut self.turn {
            turn.draft = Some(draft);
        }
        self.guard(result)
    }

    /// Remembers a choice of which the model was less sure than of all before, and less than it should be.
    fn mark(&self, draft: &mut Draft, allowed: &[u32], pick: Pick) {
        let least = draft.fork.as_ref().map_or(self.doubt(), |fork| fork.margin);
        let in_call = draft.written.contains(&self.tokenizer.special().tool_call_open);
        if pick.margin >= least || !in_call || draft.wide.is_some() {
            return;
        }
        if let Some(rival) = runner_up(&draft.logits, allowed, pick.token) {
            let (margin, at, rows, grammar) =
                (pick.margin, draft.written.len(), self.decoder.len(), draft.grammar.clone());
            draft.fork = Some(Fork { margin, rival, at, rows, grammar });
        }
    }

    /// Below this margin a call is better asked back; 0 never.
    pub(super) fn doubt(&self) -> f32 {
        self.config.min_margin.or(self.folder.manifest.min_margin).unwrap_or(0.0)
    }

    /// Tells a single doubtful call what it might have been instead. What was written after the doubtful choice leaves the
    /// context for that, and is fed again with whatever follows.
    fn weigh(&mut self, draft: &mut Draft) -> Result<(), ModelError> {
        let Some(fork) = draft.fork.take() else { return Ok(()) };
        let calls = draft.events.iter().filter(|event| matches!(event, ReplyEvent::Call(_))).count();
        if calls != 1 || draft.ended != Some(Stop::AwaitsTools) {
            return Ok(());
        }
        let (at, rows) = (fork.at, fork.rows);
        let rival = self.follow(fork, &draft.written[..at]);
        self.decoder.rewind(rows)?;
        draft.unfed = draft.written[at..].to_vec();
        let rival = rival?;
        for event in &mut draft.events {
            if let ReplyEvent::Call(call) = event {
                call.rival = rival.clone().filter(|rival| rival != call).map(Box::new);
            }
        }
        Ok(())
    }

    /// The call that comes of the second best choice and the best ones after it, if it ends soon.
    fn follow(&mut self, fork: Fork, before: &[u32]) -> Result<Option<ToolCall>, ModelError> {
        let mut parser = ReplyParser::new(&self.tokenizer);
        before.iter().for_each(|&token| drop(parser.push(token)));
        let (mut grammar, mut next) = (fork.grammar, vec![fork.rival]);
        self.decoder.rewind(fork.rows)?;
        for _ in 0..MAX_RIVAL {
            for &token in &next {
                grammar.accept(token)?;
                let events = parser.push(token);
                if let Some(ReplyEvent::Call(call)) = events.into_iter().next() {
                    return Ok(Some(call));
                }
                if self.stop(token).is_some() {
                    return Ok(None);
                }
            }
            let rows = self.embedder.embed(&next, &self.interrupt)?;
            let logits = self.decoder.step(&rows, &self.interrupt)?;
            next = grammar.forced();
            if next.is_empty() {
                let best = runner_up(&logits, grammar.mask()?.as_slice(), u32::MAX);
                next.push(best.ok_or(ModelError::NoToken)?);
            }
        }
        Ok(None)
    }

    /// A call is whole.
    fn note_call(&mut self) {
        if let (None, Some(turn)) = (self.timeline.call_ready_ms, &self.turn) {
            self.timeline.call_ready_ms = Some(ms(turn.started.elapsed()));
        }
    }

    /// What it means when the model writes that token, if it ends the reply.
    fn stop(&self, token: u32) -> Option<Stop> {
        let ends = self.stops.contains(&token);
        ends.then(|| {
            if token == self.tokenizer.special().tool_response_open { Stop::AwaitsTools } else { Stop::EndOfTurn }
        })
    }
}

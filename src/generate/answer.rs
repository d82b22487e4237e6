//! The loop itself, over an answer that outlives the engine that began it.

use web_time::Instant;

use super::pace::Pace;
use super::{Engine, FinishReason, Generation, Request, Stats, Stop, Usage};
use crate::error::Result;
use crate::executor::Executor;
use crate::gpu::Work;

/// A request, and what was generated of its answer so far. Nothing of it lies on a device: when that goes away, another engine of
/// the same model goes on with it as if nothing had happened.
pub struct Answer {
    request: Request,
    /// Tokens of prompt and answer; of the answer alone before it was begun here.
    ids: Vec<u32>,
    prompt_tokens: Option<usize>,
    /// How many of the prompt's were cached when it was begun.
    cached_tokens: Option<usize>,
    /// What was given out.
    text: String,
    run: Run,
}

impl Answer {
    /// One that is still to be begun.
    pub fn new(request: Request) -> Self {
        Self::begun(request, Vec::new())
    }

    /// One that another engine began, elsewhere, with these tokens, whose text was given out there.
    pub fn begun(request: Request, generated: Vec<u32>) -> Self {
        let run = Run::new(Instant::now());
        Self { request, ids: generated, prompt_tokens: None, cached_tokens: None, text: String::new(), run }
    }

    /// The tokens that were generated.
    pub fn generated(&self) -> &[u32] {
        &self.ids[self.prompt_tokens.unwrap_or(0)..]
    }

    /// Tokens that may still be generated.
    fn left(&self) -> usize {
        self.request.max_tokens.unwrap_or(usize::MAX).saturating_sub(self.generated().len())
    }

    fn give_out(&mut self, piece: &str, on_text: &mut dyn FnMut(&str)) {
        if !piece.is_empty() {
            self.text.push_str(piece);
            on_text(piece);
        }
    }
}

impl Engine {
    /// Generates from a prompt; `on_text` gets the text piece by piece, never half a character.
    ///
    /// Errors: `ContextFull` when the prompt does not fit, `BadRequest`, `OutputNotFinite`, what the device reports.
    pub async fn generate(
        &mut self,
        request: &Request,
        on_text: &mut dyn FnMut(&str),
        stop: &Stop,
    ) -> Result<Generation> {
        let mut answer = Answer::new(request.clone());
        let finish_reason = self.go_on(&mut answer, on_text, stop).await?;
        self.end(answer, finish_reason, on_text)
    }

    /// Begins an answer, or goes on where another engine left it, until something ends it.
    ///
    /// Errors: those of [`Engine::generate`]. After `DeviceLost` an engine that is opened anew goes on with `answer`: tokens that
    /// were on their way are chosen again, and are the same, since chance depends on the seed and the position alone.
    pub async fn go_on(
        &mut self,
        answer: &mut Answer,
        on_text: &mut dyn FnMut(&str),
        stop: &Stop,
    ) -> Result<FinishReason> {
        if answer.prompt_tokens.is_none() {
            let prompt = self.prompt_ids(&answer.request.prompt)?;
            answer.prompt_tokens = Some(prompt.len());
            answer.ids.splice(..0, prompt);
        }
        self.model.executor.begin(&answer.request.sampling, &answer.ids)?;
        self.model.settle().await?;
        // What was begun elsewhere may be cached here, too, and is none of the prompt's.
        let cached = self.model.reusable(&answer.ids).min(answer.ids.len() - answer.generated().len());
        answer.cached_tokens.get_or_insert(cached);
        let mut stream = self.tokenizer.stream();
        let mut given_out = String::new();
        for &id in answer.generated() {
            // What is held back of it is of use.
            given_out.push_str(&stream.push(id)?);
        }
        answer.text = given_out;
        answer.run.resume();
        let mut next = self.model.choose(&answer.ids, stop).await?;
        answer.run.prefilled.get_or_insert_with(Instant::now);
        loop {
            let Some(id) = next.filter(|_| !stop.asked()) else { return Ok(FinishReason::Abort) };
            if answer.left() == 0 {
                return Ok(FinishReason::Length);
            }
            answer.run.token(self.model.executor.work());
            if !answer.request.ignore_eos && self.tokenizer.stop_ids().contains(&id) {
                return Ok(FinishReason::Stop);
            }
            answer.ids.push(id);
            answer.give_out(&stream.push(id)?, on_text);
            if answer.left() == 0 || self.model.cache.room() == 0 {
                return Ok(FinishReason::Length);
            }
            next = Some(self.model.go_on(id, answer.left().min(answer.run.pace.ahead())).await?);
        }
    }

    /// Ends an answer: gives out what was held back of its text, and counts. It needs no device.
    pub fn end(
        &mut self,
        mut answer: Answer,
        finish_reason: FinishReason,
        on_text: &mut dyn FnMut(&str),
    ) -> Result<Generation> {
        let whole = self.tokenizer.decode(answer.generated())?;
        answer.give_out(whole.get(answer.text.len()..).unwrap_or_default(), on_text);
        let prompt_tokens = answer.prompt_tokens.unwrap_or(0);
        let ids = answer.ids.split_off(prompt_tokens);
        let usage = Usage {
            prompt_tokens,
            cached_tokens: answer.cached_tokens.unwrap_or(0),
            completion_tokens: ids.len(),
            context: self.model.cache.capacity(),
        };
        self.stats = answer.run.stats(&usage, &self.model.executor);
        Ok(Generation { ids, text: answer.text, finish_reason, usage, stats: self.stats })
    }
}

/// Clock and counters of one generation.
struct Run {
    started: Instant,
    prefilled: Option<Instant>,
    /// When the first token was chosen.
    first: Option<Instant>,
    /// When the first token on this device was chosen, and the work done until then.
    begun: Option<(Instant, Work)>,
    /// Tokens after that one, when the last of them was there, and the work done until then.
    steps: usize,
    last: Instant,
    work: Work,
    pace: Pace,
}

impl Run {
    fn new(started: Instant) -> Self {
        let (work, pace) = (Work::default(), Pace::default());
        Self { started, prefilled: None, first: None, begun: None, steps: 0, last: started, work, pace }
    }

    /// On another device its work is counted anew, and the time that it took to come is not that of tokens.
    fn resume(&mut self) {
        (self.begun, self.steps) = (None, 0);
    }

    fn token(&mut self, work: Work) {
        (self.last, self.work) = (Instant::now(), work);
        self.pace.token(self.last);
        self.first.get_or_insert(self.last);
        match self.begun {
            Some(_) => self.steps += 1,
            None => self.begun = Some((self.last, work)),
        }
    }

    fn stats(&self, usage: &Usage, executor: &Executor) -> Stats {
        let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
        let since_start = |at: Option<Instant>| at.map_or(0.0, |at| (at - self.started).as_secs_f64());
        let mut stats = Stats {
            prefill_tokens_per_second: rate(usage.prompt_tokens - usage.cached_tokens, since_start(self.prefilled)),
            time_to_first_token_ms: since_start(self.first) * 1e3,
            ..Stats::of(executor)
        };
        if let Some((begun, before)) = self.begun.filter(|_| self.steps > 0) {
            let each = |count: u64| count as f64 / self.steps as f64;
            stats.decode_tokens_per_second = rate(self.steps, (self.last - begun).as_secs_f64());
            stats.dispatches_per_token = each(self.work.dispatches - before.dispatches);
            stats.submits_per_token = each(self.work.submits - before.submits);
            stats.readbacks_per_token = each(self.work.readbacks - before.readbacks);
        }
        stats
    }
}

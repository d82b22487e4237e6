//! The executor and the KV cache's bookkeeping, kept in step.

use super::Stop;
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::model::kv_cache::KvCache;

/// The executor with the cache that says what it has seen.
pub(super) struct Model {
    pub(super) executor: Executor,
    pub(super) cache: KvCache,
}

impl Model {
    /// Tokens of a prompt that need not be computed again; the last one always is, for its logits.
    pub(super) fn reusable(&self, ids: &[u32]) -> usize {
        self.cache.common_prefix(ids).min(ids.len().saturating_sub(1))
    }

    /// Waits for what an answer that was stopped left on its way.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let forgotten = self.executor.forget_ahead().await;
        match self.noting(forgotten) {
            Err(Error::OutputNotFinite) => Ok(()),
            settled => settled,
        }
    }

    /// Notes that the executor empties its cache when an output is not finite.
    fn noting<T>(&mut self, result: Result<T>) -> Result<T> {
        if matches!(result, Err(Error::OutputNotFinite)) {
            self.cache.truncate(0);
        }
        result
    }

    /// The token that follows a prompt; `None` when it was stopped before.
    pub(super) async fn choose(&mut self, ids: &[u32], stop: &Stop) -> Result<Option<u32>> {
        let last = self.prefill(ids, stop).await?;
        if stop.asked() {
            return Ok(None);
        }
        let chosen = self.executor.choose(last, self.cache.len()).await;
        let id = self.noting(chosen)?;
        self.cache.append(last)?;
        Ok(Some(id))
    }

    /// The logits after the last of `ids`.
    pub(super) async fn logits(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let last = self.prefill(ids, &Stop::default()).await?;
        let logits = self.executor.logits(last, self.cache.len()).await;
        let logits = self.noting(logits)?;
        self.cache.append(last)?;
        Ok(logits)
    }

    /// Brings the cache to hold `ids` but for the last chunk of them, which is returned; fewer when it was stopped.
    async fn prefill<'a>(&mut self, ids: &'a [u32], stop: &Stop) -> Result<&'a [u32]> {
        if ids.is_empty() {
            return Err(Error::BadRequest { detail: "the prompt has no tokens".to_owned() });
        }
        if ids.len() > self.cache.capacity() {
            return Err(Error::ContextFull { prompt: ids.len(), context: self.cache.capacity() });
        }
        let cached = self.reusable(ids);
        self.cache.truncate(cached);
        let mut left = &ids[cached..];
        while let Some((chunk, rest)) = left.split_at_checked(self.executor.chunk())
            && !rest.is_empty()
            && !stop.asked()
        {
            self.executor.run(chunk, self.cache.len()).await?;
            self.cache.append(chunk)?;
            left = rest;
        }
        Ok(left)
    }

    /// The token after `id`, which the device itself chose last: it went on with that before it was read here, and goes on
    /// until `most` are on their way.
    pub(super) async fn go_on(&mut self, id: u32, most: usize) -> Result<u32> {
        // Positions on their way start where the cache ends.
        while self.executor.ahead() < most.min(self.cache.room()) {
            self.executor.go_on(self.cache.len() + self.executor.ahead())?;
        }
        let chosen = self.executor.chosen().await;
        let next = self.noting(chosen)?;
        self.cache.append(&[id])?;
        Ok(next)
    }
}

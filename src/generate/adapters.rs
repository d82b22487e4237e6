//! LoRA adapters come and go while the model stays.

use std::rc::Rc;

use serde::Serialize;

use super::Engine;
use crate::error::{Error, Result};
use crate::weights::lora::Adapter;
use crate::weights::source::Source;

/// What is known about an adapter that is attached to a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterInfo {
    /// The name that it was given.
    pub name: String,
    /// How much it counts: 1 as it was trained.
    pub weight: f32,
    /// How many numbers it has.
    pub parameters: u64,
}

/// An adapter with its weight.
#[derive(Clone)]
pub(super) struct Attached {
    adapter: Rc<Adapter>,
    info: AdapterInfo,
}

impl Engine {
    /// The adapters that are attached, in the order in which they were.
    pub fn adapters(&self) -> Vec<AdapterInfo> {
        self.adapters.iter().map(|attached| attached.info.clone()).collect()
    }

    /// Reads a LoRA adapter, a folder as PEFT saves it, and adds `weight` times what it makes of the model, besides what others do.
    /// Forgets the conversation. When it fails, all is as it was.
    ///
    /// Errors: those of [`Adapter::read`]; `BadRequest` for a name that is taken and a weight that is no number; `OutOfMemory`,
    /// `AdapterLimit`, what the device reports.
    pub async fn attach<S: Source>(&mut self, source: &mut S, name: &str, weight: f32) -> Result<()> {
        if self.adapters.iter().any(|attached| attached.info.name == name) {
            return Err(Error::BadRequest { detail: format!("an adapter {name:?} is attached already") });
        }
        expect_number(weight)?;
        let adapter = Adapter::read(source, self.model.executor.config()).await?;
        let info = AdapterInfo { name: name.to_owned(), weight, parameters: adapter.parameters() };
        let mut adapters = self.adapters.clone();
        adapters.push(Attached { adapter: Rc::new(adapter), info });
        self.adapt(adapters).await
    }

    /// Takes an adapter away again. Forgets the conversation.
    ///
    /// Errors: `BadRequest` when there is none of that name; what the device reports.
    pub async fn detach(&mut self, name: &str) -> Result<()> {
        let at = self.attached(name)?;
        let mut adapters = self.adapters.clone();
        adapters.remove(at);
        self.adapt(adapters).await
    }

    /// Has an adapter count more or less. Forgets the conversation.
    ///
    /// Errors: `BadRequest` when there is none of that name or the weight is no number; what the device reports.
    pub async fn set_adapter_weight(&mut self, name: &str, weight: f32) -> Result<()> {
        expect_number(weight)?;
        let at = self.attached(name)?;
        let mut adapters = self.adapters.clone();
        adapters[at].info.weight = weight;
        self.adapt(adapters).await
    }

    /// Takes over all adapters of the same model on another device, which may be gone.
    pub async fn adopt_adapters(&mut self, other: &Self) -> Result<()> {
        if other.adapters.is_empty() { Ok(()) } else { self.adapt(other.adapters.clone()).await }
    }

    fn attached(&self, name: &str) -> Result<usize> {
        let at = self.adapters.iter().position(|attached| attached.info.name == name);
        at.ok_or_else(|| Error::BadRequest { detail: format!("no adapter {name:?} is attached") })
    }

    async fn adapt(&mut self, adapters: Vec<Attached>) -> Result<()> {
        self.model.settle().await?;
        let weighted: Vec<_> = adapters.iter().map(|attached| (&*attached.adapter, attached.info.weight)).collect();
        self.model.executor.adapt(&weighted).await?;
        // Its keys and values are of another model now.
        self.model.cache.truncate(0);
        self.adapters = adapters;
        Ok(())
    }
}

fn expect_number(weight: f32) -> Result<()> {
    if weight.is_finite() {
        Ok(())
    } else {
        Err(Error::BadRequest { detail: format!("an adapter's weight is {weight}") })
    }
}

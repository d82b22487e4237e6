//! A store in memory, with a quota: the same contract as IndexedDB, for native tests.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::ready;
use std::rc::Rc;

use super::{Chunk, Manifest, Pending, Store, replaced};
use crate::error::{Error, Result};

/// Models in memory; clones share them, as tabs share a database.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    state: Rc<RefCell<State>>,
    quota: Option<u64>,
    estimate: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    models: BTreeMap<String, Manifest>,
    /// By model, file and place.
    chunks: BTreeMap<(String, String, u64), Vec<u8>>,
    /// Counts what is stamped: writers and uses.
    clock: f64,
}

impl Memory {
    /// The same store, which refuses to hold more than `bytes` of chunks.
    pub fn limited(self, bytes: u64) -> Self {
        Self { quota: Some(bytes), ..self }
    }

    /// The same store, which claims to have room for `bytes` more, as browsers' estimates do.
    pub fn estimating(self, bytes: u64) -> Self {
        Self { estimate: Some(bytes), ..self }
    }

    /// How many chunks are held, for all models.
    pub fn chunk_count(&self) -> usize {
        self.state.borrow().chunks.len()
    }

    /// Loses or replaces the bytes of a chunk behind the manifest's back, as a failing disk does.
    pub fn damage(&self, id: &str, file: &str, start: u64, bytes: Option<Vec<u8>>) {
        let key = (id.to_owned(), file.to_owned(), start);
        let chunks = &mut self.state.borrow_mut().chunks;
        match bytes {
            Some(bytes) => chunks.insert(key, bytes),
            None => chunks.remove(&key),
        };
    }

    fn write(&self, manifest: &Manifest, chunk: Option<(&str, &Chunk, &Vec<u8>)>) -> Result<()> {
        let state = &mut *self.state.borrow_mut();
        state.expect_writer(manifest)?;
        if let Some((file, chunk, bytes)) = chunk {
            let held = state.bytes();
            if self.quota.is_some_and(|quota| held + bytes.len() as u64 > quota) {
                return Err(Error::Quota { detail: format!("{held} bytes are held") });
            }
            state.chunks.insert((manifest.id.clone(), file.to_owned(), chunk.start), bytes.clone());
        }
        state.insert(manifest);
        Ok(())
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.chunks.values().map(|bytes| bytes.len() as u64).sum()
    }

    fn insert(&mut self, manifest: &Manifest) {
        self.clock += 1.0;
        self.models.insert(manifest.id.clone(), Manifest { last_used: self.clock, ..manifest.clone() });
    }

    fn expect_writer(&self, manifest: &Manifest) -> Result<()> {
        match self.models.get(&manifest.id) {
            Some(stored) if stored.writer == manifest.writer => Ok(()),
            _ => Err(replaced()),
        }
    }

    fn delete(&mut self, id: &str) {
        self.models.remove(id);
        self.chunks.retain(|(model, _, _), _| model != id);
    }
}

impl Store for Memory {
    type Bytes = Vec<u8>;

    async fn list(&self) -> Result<Vec<Manifest>> {
        Ok(self.state.borrow().models.values().cloned().collect())
    }

    async fn begin(&self, manifest: &mut Manifest) -> Result<()> {
        let state = &mut *self.state.borrow_mut();
        state.delete(&manifest.id);
        state.clock += 1.0;
        manifest.writer = state.clock;
        state.insert(manifest);
        Ok(())
    }

    async fn adopt(&self, id: &str) -> Result<Option<Manifest>> {
        let state = &mut *self.state.borrow_mut();
        state.clock += 1.0;
        let writer = state.clock;
        Ok(state.models.get_mut(id).map(|stored| {
            stored.writer = writer;
            stored.clone()
        }))
    }

    fn put(&self, manifest: &Manifest, chunk: Option<(&str, &Chunk, &Vec<u8>)>) -> Pending<()> {
        Box::pin(ready(self.write(manifest, chunk)))
    }

    fn get(&self, id: &str, file: &str, start: u64) -> Pending<Option<Vec<u8>>> {
        let key = (id.to_owned(), file.to_owned(), start);
        Box::pin(ready(Ok(self.state.borrow().chunks.get(&key).cloned())))
    }

    async fn withdraw(&self, manifest: &Manifest) -> Result<()> {
        let state = &mut *self.state.borrow_mut();
        state.expect_writer(manifest)?;
        state.delete(&manifest.id);
        Ok(())
    }

    async fn withdraw_file(&self, manifest: &Manifest, file: &str) -> Result<()> {
        let state = &mut *self.state.borrow_mut();
        state.expect_writer(manifest)?;
        state.chunks.retain(|(model, name, _), _| *model != manifest.id || name != file);
        state.insert(manifest);
        Ok(())
    }

    async fn delete(&self, id: &str) -> Result<()> {
        self.state.borrow_mut().delete(id);
        Ok(())
    }

    async fn room(&self) -> Option<u64> {
        self.estimate.or_else(|| self.quota.map(|quota| quota.saturating_sub(self.state.borrow().bytes())))
    }
}

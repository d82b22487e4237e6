//! Models in the browser's IndexedDB: the only file that knows it.
//!
//! Three object stores: `models` holds manifests by `id`, `chunks` holds `{bytes: Uint8Array}` by `[id, file, start]`, `choices`
//! holds the kernels that were measured to be the fastest, by `place`.
//! Bytes go from `fetch` to the database without a copy in the wasm heap. All requests of a transaction are made at
//! once: nothing is awaited inside one, so it cannot commit by itself halfway.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use futures_channel::oneshot;
use idb::event::VersionChangeEvent;
use idb::request::OpenDatabaseRequest;
use idb::{
    Database, DatabaseEvent, Event, Factory, KeyRange, ObjectStore, ObjectStoreParams, Request, StoreEvent,
    Transaction, TransactionMode,
};
use js_sys::{Array, Object, Reflect, Uint8Array};
use serde::Serialize;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{StorageEstimate, StorageManager, WorkerGlobalScope};

use super::{Bytes, Chunk, Manifest, Pending, Store, replaced};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::gpu::tune::Choice;

/// What the wrapper answers.
type Idb<T> = std::result::Result<T, idb::Error>;

/// Version of the schema; [`upgrade`] has one step for each.
const VERSION: u32 = 2;
const MODELS: &str = "models";
const CHUNKS: &str = "chunks";
const CHOICES: &str = "choices";
/// The one property of a chunk's record; an object leaves room for more.
const BYTES: &str = "bytes";

/// An open database; clones share the connection.
#[derive(Debug, Clone)]
pub struct IndexedDb {
    connection: Rc<Connection>,
}

#[derive(Debug)]
struct Connection {
    database: Database,
    /// Another tab brought the schema to a version that is newer than this code.
    outdated: Rc<Cell<bool>>,
}

/// Closes when dropped, so that no event reaches a handler that is gone.
impl Drop for Connection {
    fn drop(&mut self) {
        self.database.close();
    }
}

impl IndexedDb {
    /// Opens the database of this name in the page's origin, bringing its schema up to date.
    pub async fn open(name: &str) -> Result<Self> {
        let mut request = Factory::new().and_then(|factory| factory.open(name, Some(VERSION))).map_err(unavailable)?;
        let (sender, receiver) = oneshot::channel();
        let sender = Rc::new(Cell::new(Some(sender)));
        let blocked = sender.clone();
        request.on_upgrade_needed(|event| drop(upgrade(&event)));
        request.on_blocked(move |_| {
            if let Some(sender) = blocked.take() {
                let detail = "another tab holds an older version open: close or reload it".into();
                drop(sender.send(Err(Error::StoreUnavailable { detail })));
            }
        });
        spawn_local(async move {
            let opened = connect(request).await;
            if let Some(sender) = sender.take() {
                // If nobody waits any more, the connection closes here.
                drop(sender.send(opened));
            }
        });
        receiver.await.unwrap_or_else(|_| Err(unavailable(idb::Error::OneshotChannelReceiveError)))
    }

    fn transaction(&self, mode: TransactionMode) -> Result<(Transaction, ObjectStore, ObjectStore)> {
        let (transaction, [models, chunks]) = self.transaction_over([MODELS, CHUNKS], mode)?;
        Ok((transaction, models, chunks))
    }

    fn transaction_over<const N: usize>(
        &self,
        names: [&str; N],
        mode: TransactionMode,
    ) -> Result<(Transaction, [ObjectStore; N])> {
        let Connection { database, outdated } = &*self.connection;
        if outdated.get() {
            return Err(Error::StoreOutdated);
        }
        let transaction = database.transaction(&names, mode).map_err(unavailable)?;
        let stores: Idb<Vec<_>> = names.iter().map(|name| transaction.object_store(name)).collect();
        let absent = |_| unavailable(idb::Error::DomExceptionNotFound);
        Ok((transaction, stores.map_err(unavailable)?.try_into().map_err(absent)?))
    }

    /// The kernels that were measured to be the fastest; what makes no sense is as if it were not there.
    pub async fn choices(&self) -> Result<Vec<Choice>> {
        let (_, [choices]) = self.transaction_over([CHOICES], TransactionMode::ReadOnly)?;
        let records = choices.get_all(None, None).map_err(unavailable)?.await.map_err(unavailable)?;
        Ok(records.into_iter().filter_map(|record| serde_wasm_bindgen::from_value(record).ok()).collect())
    }

    /// Keeps a choice in the stead of any other for its place.
    pub async fn keep_choice(&self, choice: &Choice) -> Result<()> {
        let record = to_record(choice)?;
        let (transaction, [choices]) = self.transaction_over([CHOICES], TransactionMode::ReadWrite)?;
        let made = choices.put(&record, None).map(drop);
        finish(transaction, made).await
    }

    /// Deletes chunks that no manifest names, as when a manifest was lost with the disk's last breath.
    pub async fn sweep(&self) -> Result<()> {
        let (transaction, models, chunks) = self.transaction(TransactionMode::ReadWrite)?;
        let place = chunks.clone();
        let mut named = models.get_all_keys(None, None).map_err(unavailable)?;
        let mut held = chunks.get_all_keys(None, None).map_err(unavailable)?;
        // None until they are known, which is not the same as none at all.
        let ids = Rc::new(RefCell::new(None));
        let known = ids.clone();
        // Read and deleted in one transaction: what another tab begins to store comes before or after it.
        named.on_success(move |event| drop(known.replace(event.result().ok().map(ids_of))));
        held.on_success(move |event| {
            let (Some(ids), Ok(keys)) = (&*ids.borrow(), event.result()) else { return };
            for id in ids_of(keys).difference(ids) {
                // What cannot be deleted now is found again the next time.
                drop(chunk_range(id).and_then(|range| place.delete(range)));
            }
        });
        finish(transaction, Ok(())).await?;
        drop((named, held));
        Ok(())
    }

    /// Runs requests in one transaction and waits until it is complete.
    async fn write(&self, requests: impl FnOnce(&ObjectStore, &ObjectStore) -> Idb<()>) -> Result<()> {
        let (transaction, models, chunks) = self.transaction(TransactionMode::ReadWrite)?;
        let made = requests(&models, &chunks);
        finish(transaction, made).await
    }

    /// Starts requests in one transaction, which is undone when another writer has taken the model's place.
    fn start_as_writer(
        &self,
        manifest: &Manifest,
        requests: impl FnOnce(&ObjectStore, &ObjectStore) -> Idb<()>,
    ) -> Result<oneshot::Receiver<Result<()>>> {
        let (transaction, models, chunks) = self.transaction(TransactionMode::ReadWrite)?;
        let (sender, receiver) = oneshot::channel();
        let lost = Rc::new(Cell::new(false));
        let (seen, writer) = (lost.clone(), manifest.writer);
        // The check comes first in the transaction and undoes it: no other writer can come in between.
        let mut check = models.get(JsValue::from_str(&manifest.id)).map_err(unavailable)?;
        check.on_success(move |event| {
            let stored = event.result().ok().flatten();
            let stored = stored.and_then(|stored| Reflect::get(&stored, &"writer".into()).ok());
            if stored.and_then(|stored| stored.as_f64()) != Some(writer) {
                seen.set(true);
                drop(event.target().map(|request| request.transaction().map(Transaction::abort)));
            }
        });
        let made = requests(&models, &chunks);
        spawn_local(async move {
            let result = finish(transaction, made).await;
            // Its handler must live as long as the transaction.
            drop(check);
            drop(sender.send(if lost.get() { Err(replaced()) } else { result }));
        });
        Ok(receiver)
    }

    fn start_put(
        &self,
        manifest: &Manifest,
        chunk: Option<(&str, &Chunk, &Uint8Array)>,
    ) -> Result<oneshot::Receiver<Result<()>>> {
        let record = manifest_record(manifest)?;
        self.start_as_writer(manifest, |models, chunks| {
            if let Some((file, chunk, bytes)) = chunk {
                chunks.put(&chunk_record(bytes), Some(&chunk_key(&manifest.id, file, chunk.start)))?;
            }
            models.put(&record, None).map(drop)
        })
    }

    fn start_get(&self, key: JsValue) -> Result<oneshot::Receiver<Result<Option<Uint8Array>>>> {
        let (_, _, chunks) = self.transaction(TransactionMode::ReadOnly)?;
        let request = chunks.get(key).map_err(unavailable)?;
        let (sender, receiver) = oneshot::channel();
        spawn_local(async move {
            // A record whose bytes the browser cannot read back is a damaged one.
            let damaged = |error| Error::StoreCorrupt { detail: describe(&error) };
            let record = request.await.map_err(damaged);
            drop(sender.send(record.and_then(|record| record.map(|record| chunk_bytes(&record)).transpose())));
        });
        Ok(receiver)
    }
}

impl Store for IndexedDb {
    type Bytes = Uint8Array;

    async fn list(&self) -> Result<Vec<Manifest>> {
        let (_, models, _) = self.transaction(TransactionMode::ReadOnly)?;
        let request = models.get_all(None, None).map_err(unavailable)?;
        Ok(request.await.map_err(unavailable)?.into_iter().map(manifest).collect())
    }

    async fn begin(&self, manifest: &mut Manifest) -> Result<()> {
        manifest.writer = js_sys::Math::random();
        let record = manifest_record(manifest)?;
        let range = chunk_range(&manifest.id).map_err(unavailable)?;
        self.write(|models, chunks| {
            chunks.delete(range)?;
            models.put(&record, None).map(drop)
        })
        .await
    }

    async fn adopt(&self, id: &str) -> Result<Option<Manifest>> {
        let (transaction, models, _) = self.transaction(TransactionMode::ReadWrite)?;
        let adopted = Rc::new(RefCell::new(None));
        let (taken, place) = (adopted.clone(), models.clone());
        let mut request = models.get(JsValue::from_str(id)).map_err(unavailable)?;
        // Read and written back in one transaction: no other tab's chunk can get lost in between.
        request.on_success(move |event| {
            let Some(record) = event.result().ok().flatten() else { return };
            let set = Reflect::set(&record, &"writer".into(), &js_sys::Math::random().into());
            if set.is_ok() && place.put(&record, None).is_ok() {
                taken.replace(Some(record));
            }
        });
        finish(transaction, Ok(())).await?;
        drop(request);
        Ok(adopted.take().map(manifest))
    }

    fn put(&self, manifest: &Manifest, chunk: Option<(&str, &Chunk, &Uint8Array)>) -> Pending<()> {
        pending(self.start_put(manifest, chunk))
    }

    fn get(&self, id: &str, file: &str, start: u64) -> Pending<Option<Uint8Array>> {
        pending(self.start_get(chunk_key(id, file, start)))
    }

    async fn withdraw(&self, manifest: &Manifest) -> Result<()> {
        let started = self.start_as_writer(manifest, |models, chunks| delete(models, chunks, &manifest.id));
        pending(started).await
    }

    async fn withdraw_file(&self, manifest: &Manifest, file: &str) -> Result<()> {
        let record = manifest_record(manifest)?;
        let started = self.start_as_writer(manifest, |models, chunks| {
            chunks.delete(file_range(&manifest.id, file)?)?;
            models.put(&record, None).map(drop)
        });
        pending(started).await
    }

    async fn delete(&self, id: &str) -> Result<()> {
        self.write(|models, chunks| delete(models, chunks, id)).await
    }

    async fn room(&self) -> Option<u64> {
        let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
        // Absent outside secure contexts, whatever the bindings say.
        let storage: StorageManager = scope.navigator().storage();
        if storage.is_undefined() {
            return None;
        }
        let estimate: StorageEstimate = JsFuture::from(storage.estimate().ok()?).await.ok()?.unchecked_into();
        Some((estimate.get_quota()? - estimate.get_usage()?).max(0.0) as u64)
    }
}

fn delete(models: &ObjectStore, chunks: &ObjectStore, id: &str) -> Idb<()> {
    models.delete(JsValue::from_str(id))?;
    chunks.delete(chunk_range(id)?).map(drop)
}

impl Bytes for Uint8Array {
    fn length(&self) -> u32 {
        self.byte_length()
    }

    fn copy_into(&self, to: &mut Vec<u8>) {
        to.resize(self.byte_length() as usize, 0);
        self.copy_to(to);
    }

    fn from_vec(bytes: Vec<u8>) -> Self {
        Self::from(bytes.as_slice())
    }

    fn digest(&self) -> Pending<Digest> {
        let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
        let subtle = scope.crypto().map(|crypto| crypto.subtle()).ok().filter(|subtle| !subtle.is_undefined());
        let promise = subtle.and_then(|subtle| subtle.digest_with_str_and_js_u8_array("SHA-256", self).ok());
        let bytes = self.clone();
        Box::pin(async move {
            // Outside secure contexts there is no WebCrypto.
            let Some(promise) = promise else { return Ok(Digest::of(&bytes.to_vec())) };
            let failed = |_| Error::StoreUnavailable { detail: "the browser could not compute a SHA-256".into() };
            let digest = Uint8Array::new(&JsFuture::from(promise).await.map_err(failed)?);
            <[u8; 32]>::try_from(digest.to_vec()).map(Digest::from).map_err(|_| failed(JsValue::NULL))
        })
    }
}

/// Brings the schema up from any earlier version, keeping the data.
fn upgrade(event: &VersionChangeEvent) -> Idb<()> {
    let database = event.database()?;
    if event.old_version()? < 1 {
        let mut params = ObjectStoreParams::new();
        params.key_path(Some(idb::KeyPath::new_single("id")));
        database.create_object_store(MODELS, params)?;
        database.create_object_store(CHUNKS, ObjectStoreParams::new())?;
    }
    if event.old_version()? < 2 {
        let mut params = ObjectStoreParams::new();
        params.key_path(Some(idb::KeyPath::new_single("place")));
        database.create_object_store(CHOICES, params)?;
    }
    Ok(())
}

async fn connect(request: OpenDatabaseRequest) -> Result<IndexedDb> {
    let mut database = request.await.map_err(unavailable)?;
    let outdated = Rc::new(Cell::new(false));
    let newer = outdated.clone();
    // A tab with a newer version of the page wants to upgrade the schema, or (without a version) the user clears the
    // site's data. Neither can go on before this connection is closed; what is being written is written first.
    database.on_version_change(move |event| {
        newer.set(Reflect::get(&event, &"newVersion".into()).is_ok_and(|version| !version.is_null()));
        if let Some(database) = event.target().and_then(|target| Database::try_from(target).ok()) {
            database.close();
        }
    });
    Ok(IndexedDb { connection: Rc::new(Connection { database, outdated }) })
}

/// Waits for the end of a transaction whose requests were made, or could not all be made and are to be undone.
async fn finish(mut transaction: Transaction, made: Idb<()>) -> Result<()> {
    let (sender, receiver) = oneshot::channel();
    let sender = Rc::new(Cell::new(Some(sender)));
    let aborted = sender.clone();
    transaction.on_complete(move |_| {
        if let Some(sender) = sender.take() {
            drop(sender.send(Ok(())));
        }
    });
    // A full disk shows only here: the requests succeeded, the commit did not.
    transaction.on_abort(move |event| {
        let error = event.target().and_then(|target| Transaction::try_from(target).ok()).and_then(|it| it.error());
        let error = error.map_or(idb::Error::DomExceptionNotFound, idb::Error::DomException);
        if let Some(sender) = aborted.take() {
            drop(sender.send(Err(unavailable(error))));
        }
    });
    let (_alive, made) = match made {
        Ok(()) => (transaction, Ok(())),
        Err(error) => (transaction.abort().map_err(unavailable)?, Err(unavailable(error))),
    };
    let result = receiver.await.unwrap_or_else(|_| Err(unavailable(idb::Error::OneshotChannelReceiveError)));
    made.and(result)
}

fn pending<T: 'static>(started: Result<oneshot::Receiver<Result<T>>>) -> Pending<T> {
    Box::pin(async {
        let gone = |_| Err(unavailable(idb::Error::OneshotChannelReceiveError));
        started?.await.unwrap_or_else(gone)
    })
}

fn manifest_record(manifest: &Manifest) -> Result<JsValue> {
    to_record(&Manifest { last_used: js_sys::Date::now(), ..manifest.clone() })
}

fn to_record(value: &impl Serialize) -> Result<JsValue> {
    serde_wasm_bindgen::to_value(value).map_err(|error| Error::StoreCorrupt { detail: error.to_string() })
}

/// The manifest in a record; when it makes no sense, one that can still be seen and deleted.
fn manifest(record: JsValue) -> Manifest {
    serde_wasm_bindgen::from_value(record.clone()).map(Manifest::checked).unwrap_or_else(|_| {
        let id = Reflect::get(&record, &"id".into()).ok().and_then(|id| id.as_string()).unwrap_or_default();
        Manifest { name: id.clone(), id, ..Manifest::default() }
    })
}

/// The models' ids in keys, which are `id` or `[id, file, start]`.
fn ids_of(keys: Vec<JsValue>) -> HashSet<String> {
    let id = |key: JsValue| key.as_string().or_else(|| key.dyn_into::<Array>().ok()?.get(0).as_string());
    keys.into_iter().filter_map(id).collect()
}

fn chunk_record(bytes: &Uint8Array) -> JsValue {
    Object::from_entries(&Array::of1(&Array::of2(&BYTES.into(), bytes))).map_or_else(|error| error, JsValue::from)
}

fn chunk_bytes(record: &JsValue) -> Result<Uint8Array> {
    let bytes = Reflect::get(record, &BYTES.into()).ok().and_then(|bytes| bytes.dyn_into().ok());
    bytes.ok_or_else(|| Error::StoreCorrupt { detail: "a record without bytes".into() })
}

fn chunk_key(id: &str, file: &str, start: u64) -> JsValue {
    // Exact: no file reaches 2^53 bytes.
    Array::of3(&id.into(), &file.into(), &JsValue::from_f64(start as f64)).into()
}

/// All chunks of a model: an array sorts after every string, so `[id, []]` after every `[id, file, start]`.
fn chunk_range(id: &str) -> Idb<KeyRange> {
    let (lower, upper) = (Array::of1(&id.into()), Array::of2(&id.into(), &Array::new()));
    KeyRange::bound(&lower, &upper, None, None)
}

/// All chunks of a file.
fn file_range(id: &str, file: &str) -> Idb<KeyRange> {
    let (id, file) = (id.into(), file.into());
    KeyRange::bound(&Array::of2(&id, &file), &Array::of3(&id, &file, &Array::new()), None, None)
}

fn unavailable(error: idb::Error) -> Error {
    let detail = describe(&error);
    // The name of the DOMException, whichever of the wrapper's errors carries it.
    if detail.contains("QuotaExceededError") {
        return Error::Quota { detail };
    }
    // Opened at a version from before the one that a newer page made of it.
    if detail.contains("VersionError") {
        return Error::StoreOutdated;
    }
    Error::StoreUnavailable { detail }
}

/// What the browser said, with the exception's name.
fn describe(error: &idb::Error) -> String {
    match error {
        idb::Error::DomException(exception) => format!("{}: {}", exception.name(), exception.message()),
        other => other.to_string(),
    }
}

//! Files on the user's disk.

use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, File};

use crate::error::{Error, Result};
use crate::store::{Pending, StoredFile};
use crate::weights::split;

/// One GGUF file, the parts of one, or the files of a Hugging Face folder.
///
/// They are known again by name, length and time of change: hashing them would mean reading them to the end first.
#[derive(Debug)]
pub struct Local {
    pub(super) address: String,
    pub(super) name: String,
    pub(super) gguf: Option<String>,
    files: Vec<File>,
    signal: AbortSignal,
    current: Option<File>,
}

impl Local {
    /// Takes the GGUF file among those picked or dropped, else all of them as a folder's.
    pub fn new(files: Vec<File>, signal: &AbortSignal) -> Result<Self> {
        let is_gguf = |file: &File| file.name().to_lowercase().ends_with(".gguf");
        let ggufs: Vec<File> = files.iter().filter(|file| is_gguf(file)).cloned().collect();
        let (name, gguf, files) = match ggufs.as_slice() {
            [] if !files.iter().any(|file| ["config.json", "adapter_config.json"].contains(&file.name().as_str())) => {
                return Err(Error::NotAModel { detail: "there is neither a .gguf file nor a config.json".into() });
            }
            [] => (folder_name(&files), None, files),
            [file, others @ ..] => {
                let name = file.name();
                if !others.iter().all(|other| split::are_parts(&name, &other.name())) {
                    return Err(Error::BadRequest { detail: "there is more than one .gguf file".into() });
                }
                let first = split::part(&name, 1).filter(|_| !others.is_empty()).unwrap_or(name);
                (first.clone(), Some(first), ggufs.clone())
            }
        };
        let mut parts: Vec<String> = files.iter().filter_map(identity).collect();
        parts.sort();
        let address = format!("file:{}", parts.join(";"));
        Ok(Self { address, name, gguf, files, signal: signal.clone(), current: None })
    }

    pub(super) fn open(&mut self, name: &str) -> Option<StoredFile> {
        let file = self.files.iter().find(|file| file.name() == name)?.clone();
        let length = Some(file.size() as u64);
        self.current = Some(file);
        Some(StoredFile { name: name.to_owned(), length, ..StoredFile::default() })
    }

    pub(super) fn fetch(&self, start: u64, length: u32) -> Pending<Uint8Array> {
        let (file, signal) = (self.current.clone(), self.signal.clone());
        Box::pin(async move {
            let Some(file) = file.filter(|_| !signal.aborted()) else { return Err(Error::Aborted) };
            let end = (start as f64 + f64::from(length)).min(file.size());
            read(&file, start as f64, end).await.map_err(|error| Error::File {
                path: file.name(),
                detail: error.dyn_ref::<web_sys::DomException>().map_or_else(String::new, |error| error.message()),
            })
        })
    }
}

async fn read(file: &File, start: f64, end: f64) -> std::result::Result<Uint8Array, JsValue> {
    let slice = file.slice_with_f64_and_f64(start, end)?;
    Ok(Uint8Array::new(&JsFuture::from(slice.array_buffer()).await?))
}

/// What the files that make a checkpoint are known by.
fn identity(file: &File) -> Option<String> {
    let name = file.name();
    let counts =
        name == "config.json" || [".gguf", ".safetensors"].iter().any(|end| name.to_lowercase().ends_with(end));
    counts.then(|| format!("{name},{},{}", file.size(), file.last_modified()))
}

/// The folder that the files were picked from, where the browser tells it.
fn folder_name(files: &[File]) -> String {
    let path = files.first().and_then(|file| js_sys::Reflect::get(file, &"webkitRelativePath".into()).ok());
    let path = path.and_then(|path| path.as_string()).unwrap_or_default();
    match path.split_once('/') {
        Some((folder, _)) => folder.to_owned(),
        None => "local folder".to_owned(),
    }
}

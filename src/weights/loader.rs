//! From a source's chunks to a sink's rows: one chunk and a few rows are held at a time.

use std::cell::Cell;
use std::collections::HashSet;

use super::cursor::Cursor;
use super::gguf::{Header, Metadata};
use super::manifest::{Content, Manifest, Naming, Part};
use super::rows::Rows;
use super::source::{Kind, Source};
use super::split::Split;
use super::{Role, Sink, gguf_config, hugging_face};
use crate::config::{ModelConfig, RopeScaling};
use crate::error::{Error, Result};
use crate::formats::{self, Format};

/// All that is known of a model before its weights are read.
#[derive(Debug)]
pub struct Checkpoint {
    /// Sizes and constants. With GGUF, RoPE's scaling may stand among the weights: `Opened::load` gives the final one.
    pub config: ModelConfig,
    /// What tokenizer, chat format and sampling defaults are made of.
    pub text: TextFiles,
    /// The model's own name, where it has one.
    pub name: Option<String>,
    /// Bytes of all weight files, as far as they are known now.
    pub total_bytes: u64,
}

/// A checkpoint's text side, as published.
#[derive(Debug, Clone, PartialEq)]
pub enum TextFiles {
    /// A GGUF file's key/value part.
    Gguf(Box<Metadata>),
    /// A Hugging Face folder's small files.
    HuggingFace {
        /// The tokens.
        vocabulary: VocabularyFile,
        /// `tokenizer_config.json`.
        tokenizer_config: Option<Vec<u8>>,
        /// `generation_config.json`.
        generation_config: Option<Vec<u8>>,
        /// `config.json`; an empty object where the folder has only a tokenizer.
        config: Vec<u8>,
        /// `chat_template.jinja`, which newer folders keep apart from `tokenizer_config.json`.
        chat_template: Option<Vec<u8>>,
    },
}

/// The file of a folder that has its tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum VocabularyFile {
    /// `tokenizer.json`.
    Json(Vec<u8>),
    /// `tokenizer.model`, in folders that have no `tokenizer.json`.
    SentencePiece {
        /// The file.
        model: Vec<u8>,
        /// `added_tokens.json`: tokens that were added to it later.
        added: Option<Vec<u8>>,
    },
}

/// A checkpoint whose headers are read and whose weights are still to come.
#[derive(Debug)]
pub struct Opened {
    pub(super) checkpoint: Checkpoint,
    pub(super) first: WeightFile,
    /// Names of the files after the first.
    rest: Vec<String>,
    /// What a GGUF file in parts says of them, and how many parts come before the first one here.
    split: Option<(Split, usize)>,
}

/// A weight file that is read up to the end of its header.
#[derive(Debug)]
pub(super) struct WeightFile {
    cursor: Cursor,
    pub manifest: Manifest,
    /// Whether the sink has made room for its weights.
    allocated: Cell<bool>,
}

/// Reads what is needed for text alone: works for a folder that has no weights, and for models of any architecture.
pub async fn open_text<S: Source>(source: &mut S) -> Result<TextFiles> {
    match source.kind() {
        Kind::Gguf(name) => {
            let mut cursor = Cursor::open(source, &name).await?;
            let header = Header::read(&mut cursor, source).await?;
            Ok(TextFiles::Gguf(Box::new(header.metadata)))
        }
        Kind::HuggingFace => {
            let config = source.small_file("config.json").await?;
            folder_text(source, config.unwrap_or_else(|| b"{}".to_vec())).await
        }
    }
}

/// Reads a checkpoint's small files and the header of its first weight file, and checks them.
pub async fn open<S: Source>(source: &mut S) -> Result<Opened> {
    match source.kind() {
        Kind::Gguf(name) => open_gguf(source, &name).await,
        Kind::HuggingFace => open_folder(source).await,
    }
}

pub(super) async fn open_gguf<S: Source>(source: &mut S, name: &str) -> Result<Opened> {
    let mut cursor = Cursor::open(source, name).await?;
    let mut header = Header::read(&mut cursor, source).await?;
    let split = Split::of(&header.metadata);
    let mut rest = split.map_or(Ok(Vec::new()), |split| split.rest(name))?;
    let mut first = name.to_owned();
    if let (Some(split), true, false) = (split, header.tensors.is_empty(), rest.is_empty()) {
        // Some writers keep the metadata in a file of their own; what there is to know of tensors is in the next one.
        cursor.drain(source).await?;
        first = rest.remove(0);
        cursor = Cursor::open(source, &first).await?;
        let part = Header::read(&mut cursor, source).await?;
        split.check(&first, 1, &part.metadata)?;
        header.tensors = part.tensors;
    }
    let config = gguf_config::config(&header.metadata, &header.tensors)?;
    let place = (first.as_str(), cursor.position(), cursor.length());
    let manifest = Manifest::new(Naming::Gguf, &config, &header.tensors, place)?;
    if rest.is_empty() {
        let mut missing = Missing::new(&config, Naming::Gguf);
        missing.found(&manifest)?;
        missing.check()?;
    }
    let number = usize::from(first != name);
    let split = split.map(|split| (split, number));
    let checkpoint = Checkpoint {
        config,
        name: header.metadata.string("general.name").map(str::to_owned),
        text: TextFiles::Gguf(Box::new(header.metadata)),
        // All parts but the last are about as long as the first; what is wrong with that shows as they are opened.
        total_bytes: cursor.length().saturating_mul(rest.len().max(1) as u64),
    };
    Ok(Opened { checkpoint, first: WeightFile { cursor, manifest, allocated: Cell::new(false) }, rest, split })
}

async fn open_folder<S: Source>(source: &mut S) -> Result<Opened> {
    let json = required(source, "config.json").await?;
    let config = hugging_face::config(&json)?;
    let text = folder_text(source, json).await?;
    let (first, rest, total_bytes) = folder_weights(source, &config).await?;
    let checkpoint = Checkpoint { config, text, name: None, total_bytes };
    Ok(Opened { checkpoint, first, rest, split: None })
}

/// A folder's first weight file, the names of the others, and the bytes of them all.
pub(super) async fn folder_weights<S: Source>(
    source: &mut S,
    config: &ModelConfig,
) -> Result<(WeightFile, Vec<String>, u64)> {
    let shards = match source.small_file("model.safetensors.index.json").await? {
        Some(index) => hugging_face::Shards::from_index(&index)?,
        None => hugging_face::Shards::single(),
    };
    if let Some(names) = &shards.tensors {
        check_index(config, names)?;
    }
    let mut files = shards.files.into_iter();
    let name = files.next().unwrap_or_default();
    let first = WeightFile::open(source, &name, config).await?;
    if files.len() == 0 {
        let mut missing = Missing::new(config, Naming::HuggingFace);
        missing.found(&first.manifest)?;
        missing.check()?;
    }
    let total_bytes = first.total_bytes(config, shards.total_bytes);
    Ok((first, files.collect(), total_bytes))
}

/// A folder's text side around its `config.json`.
async fn folder_text<S: Source>(source: &mut S, config: Vec<u8>) -> Result<TextFiles> {
    Ok(TextFiles::HuggingFace {
        vocabulary: vocabulary(source).await?,
        tokenizer_config: source.small_file("tokenizer_config.json").await?,
        generation_config: source.small_file("generation_config.json").await?,
        config,
        chat_template: source.small_file("chat_template.jinja").await?,
    })
}

/// A folder's tokens, in whichever form it has them.
async fn vocabulary<S: Source>(source: &mut S) -> Result<VocabularyFile> {
    if let Some(json) = source.small_file("tokenizer.json").await? {
        return Ok(VocabularyFile::Json(json));
    }
    match source.small_file("tokenizer.model").await? {
        Some(model) => {
            Ok(VocabularyFile::SentencePiece { model, added: source.small_file("added_tokens.json").await? })
        }
        None => Err(Error::MissingFile { name: "tokenizer.json".to_owned() }),
    }
}

pub(super) async fn required<S: Source>(source: &mut S, name: &str) -> Result<Vec<u8>> {
    source.small_file(name).await?.ok_or_else(|| Error::MissingFile { name: name.to_owned() })
}

/// Finds a tensor that no shard has before gigabytes of shards are read.
fn check_index(config: &ModelConfig, names: &HashSet<String>) -> Result<()> {
    let mut wanted = Role::all(config).into_iter().map(|role| Naming::HuggingFace.name(role));
    match wanted.find(|name| !names.contains(name)) {
        Some(tensor) => Err(Error::MissingTensor { tensor }),
        None => Ok(()),
    }
}

/// Roles that no file has brought yet.
struct Missing {
    roles: HashSet<Role>,
    order: Vec<Role>,
    naming: Naming,
}

impl Missing {
    fn new(config: &ModelConfig, naming: Naming) -> Self {
        let order = Role::all(config);
        Self { roles: order.iter().copied().collect(), order, naming }
    }

    /// Counts a file's weights as there; each may be there once.
    fn found(&mut self, manifest: &Manifest) -> Result<()> {
        for spec in manifest.specs() {
            if !self.roles.remove(&spec.role) {
                let detail = format!("tensor {} is in two files", self.naming.name(spec.role));
                return Err(Error::BadHeader { detail });
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        match self.order.iter().find(|role| self.roles.contains(role)) {
            Some(role) => Err(Error::MissingTensor { tensor: self.naming.name(*role) }),
            None => Ok(()),
        }
    }
}

impl Opened {
    /// What is known before the weights are read.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Has `sink` make room for the weights of the first file already; tells whether these are all.
    pub async fn allocate<K: Sink>(&self, sink: &mut K) -> Result<bool> {
        self.first.allocate(sink).await?;
        Ok(self.rest.is_empty())
    }

    /// Streams all weights into `sink` and returns the final configuration. The text files are dropped first.
    ///
    /// `progress` is told bytes done and in total after each chunk, and stops the work by returning false. The total
    /// of a folder grows a little as its shards are opened, because its index does not count their headers.
    pub async fn load<S: Source, K: Sink>(
        self,
        source: &mut S,
        sink: &mut K,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<ModelConfig> {
        let Opened { checkpoint: Checkpoint { mut config, total_bytes, text, name: _ }, first, rest, split } = self;
        // A vocabulary is megabytes, and whoever needs it has it by now.
        drop(text);
        let mut missing = Missing::new(&config, first.manifest.naming);
        let done = first.cursor.received();
        let mut source = Watched { source, progress, done, total: total_bytes };
        source.report()?;
        let mut file = first;
        let mut rest = rest.into_iter().zip(split.map_or(1, |(_, before)| before + 1)..);
        loop {
            missing.found(&file.manifest)?;
            file.load(&mut source, sink, &mut config).await?;
            let Some((name, number)) = rest.next() else { break };
            file = match split {
                Some((split, _)) => WeightFile::open_part(&mut source, &name, &config, (split, number)).await?,
                None => WeightFile::open(&mut source, &name, &config).await?,
            };
        }
        missing.check()?;
        config.validate()?;
        source.total = source.done;
        source.report()?;
        Ok(config)
    }
}

/// A source that tells of each chunk that passes.
struct Watched<'a, S> {
    source: &'a mut S,
    progress: &'a mut dyn FnMut(u64, u64) -> bool,
    /// Bytes of all files so far, and in total.
    done: u64,
    total: u64,
}

impl<S> Watched<'_, S> {
    fn report(&mut self) -> Result<()> {
        self.total = self.total.max(self.done);
        if (self.progress)(self.done, self.total) { Ok(()) } else { Err(Error::Aborted) }
    }
}

impl<S: Source> Source for Watched<'_, S> {
    fn kind(&self) -> Kind {
        self.source.kind()
    }

    async fn small_file(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        self.source.small_file(name).await
    }

    async fn open(&mut self, name: &str) -> Result<u64> {
        let length = self.source.open(name).await?;
        self.total = self.total.max(self.done.saturating_add(length));
        Ok(length)
    }

    async fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool> {
        let more = self.source.next_chunk(chunk).await?;
        self.done += chunk.len() as u64;
        if more {
            self.report()?;
        }
        Ok(more)
    }
}

impl WeightFile {
    /// Opens a safetensors file.
    async fn open<S: Source>(source: &mut S, name: &str, config: &ModelConfig) -> Result<Self> {
        let mut cursor = Cursor::open(source, name).await?;
        let tensors = hugging_face::read_header(&mut cursor, source).await?;
        let place = (name, cursor.position(), cursor.length());
        let manifest = Manifest::new(Naming::HuggingFace, config, &tensors, place)?;
        Ok(Self { cursor, manifest, allocated: Cell::new(false) })
    }

    /// Opens a part of a GGUF model that is not the first.
    async fn open_part<S: Source>(
        source: &mut S,
        name: &str,
        config: &ModelConfig,
        (split, number): (Split, usize),
    ) -> Result<Self> {
        let mut cursor = Cursor::open(source, name).await?;
        let header = Header::read(&mut cursor, source).await?;
        split.check(name, number, &header.metadata)?;
        let place = (name, cursor.position(), cursor.length());
        let manifest = Manifest::new(Naming::Gguf, config, &header.tensors, place)?;
        Ok(Self { cursor, manifest, allocated: Cell::new(false) })
    }

    /// Bytes of a checkpoint that begins with this file and has `listed` by its index, which knows nothing of a copy in fewer bits.
    fn total_bytes(&self, config: &ModelConfig, listed: u64) -> u64 {
        let specs = self.manifest.specs();
        if specs.iter().all(|spec| spec.format.block_len() == 1) {
            return listed.max(self.cursor.length());
        }
        let weights = |shapes: &mut dyn Iterator<Item = [usize; 2]>| -> f64 {
            shapes.map(|[rows, columns]| rows as f64 * columns as f64).sum()
        };
        let here = weights(&mut specs.iter().map(|spec| [spec.rows, spec.columns]));
        let all = weights(&mut Role::all(config).into_iter().map(|role| role.shape(config)));
        self.cursor.length().max((self.cursor.length() as f64 * all / here.max(1.0)) as u64)
    }

    async fn allocate<K: Sink>(&self, sink: &mut K) -> Result<()> {
        if !self.allocated.replace(true) {
            sink.allocate(&self.manifest.specs()).await?;
        }
        Ok(())
    }

    /// Streams the file's weights; RoPE divisors go to the configuration.
    async fn load<S: Source, K: Sink>(&mut self, source: &mut S, sink: &mut K, config: &mut ModelConfig) -> Result<()> {
        self.allocate(sink).await?;
        let Self { cursor, manifest, .. } = self;
        for part in &manifest.parts {
            cursor.skip_to(source, part.start).await?;
            match part.content {
                Content::Weight(spec) => {
                    let head = half_split_head(manifest.naming, spec.role, config.head_dim);
                    let mut rows = Rows::new(sink, &part.name, spec, head);
                    let mut left = part.bytes;
                    while left > 0 {
                        let bytes = cursor.some(source, left).await?;
                        rows.push(bytes)?;
                        let read = bytes.len();
                        left -= read as u64;
                        cursor.consume(read);
                        rows.sink.settle().await?;
                    }
                    rows.finish()?;
                }
                Content::RopeDivisors(pairs) => read_divisors(cursor, source, part, pairs, config).await?,
            }
        }
        cursor.drain(source).await
    }
}

/// Reads the divisors of RoPE's frequencies; a linear factor named beside them applies on top.
async fn read_divisors<S: Source>(
    cursor: &mut Cursor,
    source: &mut S,
    part: &Part,
    pairs: usize,
    config: &mut ModelConfig,
) -> Result<()> {
    let mut bytes = Vec::new();
    cursor.take(source, part.bytes, &mut bytes).await?;
    let mut divisors = vec![0.0; pairs];
    formats::dequantise(Format::F32, &bytes, &mut divisors)?;
    if let RopeScaling::Linear { factor } = config.rope.scaling {
        divisors.iter_mut().for_each(|divisor| *divisor *= factor);
    }
    config.rope.scaling = RopeScaling::Divisors(divisors);
    config.validate()
}

/// The head dimension of a tensor whose rows must be reordered, `None` for all others.
fn half_split_head(naming: Naming, role: Role, head_dim: usize) -> Option<usize> {
    use super::LayerRole::{Key, Query};
    let is_rotated = matches!(role, Role::Layer(_, Query | Key));
    (is_rotated && naming == Naming::HuggingFace).then_some(head_dim)
}

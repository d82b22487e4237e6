//! One error type, grouped by room. Each has a stable code and a sentence that says what to do.

use crate::weights::repository::Offer;

/// Everything that can go wrong, as the page and native callers see it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // net: bytes on their way here
    /// No answer from the server: offline, blocked by CORS, or a name that does not resolve.
    #[error("could not reach {url}: {detail}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the browser said.
        detail: String,
    },
    /// The server answered with something other than success.
    #[error("{url} answered with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status code.
        status: u16,
        /// What a Hugging Face hub calls it.
        reason: Option<String>,
    },
    /// The server's answer cannot be used.
    #[error("{url}: the server's answer cannot be used: {detail}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The body or file ended before its announced length.
    #[error("{name} ended after {got} of {expected} bytes")]
    Truncated {
        /// File or URL.
        name: String,
        /// Announced length in bytes.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// The file changed at its source while it was downloaded, again and again.
    #[error("{url} changes while it is downloaded")]
    Changed {
        /// What was asked for.
        url: String,
    },
    /// The bytes that come are not those that the publisher's digest is of.
    #[error("{name} is not the file that its publisher describes: its SHA-256 is another one{}", at_byte(.part))]
    Digest {
        /// The file's name.
        name: String,
        /// First byte of the chunk that is another one; none when only the whole file is known to be.
        part: Option<u64>,
    },
    /// The caller stopped the work.
    #[error("stopped")]
    Aborted,

    // hub: what a Hugging Face hub refuses
    /// A repository for those only whom its owner has given access.
    #[error("{}", gated(.repository, *.token))]
    HubGated {
        /// `owner/name`.
        repository: String,
        /// Whether a token was given.
        token: bool,
    },
    /// No such repository, or none that is shown without a token.
    #[error("there is no repository {repository}, or it is private")]
    HubNoRepository {
        /// `owner/name`.
        repository: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("the repository {repository} has no revision {revision}")]
    HubNoRevision {
        /// `owner/name`.
        repository: String,
        /// A branch, tag or commit.
        revision: String,
    },
    /// The repository has no such file.
    #[error("the repository {repository} has no file {file}")]
    HubNoFile {
        /// `owner/name`.
        repository: String,
        /// Its path.
        file: String,
    },
    /// A repository of several models was named, and none of them.
    #[error("the repository {repository} holds several models: {}", names(.offers))]
    HubSeveral {
        /// Address of the hub.
        host: String,
        /// `owner/name`.
        repository: String,
        /// A branch, tag or commit.
        revision: String,
        /// What there is to choose from.
        offers: Vec<Offer>,
    },

    // store: chunks at rest
    /// The browser offers no storage here (private window, blocked third-party storage).
    #[error("the browser's storage is not available: {detail}")]
    StoreUnavailable {
        /// What the browser said.
        detail: String,
    },
    /// Another tab has brought the store to a newer version than this page knows.
    #[error("another tab runs a newer version of this page")]
    StoreOutdated,
    /// The disk or the site's quota is full.
    #[error("not enough space to store the model: {detail}")]
    Quota {
        /// What the browser said.
        detail: String,
    },
    /// The model does not fit into what the browser lets this site store.
    #[error("the model needs {} of storage and there is room for {}: {} are to be freed", megabytes(*.needed), megabytes(*.free), megabytes(.needed.saturating_sub(*.free)))]
    NoSpace {
        /// Bytes that are still to be stored.
        needed: u64,
        /// Bytes that there is room for.
        free: u64,
    },
    /// A stored record is missing or not what its manifest says, and cannot be fetched again.
    #[error("the stored copy is damaged: {detail}")]
    StoreCorrupt {
        /// Which record.
        detail: String,
    },

    // weights: files become tensors
    /// A native file could not be read.
    #[error("could not read {path}: {detail}")]
    File {
        /// The path.
        path: String,
        /// What the system said.
        detail: String,
    },
    /// Neither a GGUF file nor a Hugging Face folder.
    #[error("not a model that can be read: {detail}")]
    NotAModel {
        /// What was seen instead.
        detail: String,
    },
    /// A file that the checkpoint needs is not there.
    #[error("the checkpoint has no file {name}")]
    MissingFile {
        /// The file's name.
        name: String,
    },
    /// A header whose fields contradict each other or the file's size.
    #[error("the file's header is broken: {detail}")]
    BadHeader {
        /// Which field, and why.
        detail: String,
    },
    /// A model of another architecture than Llama's.
    #[error("the architecture {name:?} is not Llama's")]
    Architecture {
        /// The architecture's name as the file gives it.
        name: String,
    },
    /// A hyper-parameter that is missing or out of range.
    #[error("bad model configuration: {detail}")]
    BadConfig {
        /// Which one, and why.
        detail: String,
    },
    /// A tensor in a number format that the engine does not read.
    #[error("tensor {tensor} has the unsupported type {dtype}")]
    TensorType {
        /// The tensor's name in the file.
        tensor: String,
        /// The type's name or number.
        dtype: String,
    },
    /// A tensor that the model needs is not in the file.
    #[error("tensor {tensor} is missing")]
    MissingTensor {
        /// The tensor's name.
        tensor: String,
    },
    /// A tensor whose shape is not the one that the configuration asks for.
    #[error("tensor {tensor} has shape {got:?} instead of {expected:?}")]
    TensorShape {
        /// The tensor's name.
        tensor: String,
        /// Rows and columns that the configuration asks for.
        expected: Vec<usize>,
        /// Rows and columns in the file.
        got: Vec<usize>,
    },
    /// An adapter that cannot be attached to this model.
    #[error("the adapter cannot be used: {detail}")]
    Adapter {
        /// What of it, and why.
        detail: String,
    },
    /// A weight or scale that is NaN or infinite.
    #[error("tensor {tensor} holds a value that is not a finite number")]
    NotFinite {
        /// The tensor's name or role.
        tensor: String,
    },

    // gpu: the device
    /// The browser has no WebGPU.
    #[error("this browser has no WebGPU")]
    NoWebGpu,
    /// WebGPU is there but gives no adapter, or the adapter no device.
    #[error("no usable graphics adapter: {detail}")]
    NoAdapter {
        /// What the browser or driver said.
        detail: String,
    },
    /// The adapter's limits are below what the model needs.
    #[error("the graphics adapter is too small: {detail}")]
    AdapterLimit {
        /// Which limit, needed and offered.
        detail: String,
    },
    /// An allocation failed.
    #[error("out of memory: {detail}")]
    OutOfMemory {
        /// What was being allocated, and its size.
        detail: String,
    },
    /// The device went away (driver reset, sleep, crash).
    #[error("the graphics device was lost: {detail}")]
    DeviceLost {
        /// What the browser or driver said.
        detail: String,
    },
    /// The device went away, and the one that took its place did not last either.
    #[error("the graphics device was lost twice within a minute: {detail}")]
    LostAgain {
        /// What the browser or driver said.
        detail: String,
    },
    /// The GPU refused a command; a defect of this engine or of the driver.
    #[error("the graphics device reported an error: {detail}")]
    Gpu {
        /// The first error that was reported.
        detail: String,
    },
    /// A thread that has a part of the weights ended.
    #[error("a thread of the engine ended")]
    HelperLost,
    /// The model's output holds no finite number.
    #[error("the model's output is not finite")]
    OutputNotFinite,

    // text
    /// A tokenizer description that cannot be used.
    #[error("the tokenizer cannot be used: {detail}")]
    Tokenizer {
        /// Which part, and why.
        detail: String,
    },
    /// A chat template that fails, or that refuses these messages.
    #[error("the chat template refuses: {detail}")]
    Template {
        /// The template's or the engine's reason.
        detail: String,
    },
    /// Chat messages were given to a model that has no chat format.
    #[error("this model has no chat format")]
    NoChatFormat,

    // generate
    /// A request with a value out of range.
    #[error("bad request: {detail}")]
    BadRequest {
        /// Which value, and why.
        detail: String,
    },
    /// The prompt alone does not fit the context.
    #[error("the prompt has {prompt} tokens and the context holds {context}")]
    ContextFull {
        /// Tokens in the prompt.
        prompt: usize,
        /// Tokens that the context holds.
        context: usize,
    },
}

/// Shorthand used throughout the crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether it says that the source's bytes are of no use, so that there is nothing to go on from.
    pub fn condemns_source(&self) -> bool {
        match self {
            // A file may be missing for a moment only.
            Error::File { .. } | Error::MissingFile { .. } | Error::Digest { part: Some(_), .. } => false,
            Error::Changed { .. } | Error::Digest { part: None, .. } => true,
            other => ["weights/", "text/"].iter().any(|room| other.code().starts_with(room)),
        }
    }

    /// A stable identifier for programs: `room/what`.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Unreachable { .. } => "net/unreachable",
            Error::Status { .. } => "net/status",
            Error::Answer { .. } => "net/answer",
            Error::Truncated { .. } => "net/truncated",
            Error::Changed { .. } => "net/changed",
            Error::Digest { .. } => "net/digest",
            Error::Aborted => "aborted",
            Error::HubGated { .. } => "hub/gated",
            Error::HubNoRepository { .. } => "hub/no-repository",
            Error::HubNoRevision { .. } => "hub/no-revision",
            Error::HubNoFile { .. } => "hub/no-file",
            Error::HubSeveral { .. } => "hub/several",
            Error::StoreUnavailable { .. } => "store/unavailable",
            Error::StoreOutdated => "store/outdated",
            Error::Quota { .. } => "store/quota",
            Error::NoSpace { .. } => "store/no-space",
            Error::StoreCorrupt { .. } => "store/corrupt",
            Error::File { .. } => "weights/file",
            Error::NotAModel { .. } => "weights/not-a-model",
            Error::MissingFile { .. } => "weights/missing-file",
            Error::BadHeader { .. } => "weights/bad-header",
            Error::Architecture { .. } => "weights/architecture",
            Error::BadConfig { .. } => "weights/bad-config",
            Error::TensorType { .. } => "weights/tensor-type",
            Error::MissingTensor { .. } => "weights/missing-tensor",
            Error::TensorShape { .. } => "weights/tensor-shape",
            Error::Adapter { .. } => "weights/adapter",
            Error::NotFinite { .. } => "weights/not-finite",
            Error::NoWebGpu => "gpu/no-webgpu",
            Error::NoAdapter { .. } => "gpu/no-adapter",
            Error::AdapterLimit { .. } => "gpu/limit",
            Error::OutOfMemory { .. } => "gpu/out-of-memory",
            Error::DeviceLost { .. } => "gpu/lost",
            Error::LostAgain { .. } => "gpu/lost-again",
            Error::Gpu { .. } => "gpu/error",
            Error::HelperLost => "engine/thread-lost",
            Error::OutputNotFinite => "gpu/not-finite",
            Error::Tokenizer { .. } => "text/tokenizer",
            Error::Template { .. } => "text/template",
            Error::NoChatFormat => "text/no-chat-format",
            Error::BadRequest { .. } => "generate/bad-request",
            Error::ContextFull { .. } => "generate/context-full",
        }
    }

    /// What the person in front of the page can do about it, as one sentence.
    pub fn advice(&self) -> &'static str {
        match self {
            Error::Unreachable { .. } => {
                "Check the connection and the address, and that the server allows other sites (CORS)."
            }
            Error::Status { status: 401 | 403, .. } => {
                "This model needs permission: ask its owner for access, or pick another one."
            }
            Error::Status { status: 404, .. } => "Check the address: there is no such file.",
            Error::Status { status: 429, .. } => {
                "The server has too many visitors: go on in a while; what is stored stays."
            }
            Error::Status { .. } => "The server has a problem: try again in a while.",
            Error::Answer { .. } => "Choose another server: this one does not give the file as it is.",
            Error::Truncated { .. } => "Try again, which goes on from what is stored, or choose another source.",
            Error::Changed { .. } => "Try again later, or choose another source.",
            Error::Digest { .. } => "Do not use this file: choose another source, or tell its publisher.",
            Error::Aborted => "Start again when you like.",
            Error::HubGated { .. } => {
                "Accept the licence on the repository's page, and give a token of an account that has done so."
            }
            Error::HubNoRepository { .. } => {
                "Check owner and name; a private repository needs a token of an account that may read it."
            }
            Error::HubNoRevision { .. } => "Check the revision, or leave it out: the main branch is taken then.",
            Error::HubNoFile { .. } => "Check the file's name, or give the repository alone to choose from its files.",
            Error::HubSeveral { .. } => {
                "Choose one of them: owner/name/file.gguf, or owner/name/ for the safetensors files."
            }
            Error::StoreUnavailable { .. } => "Leave private browsing, or allow this site to store data.",
            Error::StoreOutdated => "Reload this page: what is stored stays.",
            Error::Quota { .. } => "Free some disk space or delete a stored model, then go on: what is stored stays.",
            Error::NoSpace { .. } => "Delete a stored model or free disk space, or load it without keeping it.",
            Error::StoreCorrupt { .. } => {
                "Connect to the network, or choose the file from this machine again; or delete the stored model."
            }
            Error::File { .. } => "Check the path and its permissions.",
            Error::NotAModel { .. } => "Choose a .gguf file, or a folder with config.json and .safetensors files.",
            Error::MissingFile { .. } => "Add the file, or choose a complete checkpoint.",
            Error::BadHeader { .. } => "The file is damaged: download it again from its source.",
            Error::Architecture { .. } => {
                "Choose a model of the Llama architecture, such as Llama 2, TinyLlama or SmolLM2."
            }
            Error::BadConfig { .. } => {
                "The checkpoint is damaged or of a kind this engine does not know: choose another one."
            }
            Error::TensorType { .. } => {
                "Choose the same model in another format: any of F32, F16, BF16, Q2_K to Q8_0, IQ4_NL and IQ4_XS is read."
            }
            Error::MissingTensor { .. } | Error::TensorShape { .. } => {
                "The checkpoint is incomplete or damaged: download it again."
            }
            Error::Adapter { .. } => {
                "Choose a LoRA adapter as PEFT saves them, that was made for this very model and needs nothing else."
            }
            Error::NotFinite { .. } => "The weights are damaged: download the model again.",
            Error::NoWebGpu => "Use a current Chrome, Edge, Safari or Firefox, over https or on localhost.",
            Error::NoAdapter { .. } => {
                "Turn on hardware acceleration in the browser's settings and update the graphics driver."
            }
            Error::AdapterLimit { .. } => "Choose a smaller model, a shorter context or 8 bits for the context.",
            Error::OutOfMemory { .. } => {
                "Close other tabs, or choose a smaller model, a shorter context or 8 bits for it."
            }
            Error::DeviceLost { .. } | Error::HelperLost => "Load the model again.",
            Error::LostAgain { .. } => {
                "Choose a shorter context or 8 bits for it, a smaller model or one of fewer bits, or close what else uses the graphics card."
            }
            Error::Gpu { .. } => "Reload the page; if it happens again, update the graphics driver and report it.",
            Error::OutputNotFinite => {
                "The weights or the graphics driver are faulty: download the model again or try another browser."
            }
            Error::Tokenizer { .. } => {
                "The checkpoint's tokenizer is damaged or of an unknown kind: choose another checkpoint."
            }
            Error::Template { .. } => {
                "Change the messages so that user and assistant take turns, or choose another model."
            }
            Error::NoChatFormat => "Give it a text to go on with, or choose a chat model.",
            Error::BadRequest { .. } => "Correct the value and try again.",
            Error::ContextFull { .. } => {
                "Start a new chat, shorten the message, or load the model with a longer context."
            }
        }
    }
}

fn gated(repository: &str, token: bool) -> String {
    match token {
        true => format!("the token that was given has no access to the repository {repository}"),
        false => format!("the repository {repository} is gated: it asks who downloads it"),
    }
}

fn names(offers: &[Offer]) -> String {
    offers.iter().map(Offer::name).collect::<Vec<_>>().join(", ")
}

fn at_byte(part: &Option<u64>) -> String {
    part.map_or_else(String::new, |start| format!(", at byte {start}"))
}

/// As people write it: decimal, like the sizes of files and disks.
fn megabytes(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes >= 1e9 { format!("{:.1} GB", bytes / 1e9) } else { format!("{:.0} MB", (bytes / 1e6).ceil()) }
}

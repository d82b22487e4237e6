//! The WebGPU device: adapter, queue, limits, and the first error that it reports. The only folder that names `wgpu`.

pub mod cost;
mod deltas;
mod executor;
pub mod kernel;
pub mod limits;
mod pipeline;
pub mod profile;
mod recorder;
pub mod rehearsal;
pub mod tensor;
pub mod trial;
pub mod tune;
pub mod weights;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::LocalBoxFuture;

pub use executor::{Executor, ExecutorOptions, MOST_AHEAD, Work};
pub use recorder::Recorded;

use crate::error::{Error, Result};

#[cfg(target_arch = "wasm32")]
mod web {
    use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

    #[wasm_bindgen(module = "/src/gpu/features.js")]
    extern "C" {
        #[wasm_bindgen(js_name = askForSubgroups)]
        pub fn ask_for_subgroups();
        #[wasm_bindgen(js_name = hasSubgroups)]
        pub fn has_subgroups(device: &JsValue) -> bool;
        #[wasm_bindgen(js_name = hasLanguageFeature)]
        pub fn has_language_feature(name: &str) -> bool;
    }
}

#[cfg(target_arch = "wasm32")]
use web::has_language_feature;

/// Natively wgpu sees to it.
#[cfg(not(target_arch = "wasm32"))]
fn has_language_feature(_: &str) -> bool {
    true
}

#[cfg(target_arch = "wasm32")]
fn has_subgroups(device: &wgpu::Device) -> bool {
    device.as_webgpu().is_some_and(|device| web::has_subgroups(device.as_ref()))
}

#[cfg(not(target_arch = "wasm32"))]
fn has_subgroups(device: &wgpu::Device) -> bool {
    device.features().contains(wgpu::Features::SUBGROUP)
}

/// An open device with its queue.
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    adapter: Adapter,
    first_error: Arc<Mutex<Option<Error>>>,
    allocated: Arc<AtomicU64>,
    /// Pipelines by their whole text: layers share them.
    pipelines: RefCell<HashMap<String, Rc<pipeline::Pipeline>>>,
    /// Buffers of what never changes, by their contents; whoever uses one has it live.
    constants: RefCell<HashMap<Vec<u8>, Weak<tensor::Buffer>>>,
    /// See [`Gpu::unused`].
    unused: RefCell<Weak<[tensor::Buffer; 3]>>,
    /// Once they are measured.
    limits: Cell<Option<limits::SpeedLimits>>,
    subgroups: bool,
}

/// What is known about the adapter.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Name for people, such as "SwiftShader Device (Subzero)".
    pub name: String,
    /// Whether shaders run on the processor: barriers are then dear, and a lane should keep its rows to itself.
    pub software: bool,
}

impl Gpu {
    /// Opens the fastest adapter with the limits that it offers.
    ///
    /// Errors: `NoWebGpu`; `NoAdapter`, also of one that gives no device, as when it is below WebGPU's defaults.
    pub async fn open() -> Result<Self> {
        Self::open_within(u64::MAX).await
    }

    /// The same with bindings of at most `max_binding_bytes`, as lesser adapters have them.
    pub async fn open_within(max_binding_bytes: u64) -> Result<Self> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter = instance.request_adapter(&options).await.map_err(no_adapter)?;
        let info = adapter.get_info();
        let offered = adapter.limits();
        let wanted = wgpu::Limits {
            max_buffer_size: offered.max_buffer_size,
            max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size.min(max_binding_bytes),
            ..wgpu::Limits::default()
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("pagellama"),
            required_features: adapter.features() & (wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SUBGROUP),
            required_limits: wanted,
            ..Default::default()
        };
        #[cfg(target_arch = "wasm32")]
        web::ask_for_subgroups();
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|error| Error::NoAdapter { detail: format!("it gives no device: {error}") })?;
        // Kernels count on quads.
        let subgroups = info.subgroup_min_size >= 4 && has_subgroups(&device);
        let first_error = Arc::new(Mutex::new(None));
        watch(&device, &first_error);
        Ok(Self {
            adapter: describe(&info, &device),
            device,
            queue,
            first_error,
            allocated: Arc::default(),
            pipelines: RefCell::default(),
            constants: RefCell::default(),
            unused: RefCell::default(),
            limits: Cell::default(),
            subgroups,
        })
    }

    /// What is known about the adapter.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// Whether kernels can use subgroups, of four lanes or more.
    pub fn has_subgroups(&self) -> bool {
        self.subgroups
    }

    /// Whether kernels can multiply bytes, four in a word.
    pub fn has_packed_dot(&self) -> bool {
        has_language_feature("packed_4x8_integer_dot_product")
    }

    /// Bytes of all buffers that are alive.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    /// The most bytes that one binding of a storage buffer can have.
    pub fn max_binding_bytes(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// What ends the device, whoever uses it then.
    pub fn end(&self) -> impl Fn() + use<> {
        let device = self.device.clone();
        move || device.destroy()
    }

    /// The first error that the device reported since it was opened, if any.
    pub fn check(&self) -> Result<()> {
        match &*self.first_error.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Runs `work`, which creates buffers, pipelines or bind groups, and turns what the device objects to into an error.
    ///
    /// Errors: `OutOfMemory`; `Gpu` for what is not valid; that of `work`; what the device reported before.
    pub async fn checked<T>(&self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = work();
        self.objections(what, validation, memory).await?;
        made
    }

    /// Boxed, so that there is one of it, whatever the work was.
    fn objections<'a>(
        &'a self,
        what: &'a str,
        validation: wgpu::ErrorScopeGuard,
        memory: wgpu::ErrorScopeGuard,
    ) -> LocalBoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let invalid = validation.pop().await;
            let full = memory.pop().await;
            if let Some(error) = full {
                return Err(Error::OutOfMemory { detail: format!("{what}: {error}") });
            }
            if let Some(error) = invalid {
                return Err(Error::Gpu { detail: format!("{what}: {error}") });
            }
            // A device that is gone objects to nothing.
            self.check()
        })
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // Frees the memory now, not when the last JS handle is collected.
        self.device.destroy();
    }
}

/// Keeps the first error; those after it are mostly its consequences.
fn watch(device: &wgpu::Device, first_error: &Arc<Mutex<Option<Error>>>) {
    let keep = |slot: &Mutex<Option<Error>>, error: Error| {
        slot.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    };
    let slot = first_error.clone();
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
        let detail = error.to_string();
        keep(
            &slot,
            match error {
                wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory { detail },
                _ => Error::Gpu { detail },
            },
        );
    }));
    let slot = first_error.clone();
    device.set_device_lost_callback(move |_, detail| keep(&slot, Error::DeviceLost { detail }));
}

fn no_adapter(error: wgpu::RequestAdapterError) -> Error {
    match error {
        wgpu::RequestAdapterError::EnvNotSet => Error::NoWebGpu,
        _ if cfg!(target_arch = "wasm32") && !has_webgpu() => Error::NoWebGpu,
        _ => Error::NoAdapter { detail: error.to_string() },
    }
}

#[cfg(target_arch = "wasm32")]
fn has_webgpu() -> bool {
    let navigator = js_sys::Reflect::get(&js_sys::global(), &"navigator".into()).unwrap_or_default();
    js_sys::Reflect::get(&navigator, &"gpu".into()).is_ok_and(|gpu| gpu.is_truthy())
}

#[cfg(not(target_arch = "wasm32"))]
fn has_webgpu() -> bool {
    true
}

/// What names of adapters have that are the processor, as `www/device.js` looks for it, too.
const SOFTWARE: [&str; 4] = ["swiftshader", "llvmpipe", "lavapipe", "basic render"];
/// One more, which other names may have in the middle of a word.
const SOFTWARE_WORD: &str = "warp";

/// Whether an adapter's name is that of a processor.
fn names_processor(name: &str) -> bool {
    let lower = name.to_lowercase();
    let mut words = lower.split(|letter: char| !letter.is_alphanumeric());
    SOFTWARE.iter().any(|known| lower.contains(known)) || words.any(|word| word == SOFTWARE_WORD)
}

fn describe(info: &wgpu::AdapterInfo, device: &wgpu::Device) -> Adapter {
    let mut name = info.name.clone();
    if name.is_empty() {
        name = browser_name(device);
    }
    // Chromium tells of a fallback adapter; other browsers only by its name.
    let software = info.device_type == wgpu::DeviceType::Cpu || names_processor(&name);
    if name.is_empty() {
        name = if software { "software adapter" } else { "unnamed adapter" }.to_owned();
    }
    Adapter { name, software }
}

/// Browsers mostly keep an adapter's description to themselves, and tell its vendor and architecture.
#[cfg(target_arch = "wasm32")]
fn browser_name(device: &wgpu::Device) -> String {
    let get =
        |object: &wasm_bindgen::JsValue, name: &str| js_sys::Reflect::get(object, &name.into()).unwrap_or_default();
    let info = device.as_webgpu().map(|device| get(device.as_ref(), "adapterInfo")).unwrap_or_default();
    let words = ["vendor", "architecture"].map(|name| get(&info, name).as_string().unwrap_or_default());
    words.join(" ").trim().to_owned()
}

#[cfg(not(target_arch = "wasm32"))]
fn browser_name(_: &wgpu::Device) -> String {
    String::new()
}

#[cfg(test)]
mod tests {
    use super::{SOFTWARE, SOFTWARE_WORD, names_processor};

    #[test]
    fn the_page_knows_the_same_software_adapters() {
        let names = format!(r"{}|\b{SOFTWARE_WORD}\b", SOFTWARE.join("|"));
        assert!(include_str!("../../www/device.js").contains(&format!("const SOFTWARE = /{names}/i;")), "{names}");
    }

    #[test]
    fn an_adapter_that_is_the_processor_is_known_by_its_name() {
        for name in ["google swiftshader", "llvmpipe (LLVM 19)", "Microsoft Basic Render Driver", "Direct3D11 WARP"] {
            assert!(names_processor(name), "{name}");
        }
        for name in ["nvidia hopper", "Warpspeed GT", ""] {
            assert!(!names_processor(name), "{name}");
        }
    }
}

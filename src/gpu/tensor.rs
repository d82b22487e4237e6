//! Buffers in the device's memory: allocate, upload, read back.

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_channel::oneshot;

use super::Gpu;
use crate::error::{Error, Result};

/// A storage or uniform buffer, counted while it lives.
pub struct Buffer {
    pub(super) raw: wgpu::Buffer,
    bytes: u64,
    allocated: Arc<AtomicU64>,
}

impl Buffer {
    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.raw.destroy();
        self.allocated.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Gpu {
    /// A zeroed storage buffer of `bytes`, a multiple of 4. Errors: `AdapterLimit`. That there is no memory for a buffer is told by
    /// [`Gpu::checked`] around this call, here as below.
    pub fn storage(&self, label: &str, bytes: u64) -> Result<Buffer> {
        let limit = self.max_binding_bytes();
        if bytes > limit {
            return Err(Error::AdapterLimit { detail: format!("{label} takes {bytes} bytes, a binding {limit}") });
        }
        Ok(self.buffer(label, bytes, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC))
    }

    /// A storage buffer with the given contents. Errors: `AdapterLimit`; `Gpu` for a number of bytes that is no multiple of 4.
    pub fn storage_with<T: bytemuck::Pod>(&self, label: &str, contents: &[T]) -> Result<Buffer> {
        let bytes: &[u8] = bytemuck::cast_slice(contents);
        let buffer = self.storage(label, bytes.len() as u64)?;
        self.upload(&buffer, 0, bytes)?;
        Ok(buffer)
    }

    /// A zeroed uniform buffer of `bytes`, a multiple of 4.
    pub fn uniform(&self, label: &str, bytes: u64) -> Buffer {
        self.buffer(label, bytes, wgpu::BufferUsages::UNIFORM)
    }

    /// A storage buffer with contents that never change, which all that ask for the same ones while it lives share. Not a uniform
    /// buffer: see `product.wgsl`. Errors: as those of [`Gpu::storage_with`].
    pub fn constants<T: bytemuck::Pod>(&self, label: &str, contents: &T) -> Result<Rc<Buffer>> {
        let bytes = bytemuck::bytes_of(contents);
        let mut shared = self.constants.borrow_mut();
        if let Some(buffer) = shared.get(bytes).and_then(Weak::upgrade) {
            return Ok(buffer);
        }
        let buffer = Rc::new(self.storage_with(label, bytes)?);
        shared.retain(|_, buffer| buffer.strong_count() > 0);
        shared.insert(bytes.to_vec(), Rc::downgrade(&buffer));
        Ok(buffer)
    }

    /// What is bound where a kernel uses nothing: for what it only reads, and for two things that it might write.
    /// A device takes those that are bound to the latter two for dependent on one another, as nearly all products are.
    pub fn unused(&self) -> Rc<[Buffer; 3]> {
        let mut shared = self.unused.borrow_mut();
        shared.upgrade().unwrap_or_else(|| {
            let made = Rc::new([(); 3].map(|()| self.buffer("unused", 16, wgpu::BufferUsages::STORAGE)));
            *shared = Rc::downgrade(&made);
            made
        })
    }

    pub(super) fn resolve_target(&self, label: &str, bytes: u64) -> Buffer {
        self.buffer(label, bytes, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC)
    }

    pub(super) fn staging(&self, label: &str, bytes: u64) -> Buffer {
        self.buffer(label, bytes, wgpu::BufferUsages::MAP_READ)
    }

    fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Buffer {
        let bytes = bytes.next_multiple_of(4).max(16);
        let usage = usage | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false };
        self.allocated.fetch_add(bytes, Ordering::Relaxed);
        Buffer { raw: self.device.create_buffer(&descriptor), bytes, allocated: self.allocated.clone() }
    }

    /// Writes `bytes` (a multiple of 4) at `offset` (a multiple of 4), before anything that is submitted later. Errors: `Gpu` for others,
    /// and where they do not fit.
    pub fn upload(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        if offset + bytes.len() as u64 > buffer.bytes || !bytes.len().is_multiple_of(4) || !offset.is_multiple_of(4) {
            let detail = format!("upload of {} bytes at {offset} into {}", bytes.len(), buffer.bytes);
            return Err(Error::Gpu { detail });
        }
        self.queue.write_buffer(&buffer.raw, offset, bytes);
        Ok(())
    }

    /// Fills buffers with zeros, after all that was submitted before.
    pub(super) fn clear<'a>(&self, buffers: impl IntoIterator<Item = &'a Buffer>) {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        for buffer in buffers {
            encoder.clear_buffer(&buffer.raw, 0, None);
        }
        self.queue.submit([encoder.finish()]);
    }

    /// Hands what was uploaded so far to the device, so that the driver's copies can be freed.
    pub fn flush(&self) {
        self.queue.submit([]);
        // Whether the device is lost shows at the next read-back.
        let _ = self.wait(None);
    }

    /// Waits until the device has done all that was submitted. Errors: the first that the device reported until then.
    pub async fn finished(&self) -> Result<()> {
        let done = self.done();
        self.wait(None)?;
        // Cancelled only when the device is gone, which `check` tells.
        let _ = done.await;
        self.check()
    }

    /// Comes when the device has done all that was submitted until now.
    pub(super) fn done(&self) -> oneshot::Receiver<()> {
        let (done, finished) = oneshot::channel();
        self.queue.on_submitted_work_done(move || {
            let _ = done.send(());
        });
        finished
    }

    /// Waits until a submission is done, the latest unless one is named: natively, callbacks come from polling. A browser's come
    /// from its event loop, and there this does nothing.
    fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        self.device
            .poll(wgpu::PollType::Wait { submission_index, timeout: None })
            .map_err(|error| Error::DeviceLost { detail: error.to_string() })?;
        Ok(())
    }

    /// What [`Gpu::wait`] can wait for: all that was submitted so far, and nothing that will be.
    fn so_far(&self) -> Option<wgpu::SubmissionIndex> {
        cfg!(not(target_arch = "wasm32")).then(|| self.queue.submit([]))
    }

    /// Asks for the first `bytes` of a staging buffer, once all that was submitted so far is done.
    pub(super) fn begin_map(&self, staging: &Buffer, bytes: u64) -> Mapping {
        let (done, mapped) = oneshot::channel();
        staging.raw.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            // The receiver is gone only when nobody waits any more.
            let _ = done.send(result);
        });
        Mapping { bytes, done: mapped, submitted: self.so_far() }
    }

    /// Reads a whole storage buffer back, for tests and inspection; the token loop has a staging buffer of its own.
    /// Errors: what the device reports.
    pub async fn read<T: bytemuck::Pod>(&self, buffer: &Buffer) -> Result<Vec<T>> {
        let staging = self.staging("read", buffer.bytes);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&buffer.raw, 0, &staging.raw, 0, buffer.bytes);
        self.queue.submit([encoder.finish()]);
        let mut mapping = self.begin_map(&staging, buffer.bytes);
        self.mapped(&staging, &mut mapping, |bytes| bytemuck::pod_collect_to_vec(bytes)).await
    }

    /// Waits for a mapping that was begun, hands its bytes to `take`, and frees the buffer. Whoever gives up waiting leaves the
    /// mapping as it was, to be waited for again.
    pub(super) async fn mapped<T>(
        &self,
        staging: &Buffer,
        mapping: &mut Mapping,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        self.wait(mapping.submitted.clone())?;
        let result = (&mut mapping.done).await;
        self.check()?;
        match result {
            Ok(Ok(())) => {}
            _ => return Err(Error::DeviceLost { detail: "a read-back was cancelled".to_owned() }),
        }
        let view =
            staging.raw.get_mapped_range(0..mapping.bytes).map_err(|error| unmapped(format!("read-back: {error}")))?;
        let taken = take(&view);
        drop(view);
        staging.raw.unmap();
        Ok(taken)
    }
}

/// Of a range that was mapped a moment ago: a browser takes a device's mappings away before it tells that the device is lost.
fn unmapped(detail: String) -> Error {
    if cfg!(target_arch = "wasm32") { Error::DeviceLost { detail } } else { Error::Gpu { detail } }
}

/// The first bytes of a staging buffer on their way to the host.
pub(super) struct Mapping {
    bytes: u64,
    done: oneshot::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
    /// Natively, what has to be done before: without it, a wait would be for tokens that are further ahead, too.
    submitted: Option<wgpu::SubmissionIndex>,
}

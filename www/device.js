// Which of the engine's modules this browser is to run, found out before any of them is fetched: there is one for WebGPU, and two for
// the processor.

/** @typedef {"auto" | "webgpu" | "cpu"} Device */
/** A file of `pkg/`, without its extension. @typedef {"webgpu" | "cpu" | "cpu-relaxed"} ModuleName */
/**
 * Why it is the processor: the caller wants it; there is no WebGPU, or no adapter that gives a device; the adapter is the processor
 * itself; it says nothing of itself and was measured to be slow; it went away, and so did the next one.
 * @typedef {"asked" | "no-webgpu" | "no-adapter" | "software" | "slow" | "lost"} Reason
 */
/** @typedef {{module: ModuleName, reason?: Reason}} Choice */

/** Adapters that are the processor, as they call themselves. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|basic render|\bwarp\b/i;

/** An adapter that reads less than this is no faster than a processor. Bytes a second. */
const SLOW = 10e9;

// A function of one instruction of each kind: (i8x16.splat 0), and (i32x4.relaxed_dot_i8x16_i7x16_add_s 0 0 0).
const ZEROS = [0x41, 0, 0xfd, 0x0f];
const VECTORS = program(ZEROS);
const RELAXED = program([...ZEROS, ...ZEROS, ...ZEROS, 0xfd, 0x93, 0x02]);

/** A module whose only function computes a vector. @param {number[]} code */
function program(code) {
  const body = [0, ...code, 0x0b];
  const head = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7b, 3, 2, 1, 0];
  return Uint8Array.from([...head, 0x0a, body.length + 2, 1, body.length, ...body]);
}

/** Whether the browser can run the engine at all: WebAssembly with vectors. */
export function canRun() {
  return typeof WebAssembly === "object" && WebAssembly.validate(VECTORS);
}

/**
 * @param {Device} device what the caller wants
 * @param {{measured?: boolean}} [options] whether an adapter that says nothing of itself is measured, which takes a second or so at most
 * @returns {Promise<Choice>}
 */
export async function choose(device, { measured = true } = {}) {
  const reason = device === "auto" ? await whyNotWebGpu(measured) : device === "cpu" ? "asked" : undefined;
  return reason ? onProcessor(reason) : { module: "webgpu" };
}

/** @param {Reason} reason @returns {Choice} */
export function onProcessor(reason) {
  return { module: WebAssembly.validate(RELAXED) ? "cpu-relaxed" : "cpu", reason };
}

/** @param {boolean} measured @returns {Promise<Reason | undefined>} */
async function whyNotWebGpu(measured) {
  const { gpu } = navigator;
  if (!gpu) return "no-webgpu";
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) return "no-adapter";
  // Early versions of WebGPU have no `info`, and say it of the adapter itself.
  const { vendor, architecture, device, description, isFallbackAdapter } = /** @type {Partial<GPUAdapterInfo>} */ (adapter.info ?? {});
  const name = [vendor, architecture, device, description].join(" ").trim();
  const fallback = isFallbackAdapter ?? /** @type {{isFallbackAdapter?: boolean}} */ (adapter).isFallbackAdapter;
  if (fallback || SOFTWARE.test(name)) return "software";
  if (name || !measured) return undefined;
  const opened = await adapter.requestDevice().catch(() => undefined);
  if (!opened) return "no-adapter";
  return (await bytesPerSecond(opened).catch(() => 0)) > SLOW ? undefined : "slow";
}

// No function is to be named `read`: that would hide the access mode.
const READ = `
@group(0) @binding(0) var<storage, read> numbers: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> sums: array<vec4f>;
@compute @workgroup_size(64)
fn stream(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let lanes = groups.x * 64;
  var sum = vec4f();
  for (var i = id.x; i < arrayLength(&numbers); i += lanes) { sum += numbers[i]; }
  sums[id.x] = sum;
}`;
/** `GPUBufferUsage.STORAGE`. */
const STORAGE = 0x80;
/** Read again and again. Bytes. */
const READ_BYTES = 1 << 25;
const GROUPS = 256;
/** Less than this may be the time that a browser takes to notice, and longer than that nobody waits. Milliseconds. */
const NOTICEABLE = 300;
/** Clocks that are made coarse tell nothing of less. Milliseconds. */
const TOLD = 20;
/** Most reads of all at once: a clock that shows no time for as many, 137 GB, shows none at all. */
const MOST_READS = 2 ** 12;

/**
 * How fast a device reads its memory; stops once that is more than a processor does. The device is of no use afterwards. Rejects when
 * it goes away, or does not do what it is to: of nothing it would soon be done.
 * @param {GPUDevice} device
 */
async function bytesPerSecond(device) {
  const gone = device.lost.then(({ message }) => Promise.reject(new Error(message)));
  gone.catch(() => {});
  try {
    device.pushErrorScope("validation");
    device.pushErrorScope("out-of-memory");
    const buffer = (/** @type {number} */ size) => device.createBuffer({ size, usage: STORAGE });
    const module = device.createShaderModule({ code: READ });
    const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module } });
    const entries = [buffer(READ_BYTES), buffer(GROUPS * 64 * 16)].map((buffer, binding) => ({ binding, resource: { buffer } }));
    const bindings = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
    let speed = 0;
    for (let count = 1; count <= MOST_READS; count *= 2) {
      const encoder = device.createCommandEncoder();
      for (let i = 0; i < count; i++) {
        const pass = encoder.beginComputePass();
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, bindings);
        pass.dispatchWorkgroups(GROUPS);
        pass.end();
      }
      const start = performance.now();
      device.queue.submit([encoder.finish()]);
      await Promise.race([device.queue.onSubmittedWorkDone(), gone]);
      const milliseconds = performance.now() - start;
      speed = (READ_BYTES * count * 1000) / milliseconds;
      if ((speed > SLOW && milliseconds > TOLD) || milliseconds > NOTICEABLE) break;
    }
    const errors = await Promise.all([device.popErrorScope(), device.popErrorScope()]);
    for (const error of errors) if (error) throw error;
    return speed;
  } finally {
    device.destroy();
  }
}

// What wgpu's web backend neither asks for nor tells.

let asked = false;
let granted = false;

/** From now on devices have subgroups where their adapters do. This changes the worker that the engine runs in, and no page. */
export function askForSubgroups() {
  const adapter = /** @type {GPUAdapter | undefined} */ (globalThis.GPUAdapter?.prototype);
  if (!adapter || asked) {
    return;
  }
  asked = true;
  const { requestDevice } = adapter;
  adapter.requestDevice = function (descriptor) {
    granted = this.features.has("subgroups");
    /** @type {GPUFeatureName[]} */
    const features = granted ? ["subgroups"] : [];
    const requiredFeatures = [...(descriptor?.requiredFeatures ?? []), ...features];
    return requestDevice.call(this, { ...descriptor, requiredFeatures });
  };
}

/** Whether the device that was asked for last has them. */
export function hasSubgroups() {
  return granted;
}

/** Whether shaders have products of bytes, four in a word. */
export function hasPackedDot() {
  return navigator.gpu?.wgslLanguageFeatures.has("packed_4x8_integer_dot_product") ?? false;
}

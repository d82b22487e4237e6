// What wgpu's web backend neither asks for nor tells.

let asked = false;

/** From now on devices have subgroups where their adapters do. This changes the worker that the engine runs in, and no page. */
export function askForSubgroups() {
  const adapter = /** @type {GPUAdapter | undefined} */ (globalThis.GPUAdapter?.prototype);
  if (!adapter || asked) {
    return;
  }
  asked = true;
  const { requestDevice } = adapter;
  adapter.requestDevice = function (descriptor) {
    /** @type {GPUFeatureName[]} */
    const subgroups = this.features.has("subgroups") ? ["subgroups"] : [];
    const requiredFeatures = [...(descriptor?.requiredFeatures ?? []), ...subgroups];
    return requestDevice.call(this, { ...descriptor, requiredFeatures });
  };
}

/** @param {GPUDevice} device */
export function hasSubgroups(device) {
  return device.features.has("subgroups");
}

/** Whether shaders can be written with an extension of WGSL. @param {string} name */
export function hasLanguageFeature(name) {
  return navigator.gpu?.wgslLanguageFeatures?.has(name) ?? false;
}

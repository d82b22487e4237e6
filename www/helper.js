// A worker that holds rows of a model's weights and computes with them, beside the engine's worker, which starts it (helpers.js).
//
// engine -> helper                      answered by
//   {name, module}                      "ready", or what went wrong
//   [board, helper, helpers]            nothing: it is asked and answers on the board, until the model is gone

/** The page's types know no worker; this is what we use of one. */
const scope = /** @type {{addEventListener(type: "message", listener: (event: MessageEvent) => void): void, postMessage(reply: string): void}} */ (
  /** @type {unknown} */ (self)
);

/** @type {typeof import("./pkg/webgpu.js") | undefined} */
let engine;

scope.addEventListener("message", ({ data }) => {
  if (Array.isArray(data)) {
    const [board, helper, helpers] = data;
    try {
      engine?.help(board, helper, helpers);
    } catch (error) {
      engine?.withdraw(board, helper, helpers);
      throw error;
    }
  } else {
    start(data).catch((error) => scope.postMessage(String(error)));
  }
});

/** @param {{name: string, module: WebAssembly.Module}} order */
async function start({ name, module }) {
  engine = /** @type {typeof import("./pkg/webgpu.js")} */ (await import(`./pkg/${name}.js`));
  await engine.default({ module_or_path: module });
  scope.postMessage("ready");
}

// The same on the processor.

export { load } from "./pagellama.js";

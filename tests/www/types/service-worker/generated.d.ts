/** What `cargo xtask build` writes above www/service-worker.js. */
declare const VERSION: string;
declare const FILES: [path: string, integrity: string][];
/** By the names that www/device.js gives them. */
declare const MODULES: Record<string, typeof FILES>;

/** What `cargo xtask build` writes above www/service-worker.js. */
declare const VERSION: string;
declare const FILES: [path: string, integrity: string][];

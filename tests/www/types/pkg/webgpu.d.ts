/** What src/web.rs exports, as the page relies on it: all modules alike. The fake engine of the tests implements the same. */
import type { Device, Reason } from "../device.js";

export type Prompt = { messages: { role: string; content: string }[] } | { text: string } | { ids: number[] };

export interface SamplingOptions {
  temperature?: number;
  top_k?: number;
  top_p?: number;
  min_p?: number;
  repetition_penalty?: number;
  seed?: number;
}

/**
 * Bytes of the model that arrived, of how many. "download": they come from the network; "read": from the browser's
 * storage, which a load that resumes does first; "compile": all are there, the graphics card is being prepared.
 */
export interface Progress {
  phase: "download" | "read" | "compile";
  done: number;
  total: number;
  /** Whether a copy is kept, and why not if that was wanted. */
  stored: boolean;
  reason?: string;
  /** Nothing arrives now: what it waits for, and in how many seconds it tries again. */
  waiting?: Waiting;
}

/**
 * "network": no connection, or one that broke; "server": it asked for patience (429, 503); "tab": another tab downloads
 * this model, and `done` and `total` are its figures.
 */
export interface Waiting {
  for: "network" | "server" | "tab";
  seconds?: number;
}

/** SHA-256 of a file, and of each of its parts of 4 MiB, as 64 hexadecimal digits. */
export interface FileDigests {
  sha256?: string;
  chunks?: string[];
}

/** A model of a repository that holds several: what to ask for in its place, and its size where the hub tells it. */
export interface HubChoice {
  hub: string;
  revision: string;
  host: string;
  bytes?: number;
}

export interface Info {
  id: string;
  name: string;
  architecture: string;
  parameters: number;
  weight_bytes: number;
  context: number;
  /** Whether the model has a chat format; without one it only goes on with a text. */
  chat: boolean;
  vocab_size: number;
  /** Whether a copy is kept in the browser's storage, and why not where one was wanted. */
  stored: boolean;
  reason?: string;
  /** `tuning_ms`: how long it took to measure which kernels are the fastest; null where they were known, or not asked for.
   * `threads`: how many compute; null on a graphics device. */
  device: { kind: "webgpu" | "cpu"; adapter: string; software: boolean; variants: string[]; tuning_ms: number | null; threads: number | null; reason?: Reason };
  sampling: SamplingOptions;
}

export interface Stats {
  prefill_tokens_per_second: number;
  decode_tokens_per_second: number;
  time_to_first_token_ms: number;
  gpu_bytes: number;
  host_bytes: number;
  dispatches_per_token: number;
  submits_per_token: number;
  readbacks_per_token: number;
}

/** What is to be expected of a model here. */
export interface Preflight {
  verdict: { kind: "likely_fits" } | { kind: "fits_with_context" } | { kind: "wont_fit"; because: string };
  /** Tokens that the context has: as asked, or as many as there is room for. */
  context: number;
  /** Bytes on the device; zeros where it cannot hold the model at all. */
  memory: { weights: number; cache: number; activations: number };
  /** Tokens a second, where the model was timed. */
  speed?: { prefill: number; decode: number };
  /** Bytes of its files, as they are stored. */
  stored_bytes: number;
  adapter: string;
  /** Why it is the processor; www/host.js adds it here and to `Info`. */
  reason?: Reason;
}

/** A LoRA adapter that is attached. */
export interface AdapterInfo {
  name: string;
  /** How much it counts: 1 as it was trained. */
  weight: number;
  /** How many numbers it has. */
  parameters: number;
}

/** What the adapter did at its best: bytes of memory read, f32 multiplications and additions. */
export interface SpeedLimits {
  bytes_per_second: number;
  flops_per_second: number;
}

/** What one kernel took in all its dispatches of a run, and the least that it had to move and to compute. */
export interface KernelProfile {
  kernel: string;
  dispatches: number;
  /** Time on the device; null on an adapter that does not tell. */
  microseconds: number | null;
  weight_bytes: number;
  /** Weights, cached keys and values, activations. */
  bytes: number;
  flops: number;
  /** Which of the adapter's limits it would reach first, and how much of it it reached. */
  bound: "bandwidth" | "arithmetic";
  fraction: number | null;
}

/** The kernels of a run of `tokens` tokens after `position` others; those that take longest come first. */
export interface Profile {
  tokens: number;
  position: number;
  limits: SpeedLimits;
  kernels: KernelProfile[];
}

export interface Result {
  text: string;
  ids: number[];
  finish_reason: "stop" | "length" | "abort";
  usage: { prompt_tokens: number; cached_tokens: number; completion_tokens: number; context: number };
  stats: Stats;
}

/** A model in the store, or the part of it that is there. */
export interface StoredModel {
  id: string;
  name: string;
  /** Bytes that are stored. */
  bytes: number;
  /** Bytes of the whole model, where that is known. */
  total?: number;
  complete: boolean;
  /** Milliseconds since 1970. */
  last_used: number;
  /** The address that an unfinished download goes on from; files from disk have none. */
  url?: string;
  /** What its weights were turned into, if they are not as published. */
  recipe?: Recipe;
}

/** All matrices in Q8_0; or those of the layers in Q4_0, the others in Q8_0. */
export type Recipe = "q8_0" | "q4_0";

/** What verifying found: parts in all, those whose bytes were not what they should be, and how many of these were fetched again. */
export interface Verified {
  chunks: number;
  damaged: { file: string; start: number; length: number }[];
  repaired: number;
}

export default function init(options?: { module_or_path: WebAssembly.Module }): Promise<unknown>;
/** The module as it is compiled, which helpers start from. Of the modules for the processor alone, as `help` is. */
export function compiled(): WebAssembly.Module;
/** Computes what is asked for on a board, until the model is gone. */
export function help(board: SharedArrayBuffer, helper: number, helpers: number): void;
/** Refuses what a helper was asked for when `help` ended by an error. */
export function withdraw(board: SharedArrayBuffer, helper: number, helpers: number): void;
export function open(
  request: {
    /** `digests` by file name: a file that has others is refused. */
    model: { url?: string; hub?: string; revision?: string; host?: string; stored?: string; files?: File[]; token?: string; digests?: Record<string, FileDigests> };
    /** `connections`: how many requests fetch a file at a time (default 4). `tune`: whether kernels are measured (default true). */
    options: { context?: number; kv?: "f16" | "f32" | "q8"; device?: Device; threads?: number; store?: boolean; connections?: number; tune?: boolean };
    /** Workers that wait to compute with the model. */
    helpers?: Worker[];
  },
  progress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<Engine>;
export class Engine {
  private constructor();
  info(): Info;
  /** `onReload`: told while the model is loaded again because the graphics device went away; the answer then goes on. */
  generate(
    prompt: Prompt,
    options: object,
    onText: (delta: string) => void,
    signal: AbortSignal,
    onReload?: (progress: Progress) => void,
  ): Promise<Result>;
  count_tokens(prompt: Prompt): number;
  stats(): Stats;
  profile(tokens: number, position: number): Promise<Profile>;
  measure_adapter(): Promise<SpeedLimits>;
  attach_adapter(
    source: { url?: string; hub?: string; revision?: string; host?: string; files?: File[] },
    options: { name?: string; weight?: number },
    signal: AbortSignal,
  ): Promise<AdapterInfo[]>;
  detach_adapter(name: string): Promise<AdapterInfo[]>;
  set_adapter_weight(name: string, weight: number): Promise<AdapterInfo[]>;
  unload(): void;
  free(): void;
}
export function preflight(request: object, signal: AbortSignal): Promise<Preflight>;
export function stored_models(): Promise<StoredModel[]>;
export function delete_model(id: string): Promise<void>;
/** One text for a model, whoever asks for it: the name of the lock that keeps two tabs from downloading it twice. */
export function model_key(model: object): string;
/** Reads all that is stored of a model, and fetches what is damaged again where that is possible. */
export function verify_model(
  id: string,
  token: string | undefined,
  progress: (progress: { done: number; total: number }) => void,
  signal: AbortSignal,
): Promise<Verified>;
/** The files of a stored model, each checked on the way. */
export function export_model(
  id: string,
  token: string | undefined,
  progress: (progress: { done: number; total: number }) => void,
  signal: AbortSignal,
): Promise<File[]>;

/** What src/web.rs exports, as the page relies on it. The fake engine of the tests implements the same. */

export type Prompt = { messages: { role: string; content: string }[] } | { text: string } | { ids: number[] };

export interface SamplingOptions {
  temperature?: number;
  top_k?: number;
  top_p?: number;
  min_p?: number;
  repetition_penalty?: number;
  seed?: number;
}

/** Bytes. "download" comes from the network, "read" from the browser's storage. */
export interface Progress {
  phase: "download" | "read" | "compile";
  done: number;
  total: number;
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
  device: { kind: string; adapter: string; variants: string[] };
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

export interface Result {
  text: string;
  ids: number[];
  finish_reason: "stop" | "length" | "abort";
  usage: { prompt_tokens: number; cached_tokens: number; completion_tokens: number; context: number };
  stats: Stats;
}

export interface StoredModel {
  id: string;
  name: string;
  bytes: number;
  complete: boolean;
  last_used: number;
}

export default function init(): Promise<unknown>;
export function open(
  request: { model: object; options: object },
  progress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<Engine>;
export class Engine {
  private constructor();
  info(): Info;
  generate(prompt: Prompt, options: object, onText: (delta: string) => void, signal: AbortSignal): Promise<Result>;
  count_tokens(prompt: Prompt): number;
  stats(): Stats;
  unload(): void;
  free(): void;
}
export function stored_models(): Promise<StoredModel[]>;
export function delete_model(id: string): Promise<void>;

/** Messages between the page and the worker that runs the combiner. */

import type {CombinerShapes} from './fit';

export type Backend = 'webgpu' | 'wasm';

export type Request =
  | {kind: 'load'; model: ArrayBuffer; backend: Backend | null; litert: string}
  | {kind: 'features'; features: Float32Array}
  | {kind: 'run'; latents: Float32Array; logits: boolean; probabilities: boolean};

export interface Loaded {
  backend: Backend;
  shapes: CombinerShapes;
  why: string;  // why it is not WebGPU
}

export interface Ran {
  masks: Uint8Array;                    // [M, H, W]
  logits: Float32Array | null;          // [M, H, W, K], where asked for
  probabilities: Float32Array | null;   // [K, H, W], their sum over M, where asked for
  milliseconds: number;
}

/** The page's side of the worker: promises for its answers. */

import type {Backend, Loaded, Ran, Request} from './protocol';

export class Engine {
  private readonly worker = new Worker(new URL('./worker.ts', import.meta.url));
  private readonly waiting = new Map<number, {resolve(value: any): void; reject(error: Error): void}>();
  private count = 0;

  constructor() {
    this.worker.addEventListener('message', ({data}) => {
      const waiter = this.waiting.get(data.id)!;
      this.waiting.delete(data.id);
      if (data.error === undefined) waiter.resolve(data.result);
      else waiter.reject(new Error(data.error));
    });
    this.worker.addEventListener('error', (event) => {
      const error = new Error(`The part that computes hypotheses stopped (${event.message || 'no reason given'}). ` +
                              'Reload the page.');
      for (const waiter of this.waiting.values()) waiter.reject(error);
      this.waiting.clear();
    });
  }

  /** Compiles a combiner; `backend` null takes WebGPU where there is one. */
  load(model: ArrayBuffer, backend: Backend | null): Promise<Loaded> {
    const litert = new URL('litert_wasm_compat_internal.js', document.baseURI).href;
    return this.ask({kind: 'load', model, backend, litert});
  }

  /** Sets the image. */
  setFeatures(features: Float32Array): Promise<void> {
    return this.ask({kind: 'features', features});
  }

  /** Runs the combiner for latents [M, N]. */
  run(latents: Float32Array, {logits = false, probabilities = false} = {}): Promise<Ran> {
    return this.ask({kind: 'run', latents, logits, probabilities});
  }

  private ask(request: Request): Promise<any> {
    const id = this.count++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, {resolve, reject});
      this.worker.postMessage({id, request});
    });
  }
}

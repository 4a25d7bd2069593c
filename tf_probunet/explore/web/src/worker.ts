/** Runs the combiner by LiteRT.js, apart from the page, so that a drag never waits for a wall of hypotheses. */

import {CompiledModel, getWebGpuDevice, loadAndCompile, loadLiteRt, Tensor} from '@litertjs/core';
import {classify} from './classify';
import type {Backend, Loaded, Ran, Request} from './protocol';

let ready: Promise<unknown> | null = null;
let model: CompiledModel | null = null;
let features: Tensor | null = null;
let shapes: Loaded['shapes'];

// LiteRT writes its log where errors go; only its last words are wanted, when something fails.
const said: string[] = [];
(self as unknown as {Module: object}).Module = {
  print: () => {},
  printErr: (line: string) => {
    if (said.push(line) > 20) said.shift();
  },
};

async function load(request: Extract<Request, {kind: 'load'}>): Promise<Loaded> {
  ready ??= loadLiteRt(request.litert);
  await ready;
  features?.delete();
  model?.delete();
  features = model = null;
  let backend: Backend = request.backend ?? (getWebGpuDevice() ? 'webgpu' : 'wasm');
  let why = getWebGpuDevice() ? '' : 'this browser offers no WebGPU';
  const content = new Uint8Array(request.model);
  const compile = (accelerator: Backend) => loadAndCompile(content, {accelerator, gpuOptions: {precision: 'fp32'}});
  try {
    model = await compile(backend);
  } catch (error) {
    if (backend === 'wasm') throw error;
    why = `WebGPU refused the model (${error})`;
    backend = 'wasm';
    model = await compile(backend);
  }
  if (model.options.accelerator === 'wasm') backend = 'wasm';
  const shape = (name: string) =>
    Array.from([...model!.getInputDetails(), ...model!.getOutputDetails()].find((one) => one.name === name)?.shape ?? []);
  shapes = {features: shape('features'), latents: shape('latents'), logits: shape('logits')};
  return {backend, shapes, why};
}

function setFeatures(data: Float32Array): void {
  features?.delete();
  features = new Tensor(data, shapes.features);
}

async function run(request: Extract<Request, {kind: 'run'}>): Promise<Ran> {
  const begun = performance.now();
  const [atOnce, height, width, numClasses] = shapes.logits;
  const latentDim = shapes.latents[3], pixels = height * width, count = request.latents.length / latentDim;
  const masks = new Uint8Array(count * pixels);
  const kept = request.logits ? new Float32Array(count * pixels * numClasses) : null;
  const probabilities = request.probabilities ? new Float32Array(numClasses * pixels) : null;
  const input = new Float32Array(atOnce * latentDim);  // the last run's rest is computed and left out
  for (let start = 0; start < count; start += atOnce) {
    const some = Math.min(atOnce, count - start);
    input.set(request.latents.subarray(start * latentDim, (start + some) * latentDim));
    const latents = new Tensor(input, shapes.latents);
    const outputs = await model!.run({features: features!, latents} as Record<string, Tensor>) as Record<string, Tensor>;
    const logits = await outputs.logits.data() as Float32Array;
    kept?.set(logits.subarray(0, some * pixels * numClasses), start * pixels * numClasses);
    classify(logits.subarray(0, some * pixels * numClasses), numClasses, pixels, masks.subarray(start * pixels), probabilities);
    latents.delete();
    for (const output of Object.values(outputs)) output.delete();
  }
  return {masks, logits: kept, probabilities, milliseconds: performance.now() - begun};
}

const queue: {id: number; request: Request}[] = [];
let busy = false;

async function work(): Promise<void> {
  if (busy) return;
  busy = true;
  for (let next = queue.shift(); next; next = queue.shift()) {
    const {id, request} = next;
    try {
      const result = request.kind === 'load' ? await load(request)
        : request.kind === 'features' ? setFeatures(request.features) : await run(request);
      const ran = result as Ran | undefined;
      const moved = [ran?.masks, ran?.logits, ran?.probabilities].filter((one) => one).map((one) => one!.buffer);
      (self as unknown as {postMessage(m: unknown, t: unknown[]): void}).postMessage({id, result}, moved);
    } catch (error) {
      self.postMessage({id, error: error instanceof Error ? error.message : String(error)});
    }
  }
  busy = false;
}

self.addEventListener('message', (event: MessageEvent) => {
  queue.push(event.data);
  void work();
});

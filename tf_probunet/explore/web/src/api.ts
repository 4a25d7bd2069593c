/** What the page asks its server, and the words for what goes wrong. */

import {NamedArray, unpack} from './payload';

export interface SessionFacts {
  model: string;
  classes: string[];
  trained_size: [number, number] | null;
  fingerprint: string | null;
  source: string;
  num_images: number;
  num_samples: number;
  seed: number;
}

export interface Encoding {
  bits: number;
  scale: number;
  offset: number;
  unit: string;
  low: number;
  high: number;
}

export interface ImagePayload {
  index: number;
  name: string;
  height: number;
  width: number;
  wholeSize: [number, number];
  spacing: number | null;
  encoding: Encoding | null;
  image: NamedArray;
  graders: Uint8Array[];
  features: NamedArray<Float32Array>;
  priorMean: Float32Array;
  priorStddev: Float32Array;
  reference: NamedArray<Float32Array>;
}

export interface CombinerReply {
  content: ArrayBuffer;
  fingerprint: string | null;
  precision: string;
}

const GONE = 'probunet explore does not answer any more. What is on the page still works; start the command again to ' +
  'see other images or draw new hypotheses.';

async function ask(path: string): Promise<Response> {
  let reply: Response;
  try {
    reply = await fetch(path, {cache: 'no-store', credentials: 'omit'});
  } catch {
    throw new Error(GONE);
  }
  if (reply.ok) return reply;
  let words = '';
  try {
    words = (await reply.json()).error;
  } catch {
    // not JSON
  }
  throw new Error(words || `The request for ${path} failed with status ${reply.status}.`);
}

/** Facts about model and images. */
export async function getSession(): Promise<SessionFacts> {
  return (await ask('api/session')).json();
}

/** One image with all that is computed once for it. */
export async function getImage(index: number): Promise<ImagePayload> {
  const {facts, arrays} = unpack(await (await ask(`api/images/${index}`)).arrayBuffer());
  const [height, width] = arrays.image.shape;
  const graders = [];
  for (let r = 0; r < arrays.segmentations.shape[0]; r++) {
    graders.push(arrays.segmentations.data.subarray(r * height * width, (r + 1) * height * width));
  }
  return {
    index: facts.index, name: facts.name, height, width, wholeSize: facts.whole_size, spacing: facts.spacing_mm,
    encoding: facts.encoding, image: arrays.image, graders, features: arrays.features,
    priorMean: arrays.prior_mean.data, priorStddev: arrays.prior_stddev.data, reference: arrays.reference,
  };
}

/** The noise of a wall of hypotheses, [M, N]: that of ExportedModel.sample with this seed. */
export async function getNoise(latentDim: number, seed: number): Promise<NamedArray<Float32Array>> {
  const reply = await ask(`api/noise?latent_dim=${latentDim}&seed=${seed}`);
  return unpack(await reply.arrayBuffer()).arrays.noise;
}

/** The combiner for images of a size. */
export async function getCombiner(height: number, width: number): Promise<CombinerReply> {
  const reply = await ask(`api/combiner?height=${height}&width=${width}`);
  return {content: await reply.arrayBuffer(), fingerprint: reply.headers.get('X-Saved-Model-Fingerprint'),
          precision: reply.headers.get('X-Precision') ?? 'float32'};
}

/** Throws, in words, when the model would not answer. */
export async function checkAlive(): Promise<void> {
  await ask('api/alive');
}

/** Whether a combiner file belongs to the model that made the features; the words for the page where it does not. */

export interface CombinerShapes {
  features: number[];  // [1, H, W, F]
  latents: number[];   // [M, 1, 1, N]
  logits: number[];    // [M, H, W, K]
}

export interface ModelShapes {
  height: number;
  width: number;
  channels: number;
  latentDim: number;
  numClasses: number;
}

const REMEDY = 'Convert this model with `probunet convert` and give that file.';

/** What is wrong with the pair, or null. */
export function misfit(file: CombinerShapes, model: ModelShapes): string | null {
  const [, height, width, channels] = file.features;
  const latentDim = file.latents[file.latents.length - 1];
  const numClasses = file.logits[file.logits.length - 1];
  const differences = [
    [channels, model.channels, 'feature channels'], [latentDim, model.latentDim, 'latent dimensions'],
    [numClasses, model.numClasses, 'classes'],
  ].filter(([found, expected]) => found !== expected);
  if (differences.length) {
    const found = differences.map(([value, , what]) => `${value} ${what}`).join(', ');
    const expected = differences.map(([, value, what]) => `${value} ${what}`).join(', ');
    return `The combiner file is of another model: it has ${found}; this model has ${expected}. ${REMEDY}`;
  }
  if (height !== model.height || width !== model.width) {
    return `The combiner file is for features of ${height}x${width} pixels; this image's are ` +
      `${model.height}x${model.width}. Convert one for that size, or start with --crop_size ${height},${width}.`;
  }
  return null;
}

/** What is wrong when the file says which version it was made from, or null. */
export function otherVersion(file: string | null, model: string | null): string | null {
  if (!file || !model || file === model) return null;
  return `The combiner file was made from another version of a model (${file.slice(0, 12)}…) than the one that is ` +
    `explored (${model.slice(0, 12)}…). ${REMEDY}`;
}

/** Pixels whose class differs although the reference is sure of it by more than `margin` logits. */
export function countDifferences(mask: Uint8Array, reference: Float32Array, numClasses: number, margin = 1e-3): number {
  let count = 0;
  for (let i = 0; i < mask.length; i++) {
    let best = -Infinity, second = -Infinity, arg = 0;
    for (let k = 0; k < numClasses; k++) {
      const value = reference[i * numClasses + k];
      if (value > best) {
        second = best;
        best = value;
        arg = k;
      } else if (value > second) second = value;
    }
    if (best - second > margin && arg !== mask[i]) count++;
  }
  return count;
}

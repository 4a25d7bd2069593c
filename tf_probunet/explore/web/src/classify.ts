/** From logits to class maps and probabilities. */

/** Writes the class of each pixel of M samples into `masks` and adds their softmax to `sums` [K, H, W]. */
export function classify(logits: Float32Array, numClasses: number, pixels: number, masks: Uint8Array,
                         sums: Float32Array | null): void {
  const total = logits.length / numClasses;
  if (numClasses === 2) {
    for (let i = 0, pixel = 0; i < total; i++, pixel = pixel + 1 === pixels ? 0 : pixel + 1) {
      const margin = logits[2 * i + 1] - logits[2 * i];
      masks[i] = margin > 0 ? 1 : 0;  // a tie is the first class, as in argmax
      if (sums) {
        const one = 1 / (1 + Math.exp(-margin));
        sums[pixels + pixel] += one;
        sums[pixel] += 1 - one;
      }
    }
    return;
  }
  for (let i = 0; i < total; i++) {
    const start = i * numClasses;
    let best = 0;
    for (let k = 1; k < numClasses; k++) if (logits[start + k] > logits[start + best]) best = k;
    masks[i] = best;
    if (!sums) continue;
    let sum = 0;
    for (let k = 0; k < numClasses; k++) sum += Math.exp(logits[start + k] - logits[start + best]);
    for (let k = 0; k < numClasses; k++) {
      sums[k * pixels + (i % pixels)] += Math.exp(logits[start + k] - logits[start + best]) / sum;
    }
  }
}

/** The wall: which hypotheses are the same, how much they differ, and in which order they stand. */

/** 1 - IoU between class maps, the mean over foreground classes that either shows; 0 where neither shows any. */
export class Distances {
  private readonly bits: Uint32Array[][];  // [map][class - 1]
  private readonly counts: number[][];

  constructor(masks: Uint8Array[], numClasses: number) {
    this.bits = masks.map((mask) => {
      const planes = Array.from({length: numClasses - 1}, () => new Uint32Array((mask.length + 31) >> 5));
      for (let i = 0; i < mask.length; i++) if (mask[i]) planes[mask[i] - 1][i >> 5] |= 1 << (i & 31);
      return planes;
    });
    this.counts = this.bits.map((planes) => planes.map((plane) => plane.reduce((sum, word) => sum + popcount(word), 0)));
  }

  between(a: number, b: number): number {
    let sum = 0, classes = 0;
    for (let k = 0; k < this.bits[a].length; k++) {
      const either = this.counts[a][k] + this.counts[b][k];
      if (!either) continue;
      let both = 0;
      const left = this.bits[a][k], right = this.bits[b][k];
      if (this.counts[a][k] && this.counts[b][k]) for (let i = 0; i < left.length; i++) both += popcount(left[i] & right[i]);
      sum += 1 - both / (either - both);
      classes++;
    }
    return classes ? sum / classes : 0;
  }

  matrix(): Float64Array[] {
    const count = this.bits.length, rows = Array.from({length: count}, () => new Float64Array(count));
    for (let a = 0; a < count; a++) for (let b = a + 1; b < count; b++) rows[a][b] = rows[b][a] = this.between(a, b);
    return rows;
  }
}

function popcount(word: number): number {
  word -= (word >>> 1) & 0x55555555;
  word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
  return (((word + (word >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24;
}

export interface Group {
  shown: number;      // the sample that stands for the group
  members: number[];  // all of them, in the order in which they were drawn
}

/**
 * Groups samples of which no two differ by more than `tolerance` (complete linkage; 0: identical ones only). The one
 * with the least distance to the others of its group stands for it.
 */
export function group(distances: Float64Array[], tolerance: number): Group[] {
  let groups = distances.map((_, i) => [i]);
  for (let i = 0; i < groups.length; i++) {  // identical ones first: cheap, and most of the work where many are empty
    for (let j = groups.length - 1; j > i; j--) {
      if (distances[groups[i][0]][groups[j][0]] === 0) groups[i].push(...groups.splice(j, 1)[0]);
    }
  }
  while (tolerance > 0 && groups.length > 1) {
    let best = Infinity, pair: [number, number] = [0, 0];
    for (let i = 0; i < groups.length; i++) {
      for (let j = i + 1; j < groups.length; j++) {
        let widest = 0;
        for (const a of groups[i]) for (const b of groups[j]) widest = Math.max(widest, distances[a][b]);
        if (widest < best) {
          best = widest;
          pair = [i, j];
        }
      }
    }
    if (best > tolerance) break;
    groups[pair[0]].push(...groups.splice(pair[1], 1)[0]);
  }
  return groups.map((members) => {
    members.sort((a, b) => a - b);
    const total = (a: number) => members.reduce((sum, b) => sum + distances[a][b], 0);
    return {shown: members.reduce((best, a) => (total(a) < total(best) - 1e-12 ? a : best), members[0]), members};
  });
}

/**
 * An order in which neighbours are alike: chains are joined, the two with the least mean distance first, at the ends
 * that are nearest; then turned so that the smaller hypotheses come first.
 */
export function seriate(distances: Float64Array[], items: number[], size: (item: number) => number): number[] {
  let chains = items.map((item) => [item]);
  while (chains.length > 1) {
    let best = Infinity, pair: [number, number] = [0, 1];
    for (let i = 0; i < chains.length; i++) {
      for (let j = i + 1; j < chains.length; j++) {
        let sum = 0;
        for (const a of chains[i]) for (const b of chains[j]) sum += distances[a][b];
        const mean = sum / (chains[i].length * chains[j].length);
        if (mean < best) {
          best = mean;
          pair = [i, j];
        }
      }
    }
    const [left, right] = [chains[pair[0]], chains[pair[1]]];
    const joins = [[left, right], [left, [...right].reverse()], [[...left].reverse(), right], [right, left]];
    const gap = ([a, b]: number[][]) => distances[a[a.length - 1]][b[0]];
    const joined = joins.reduce((found, join) => (gap(join) < gap(found) ? join : found)).flat();
    chains = chains.filter((_, i) => i !== pair[0] && i !== pair[1]);
    chains.push(joined);
  }
  const order = chains[0] ?? [];
  const half = order.length >> 1;
  const mean = (part: number[]) => part.reduce((sum, item) => sum + size(item), 0) / (part.length || 1);
  return mean(order.slice(0, half)) > mean(order.slice(order.length - half)) ? order.reverse() : order;
}

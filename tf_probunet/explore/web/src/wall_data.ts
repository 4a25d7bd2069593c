/** The hypotheses of a wall: drawn from noise by the combiner, measured, compared, put in order. */

import type {Engine} from './engine';
import {measure, Measures} from './measures';
import {Distances, Group, group, seriate} from './order';

const AT_ONCE = 8;  // between them a drag gets its turn
const BASES = 4;    // hypotheses around which effects are looked at

export class Wall {
  readonly masks: Uint8Array[] = [];
  milliseconds = 0;
  private readonly measured = new Map<number, Measures[]>();
  private distances: Float64Array[] | null = null;

  constructor(readonly seed: number, readonly noise: Float32Array[], readonly probabilities: Float32Array,
              readonly numClasses: number, readonly width: number) {}

  /** Runs the combiner for each row of noise. */
  static async draw(engine: Engine, seed: number, noise: Float32Array[], toLatents: (u: Float32Array) => Float32Array,
                    numClasses: number, width: number, pixels: number): Promise<Wall> {
    const wall = new Wall(seed, noise, new Float32Array(numClasses * pixels), numClasses, width);
    for (let start = 0; start < noise.length; start += AT_ONCE) {
      const rows = noise.slice(start, start + AT_ONCE), latents = new Float32Array(rows.length * rows[0].length);
      rows.forEach((u, i) => latents.set(toLatents(u), i * u.length));
      const ran = await engine.run(latents, {probabilities: true});
      wall.milliseconds += ran.milliseconds;
      rows.forEach((_, i) => wall.masks.push(ran.masks.subarray(i * pixels, (i + 1) * pixels)));
      for (let i = 0; i < wall.probabilities.length; i++) wall.probabilities[i] += ran.probabilities![i] / noise.length;
    }
    return wall;
  }

  get count(): number {
    return this.masks.length;
  }

  /** Sizes of a class in all hypotheses. */
  measures(cls: number): Measures[] {
    let found = this.measured.get(cls);
    if (!found) this.measured.set(cls, found = this.masks.map((mask) => measure(mask, this.width, cls)));
    return found;
  }

  /** Groups of hypotheses that count as one, neighbours alike. */
  groups(tolerance: number, cls: number): Group[] {
    this.distances ??= new Distances(this.masks, this.numClasses).matrix();
    const groups = group(this.distances, tolerance), measures = this.measures(cls);
    const empty = ({shown}: Group) => !this.masks[shown].some((value) => value);  // alike to none: first
    const others = groups.filter((one) => !empty(one)).map(({shown}) => shown);
    const order = seriate(this.distances, others, (sample) => measures[sample].area);
    return [...groups.filter(empty).map(({shown}) => shown), ...order].map((sample) => groups.find(({shown}) => shown === sample)!);
  }

  /** The class whose area differs most between hypotheses. */
  mostAmbiguous(): number {
    let best = 1, most = -1;
    for (let cls = this.numClasses > 2 ? 0 : 1; cls < this.numClasses; cls++) {
      const areas = this.masks.map((mask) => mask.reduce((sum, value) => sum + (value === cls ? 1 : 0), 0));
      const mean = areas.reduce((a, b) => a + b, 0) / areas.length;
      const variance = areas.reduce((sum, area) => sum + (area - mean) ** 2, 0);
      if (variance > most) [best, most] = [cls, variance];
    }
    return best;
  }
}

/**
 * How much each latent dimension changes the segmentation between -1.5 and 1.5 standard deviations: 1 - IoU, the mean
 * over a few hypotheses of the wall, spread over it, whose other dimensions stay; empty ones only where there are no others.
 */
export async function effects(engine: Engine, wall: Wall, toLatents: (u: Float32Array) => Float32Array,
                              pixels: number): Promise<number[]> {
  const filled = wall.noise.filter((_, i) => wall.masks[i].some((value) => value)), from = filled.length ? filled : wall.noise;
  const bases = Array.from({length: BASES}, (_, i) => from[Math.floor((i * from.length) / BASES)]), found = [];
  for (let n = 0; n < bases[0].length; n++) {
    const ends = bases.flatMap((base) => [-1.5, 1.5].map((value) => toLatents(base.map((u, i) => (i === n ? value : u)))));
    const latents = new Float32Array(ends.length * bases[0].length);
    ends.forEach((end, i) => latents.set(end, i * end.length));
    const {masks} = await engine.run(latents);
    const distances = new Distances(ends.map((_, i) => masks.subarray(i * pixels, (i + 1) * pixels)), wall.numClasses);
    found.push(bases.reduce((sum, _, i) => sum + distances.between(2 * i, 2 * i + 1), 0) / BASES);
  }
  return found;
}

/** Where one is: what undo goes back to and the session file tells. */

export interface Place {
  index: number;                // of the image
  seed: number;                 // of the wall
  u: readonly number[];         // the point, in standard deviations of the prior
  sample: number | null;        // of the wall, where the point is that sample's
  axes: readonly [number, number];
}

export function samePlace(a: Place, b: Place): boolean {
  return a.index === b.index && a.seed === b.seed && a.sample === b.sample && a.axes.join() === b.axes.join() &&
    a.u.join() === b.u.join();
}

/** z = mean + stddev * u in float32, rounded after each step as TensorFlow does. */
export function toLatents(u: ArrayLike<number>, mean: Float32Array, stddev: Float32Array): Float32Array {
  return Float32Array.from(mean, (value, n) => value + Math.fround(stddev[n] * Math.fround(u[n])));
}

/** The last so many numbers, and their middle. */
export class Recent {
  readonly values: number[] = [];

  constructor(private readonly most = 100) {}

  add(value: number): void {
    this.values.push(value);
    if (this.values.length > this.most) this.values.shift();
  }
}

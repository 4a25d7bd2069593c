/** Window and level: which values of the image are shown as black and as white, in its own unit. */

import type {ImagePayload} from './api';

export interface Window {
  width: number;
  level: number;
}

const CT: [string, Window][] = [
  ['Lung 1500 / −600', {width: 1500, level: -600}], ['Mediastinum 400 / 40', {width: 400, level: 40}],
  ['Bone 1800 / 400', {width: 1800, level: 400}],
];

/** Values of an image as its unit has them. */
export class Values {
  readonly unit: string;
  readonly low: number;
  readonly high: number;
  readonly presets: [string, Window][];
  private readonly scale: number;
  private readonly offset: number;

  constructor(readonly payload: ImagePayload) {
    const encoding = payload.encoding;
    this.scale = encoding?.scale ?? 1;
    this.offset = encoding?.offset ?? 0;
    this.unit = encoding ? (encoding.unit === 'grey level' ? '' : encoding.unit) : '';
    let low = Infinity, high = -Infinity;
    for (const stored of payload.image.data) {
      if (stored < low) low = stored;
      if (stored > high) high = stored;
    }
    const ends = [low, high].map((stored) => stored * this.scale + this.offset);
    const [seenLow, seenHigh] = [encoding?.low ?? 0, encoding?.high ?? 1];
    this.low = Math.min(...ends, seenLow);
    this.high = Math.max(...ends, seenHigh);
    const between = (a: number, b: number) => ({width: Math.max(Math.abs(b - a), this.step), level: (a + b) / 2});
    this.presets = [['Model’s window', between(seenLow, seenHigh)], ['Full range', between(ends[0], ends[1])],
                    ['Middle 96 %', between(...this.percentiles(0.02))]];
    if (/hounsfield|^hu$/i.test(this.unit)) this.presets.push(...CT);
  }

  /** Smallest difference worth a step. */
  get step(): number {
    return this.high - this.low > 4 ? 1 : (this.high - this.low) / 256;
  }

  at(x: number, y: number): number[] {
    const channels = this.payload.image.shape[2], start = (y * this.payload.width + x) * channels;
    return Array.from(this.payload.image.data.subarray(start, start + channels), (v) => v * this.scale + this.offset);
  }

  text(value: number): string {
    return `${this.step < 1 ? value.toFixed(2) : Math.round(value)}`;
  }

  /** The image as it is to be shown. */
  render(window: Window): ImageData {
    const {width, height, image} = this.payload, channels = image.shape[2], shown = new ImageData(width, height);
    const black = window.level - window.width / 2, gain = 255 / window.width;
    for (let i = 0; i < width * height; i++) {
      for (let c = 0; c < 3; c++) {
        const stored = image.data[i * channels + (channels >= 3 ? c : 0)];
        shown.data[4 * i + c] = (stored * this.scale + this.offset - black) * gain;  // clamped by the array
      }
      shown.data[4 * i + 3] = 255;
    }
    return shown;
  }

  private percentiles(share: number): [number, number] {
    const sorted = Float32Array.from(this.payload.image.data).sort(), last = sorted.length - 1;
    return [sorted[Math.floor(share * last)], sorted[Math.ceil((1 - share) * last)]]
      .map((stored) => stored * this.scale + this.offset) as [number, number];
  }
}

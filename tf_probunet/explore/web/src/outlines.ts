/** What is drawn over the image: of this hypothesis, of graders, of the mean over all hypotheses. */

import {contours, outline, toPath} from './contours';
import {coloured} from './wall';
import type {ImagePayload} from './api';
import type {Hypothesis} from './explorer';
import type {Viewer} from './viewer';

export type MeanStyle = 'contours' | 'heat' | 'off';

const LEVELS = [0.1, 0.5, 0.9];

/** The outline of a class: where its logit crosses the largest of the others, between pixels. */
export function hypothesisPath(hypothesis: Hypothesis, image: ImagePayload, cls: number): Path2D {
  const {logits} = hypothesis, {width, height} = image, classes = logits.length / (width * height);
  const margin = (x: number, y: number) => {
    const start = (y * width + x) * classes;
    let others = -Infinity;
    for (let k = 0; k < classes; k++) if (k !== cls) others = Math.max(others, logits[start + k]);
    return logits[start + cls] - others;
  };
  return toPath(contours(margin, width, height, 0));
}

export function graderPaths(image: ImagePayload, cls: number): Path2D[] {
  return image.graders.map((mask) => toPath(outline(mask, image.width, cls)));
}

/** Contours at 10, 50 and 90 % of the probability of a class. */
export function meanPath(probabilities: Float32Array, image: ImagePayload, cls: number): Path2D {
  const {width, height} = image, start = cls * width * height;
  return toPath(LEVELS.flatMap((level) => contours((x, y) => probabilities[start + y * width + x], width, height, level)));
}

/** The probability of a class in colours whose lightness grows with it. */
export function heat(probabilities: Float32Array, image: ImagePayload, cls: number): HTMLCanvasElement {
  const {width, height} = image, start = cls * width * height, pixels = new ImageData(width, height);
  const stops = [[0, 40, 10, 60], [0.25, 122, 42, 140], [0.6, 224, 80, 60], [1, 255, 226, 138]];
  for (let i = 0; i < width * height; i++) {
    const p = probabilities[start + i], above = Math.max(1, stops.findIndex(([at]) => at >= p)), [a, b] = [stops[above - 1], stops[above]];
    const t = (p - a[0]) / (b[0] - a[0]);
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = a[c + 1] + t * (b[c + 1] - a[c + 1]);
    pixels.data[4 * i + 3] = 255 * Math.min(0.8, 1.6 * p);
  }
  const canvas = Object.assign(document.createElement('canvas'), {width, height});
  canvas.getContext('2d')!.putImageData(pixels, 0, 0);
  return canvas;
}

/** Colours and numbers of all classes, where there are several. */
export function classLayers(mask: Uint8Array, image: ImagePayload, numClasses: number): Pick<Viewer['layers'], 'fill' | 'labels'> {
  if (numClasses < 3) return {fill: null, labels: []};
  const {width, height} = image, labels = [];
  for (let cls = 0; cls < numClasses; cls++) {
    let count = 0, x = 0, y = 0;
    for (let i = 0; i < mask.length; i++) {
      if (mask[i] !== cls) continue;
      count++;
      x += i % width;
      y += Math.floor(i / width);
    }
    if (count < mask.length / 250) continue;
    let [best, at] = [Infinity, 0];  // the pixel of the class nearest to its middle
    for (let i = 0; i < mask.length; i++) {
      if (mask[i] !== cls) continue;
      const far = (i % width - x / count) ** 2 + (Math.floor(i / width) - y / count) ** 2;
      if (far < best) [best, at] = [far, i];
    }
    labels.push({x: at % width + 0.5, y: Math.floor(at / width) + 0.5, text: String(cls)});
  }
  return {fill: coloured(mask, width, height, numClasses, 0.45), labels};
}

/** How large the class is across all hypotheses: bars, this hypothesis among them, and what graders drew. */

import {svg} from './dom';

const HEIGHT = 92, LEFT = 8, RIGHT = 8, TOP = 15, BOTTOM = 24, BINS = 24;

export interface Sizes {
  present: number[];        // sizes where the class is there
  absent: number;           // hypotheses without it
  here: number | null;      // of the hypothesis that is shown; 0 for none
  graders: number[];        // 0 where a grader drew nothing
  unit: string;
}

/** Draws the histogram into `room`: absent ones at the left, then sizes. */
export function drawHistogram(room: HTMLElement, sizes: Sizes): void {
  const wide = Math.max(room.clientWidth, 240);
  const seen = [...sizes.present, ...sizes.graders, sizes.here ?? 0].filter((value) => value > 0);
  const root = svg('svg', {viewBox: `0 0 ${wide} ${HEIGHT}`, role: 'img'});
  root.setAttribute('aria-label', `Histogram: absent in ${sizes.absent}, present in ${sizes.present.length} hypotheses`);
  const floor = HEIGHT - BOTTOM, start = LEFT + 52, step = niceStep(Math.max(...seen, 1e-9) / 6);
  const most = Math.max(step, Math.ceil(Math.max(...seen, 1e-9) / step) * step);
  const place = (value: number) => (value <= 0 ? LEFT + 17 : start + (value / most) * (wide - RIGHT - start));
  const counts = new Array(BINS).fill(0);
  for (const value of sizes.present) counts[Math.min(BINS - 1, Math.floor((value / most) * BINS))]++;
  const highest = Math.max(...counts, sizes.present.length ? 1 : sizes.absent, 1);
  const bar = (x: number, width: number, count: number, here: boolean) => {
    const height = Math.min(1, count / highest) * (floor - TOP);
    root.append(svg('rect', {class: here ? 'bin here' : 'bin', x, width, y: floor - height, height}));
    if (count > highest) root.append(svg('path', {class: 'break', d: `M${x - 2} ${TOP + 13}l${width / 2 + 2} -5l${width / 2 + 2} 5`}));
    if (count) {
      root.append(svg('text', {class: 'count', x: x + width / 2, y: floor - height - 4, 'text-anchor': 'middle'}, `${count}`));
    }
  };
  root.append(svg('line', {class: 'rule', x1: LEFT, x2: wide - RIGHT, y1: floor + 0.5, y2: floor + 0.5}));
  bar(LEFT, 34, sizes.absent, sizes.here === 0);
  const width = (wide - RIGHT - start) / BINS;
  const bin = sizes.here ? Math.min(BINS - 1, Math.floor((sizes.here / most) * BINS)) : -1;
  counts.forEach((count, i) => bar(start + i * width + 0.5, width - 1, count, i === bin));
  root.append(svg('text', {x: LEFT + 17, y: HEIGHT - 8, 'text-anchor': 'middle'}, 'none'));
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  for (let value = 0; value <= most + step / 2; value += step) {
    const last = value > most - step / 2;
    root.append(svg('text', {x: place(value || 1e-9), y: HEIGHT - 8, 'text-anchor': last ? 'end' : value ? 'middle' : 'start'},
                    value.toFixed(digits) + (last ? ` ${sizes.unit}` : '')));
  }
  for (const value of sizes.graders) {
    const x = place(value);
    root.append(svg('path', {class: 'grader', d: `M${x - 4} ${floor + 7}L${x} ${floor + 1}L${x + 4} ${floor + 7}Z`}));
  }
  room.replaceChildren(root);
}

function niceStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
}

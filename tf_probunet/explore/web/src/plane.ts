/** The latent space as a plane of two dimensions, in standard deviations of the prior, with a point to drag. */

import {clamp, svg} from './dom';

export const REACH = 3;  // standard deviations that are shown, and to which one can go
const SIZE = 216, UNIT = (SIZE / 2 - 14) / REACH;

export interface Drawn {
  u: ArrayLike<number>;
  area: number;
}

export class Plane {
  onMove: (x: number, y: number, event: PointerEvent) => void = () => {};
  onDone: () => void = () => {};
  private readonly root = svg('svg', {viewBox: `0 0 ${SIZE} ${SIZE}`, role: 'img'});
  private readonly dots = svg('g');
  private readonly names = svg('g');
  private readonly point = svg('circle', {class: 'point', r: 7});
  private readonly cross = [svg('line', {class: 'cross'}), svg('line', {class: 'cross'})];
  private dragging = false;

  constructor(room: HTMLElement) {
    for (const radius of [1, 2, 3]) {
      this.root.append(svg('circle', {class: 'ring', cx: SIZE / 2, cy: SIZE / 2, r: radius * UNIT}),
                       svg('text', {x: SIZE / 2 + 3, y: SIZE / 2 - radius * UNIT + 11}, `${radius}`));
    }
    this.root.append(svg('line', {class: 'axis', x1: 0, x2: SIZE, y1: SIZE / 2, y2: SIZE / 2}),
                     svg('line', {class: 'axis', y1: 0, y2: SIZE, x1: SIZE / 2, x2: SIZE / 2}),
                     this.dots, ...this.cross, this.point, this.names);
    room.replaceChildren(this.root);
    this.root.addEventListener('pointerdown', (event) => {
      this.root.setPointerCapture(event.pointerId);
      this.dragging = true;
      this.move(event);
    });
    this.root.addEventListener('pointermove', (event) => this.dragging && this.move(event));
    for (const kind of ['pointerup', 'pointercancel']) {
      this.root.addEventListener(kind, () => {
        if (this.dragging) this.onDone();
        this.dragging = false;
      });
    }
  }

  /** Shows the point and, where they lie on this plane, the hypotheses of the wall: the larger, the more they cover. */
  show(u: ArrayLike<number>, axes: [number, number]): void {
    const [x, y] = [this.left(u[axes[0]]), this.top(u[axes[1]])];
    set(this.point, {cx: x, cy: y});
    set(this.cross[0], {x1: 0, x2: SIZE, y1: y, y2: y});
    set(this.cross[1], {x1: x, x2: x, y1: 0, y2: SIZE});
    this.root.setAttribute('aria-label', `Plane of latent ${axes[0] + 1} (across) and latent ${axes[1] + 1} (up); the ` +
      `point is at ${u[axes[0]].toFixed(2)}, ${u[axes[1]].toFixed(2)}. Arrow keys move it.`);
    if (this.names.childElementCount && this.names.getAttribute('data-axes') === axes.join()) return;
    this.names.setAttribute('data-axes', axes.join());
    this.names.replaceChildren(svg('text', {x: SIZE - 5, y: SIZE / 2 - 5, 'text-anchor': 'end'}, `z${axes[0] + 1} →`),
                               svg('text', {x: SIZE / 2 - 5, y: 12, 'text-anchor': 'end'}, `z${axes[1] + 1} ↑`));
  }

  /** Shows other hypotheses. */
  showDrawn(drawn: Drawn[], axes: [number, number]): void {
    const largest = Math.max(1, ...drawn.map(({area}) => area));
    this.dots.replaceChildren(...drawn.map(({u, area}) => svg('circle', {
      class: area ? 'drawn' : 'drawn none', cx: this.left(u[axes[0]]), cy: this.top(u[axes[1]]),
      r: area ? 1.5 + 2.5 * Math.sqrt(area / largest) : 2,
    })));
  }

  private left(value: number): number {
    return SIZE / 2 + clamp(value, -REACH - 0.35, REACH + 0.35) * UNIT;
  }

  private top(value: number): number {
    return SIZE / 2 - clamp(value, -REACH - 0.35, REACH + 0.35) * UNIT;
  }

  private move(event: PointerEvent): void {
    const box = this.root.getBoundingClientRect(), ratio = SIZE / box.width;
    const x = ((event.clientX - box.left) * ratio - SIZE / 2) / UNIT, y = (SIZE / 2 - (event.clientY - box.top) * ratio) / UNIT;
    this.onMove(clamp(x, -REACH, REACH), clamp(y, -REACH, REACH), event);
  }
}

function set(element: SVGElement, attributes: Record<string, number>): void {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
}

/** A slider for each latent dimension, how much it changes the segmentation, and which two span the plane. */

import {html, press} from './dom';
import {REACH} from './plane';

export class Sliders {
  onMove: (dimension: number, value: number, event: Event) => void = () => {};
  onDone: () => void = () => {};
  onAxis: (side: 0 | 1, dimension: number) => void = () => {};
  private inputs: HTMLInputElement[] = [];
  private values: HTMLOutputElement[] = [];
  private bars: HTMLElement[] = [];
  private buttons: [HTMLButtonElement, HTMLButtonElement][] = [];

  constructor(private readonly room: HTMLElement) {}

  /** Makes as many as there are dimensions. */
  make(count: number): void {
    if (this.inputs.length === count) return;
    this.inputs = [];
    this.values = [];
    this.bars = [];
    this.buttons = [];
    const cells: HTMLElement[] = ['', '', '', 'effect', 'plane'].map((text) => html('span', {class: 'head'}, text));
    cells[3].title = 'How much the segmentation changes between -1.5 and 1.5 standard deviations: 1 - IoU';
    for (let n = 0; n < count; n++) {
      const name = `Latent ${n + 1}`, id = `latent-${n + 1}`;
      const input = html('input', {type: 'range', id, min: String(-REACH), max: String(REACH), step: '0.01'});
      input.addEventListener('input', (event) => this.onMove(n, Number(input.value), event));
      input.addEventListener('change', () => this.onDone());
      const value = html('output', {for: id}), effect = html('span', {class: 'influence', role: 'img'});
      effect.append(html('i'));
      const axes = html('span', {class: 'axes'});
      const pair = (['across', 'up'] as const).map((way, side) => {
        const button = html('button', {'aria-label': `${name} goes ${way} in the plane`}, side ? '↑' : '→');
        button.addEventListener('click', () => this.onAxis(side as 0 | 1, n));
        return button;
      }) as [HTMLButtonElement, HTMLButtonElement];
      axes.append(...pair);
      cells.push(html('label', {for: id, title: name}, `z${n + 1}`), input, value, effect, axes);
      this.inputs.push(input);
      this.values.push(value);
      this.bars.push(effect);
      this.buttons.push(pair);
    }
    this.room.replaceChildren(...cells);
  }

  /** Shows where the point is. */
  show(u: ArrayLike<number>, axes: [number, number]): void {
    this.inputs.forEach((input, n) => {
      if (Number(input.value) !== u[n]) input.value = String(u[n]);
      this.values[n].value = `${u[n] < 0 ? '−' : '+'}${Math.abs(u[n]).toFixed(2)}`;
      this.buttons[n].forEach((button, side) => press(button, axes[side] === n));
    });
  }

  /** Shows how much each dimension changes the segmentation, 0..1. */
  showEffects(effects: number[]): void {
    effects.forEach((effect, n) => {
      (this.bars[n].firstElementChild as HTMLElement).style.width = `${100 * effect}%`;
      this.bars[n].setAttribute('aria-label', `changes ${Math.round(100 * effect)} % of the segmentation`);
      this.bars[n].title = this.bars[n].getAttribute('aria-label')!;
    });
  }
}

/** The wall of hypotheses: a picture each, neighbours alike, with their share of the samples. */

import {html, press} from './dom';
import {outline, toPath} from './contours';
import {classColour, HYPOTHESIS} from './palette';
import type {Group} from './order';

const GAP = 4, LARGEST = 150;

export interface WallContent {
  groups: Group[];
  masks: Uint8Array[];
  width: number;
  height: number;
  numClasses: number;
  cls: number;
  picture: ImageData;
  describe(group: Group): string;  // for those who do not see it
}

export class WallView {
  onPick: (sample: number) => void = () => {};
  private content: WallContent | null = null;
  private tiles: HTMLButtonElement[] = [];

  constructor(private readonly room: HTMLElement) {
    new ResizeObserver(() => this.layOut()).observe(room);
  }

  /** Shows other hypotheses. */
  show(content: WallContent): void {
    this.content = content;
    const total = content.groups.reduce((sum, group) => sum + group.members.length, 0);
    this.tiles = content.groups.map((group) => {
      const tile = html('button', {class: 'tile', 'aria-label': content.describe(group), 'aria-pressed': 'false'});
      const words = html('span', {}, `${Math.round(100 * group.members.length / total)} %`);
      words.append(html('i', {}, group.members.length > 1 ? `×${group.members.length}` : ''));
      tile.append(html('canvas', {'aria-hidden': 'true'}), words);
      tile.title = content.describe(group);
      tile.addEventListener('click', () => this.onPick(group.shown));
      return tile;
    });
    this.room.replaceChildren(...this.tiles);
    this.layOut();
  }

  /** Marks the group of a sample; none for null. */
  mark(sample: number | null): void {
    this.content?.groups.forEach((group, i) => press(this.tiles[i], sample !== null && group.members.includes(sample)));
  }

  private layOut(): void {
    if (!this.content || !this.room.clientWidth) return;
    const {content, room, tiles} = this, part = this.shownPart(), aspect = part.height / part.width;
    let columns = 1, side = 0;
    for (let tried = 1; tried <= Math.max(tiles.length, 4); tried++) {
      const rows = Math.ceil(tiles.length / tried);
      const fits = Math.min((room.clientWidth - GAP * (tried - 1)) / tried - 2,
                            ((room.clientHeight - GAP * (rows - 1)) / rows - 2) / aspect);
      if (fits > side) [columns, side] = [tried, fits];
    }
    side = Math.floor(Math.min(side, LARGEST));
    room.style.gridTemplateColumns = `repeat(${columns}, ${side + 2}px)`;
    room.style.gridAutoRows = `${Math.floor(side * aspect) + 2}px`;
    room.style.justifyContent = side === LARGEST || tiles.length < columns * 2 ? 'start' : 'space-between';
    for (const tile of tiles) tile.classList.toggle('small', side < 66);
    tiles.forEach((tile, i) => this.draw(tile.querySelector('canvas')!, content.masks[content.groups[i].shown], side, part));
  }

  /** The part of the image that all pictures show: where more than a few hypotheses are, with room around it. */
  private shownPart(): {x: number; y: number; width: number; height: number} {
    const {masks, width, height, numClasses} = this.content!, counts = new Uint16Array(width * height);
    for (const mask of masks) for (let i = 0; i < mask.length; i++) if (mask[i]) counts[i]++;
    const few = Math.min(masks.length / 25, counts.reduce((most, count) => Math.max(most, count), 0) - 1);
    let [left, top, right, bottom] = [width, height, 0, 0];
    for (let i = 0; i < counts.length; i++) {
      if (counts[i] <= few) continue;
      const x = i % width, y = (i - x) / width;
      left = Math.min(left, x);
      right = Math.max(right, x + 1);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y + 1);
    }
    if (right <= left || numClasses > 2) return {x: 0, y: 0, width, height};
    const side = Math.min(Math.max(1.4 * Math.max(right - left, bottom - top), 0.3 * Math.max(width, height)), width, height);
    const place = (a: number, b: number, whole: number) => Math.min(Math.max(0, (a + b - side) / 2), whole - side);
    return {x: place(left, right, width), y: place(top, bottom, height), width: side, height: side};
  }

  private draw(canvas: HTMLCanvasElement, mask: Uint8Array, side: number,
               part: {x: number; y: number; width: number; height: number}): void {
    const {picture, width, height, cls, numClasses} = this.content!, ratio = devicePixelRatio || 1, aspect = part.height / part.width;
    Object.assign(canvas, {width: Math.round(side * ratio), height: Math.round(side * aspect * ratio)});
    canvas.style.height = `${Math.floor(side * aspect)}px`;
    const context = canvas.getContext('2d')!, scale = canvas.width / part.width;
    context.setTransform(scale, 0, 0, scale, -part.x * scale, -part.y * scale);
    context.imageSmoothingQuality = 'high';
    context.drawImage(bitmap(picture), 0, 0);
    if (numClasses > 2) context.drawImage(coloured(mask, width, height, numClasses, 0.55), 0, 0);
    const path = toPath(outline(mask, width, cls));
    context.fillStyle = 'rgba(255,176,0,.18)';
    if (numClasses === 2) context.fill(path);
    context.strokeStyle = HYPOTHESIS;
    context.lineWidth = 1.6 * ratio / scale;
    context.stroke(path);
  }
}

const bitmaps = new WeakMap<ImageData, HTMLCanvasElement>();

function bitmap(pixels: ImageData): HTMLCanvasElement {
  let canvas = bitmaps.get(pixels);
  if (!canvas) {
    canvas = Object.assign(document.createElement('canvas'), {width: pixels.width, height: pixels.height});
    canvas.getContext('2d')!.putImageData(pixels, 0, 0);
    bitmaps.set(pixels, canvas);
  }
  return canvas;
}

/** A class map in colours, the background left out where it is the only other class. */
export function coloured(mask: Uint8Array, width: number, height: number, numClasses: number, alpha: number): HTMLCanvasElement {
  const pixels = new ImageData(width, height), colours = Array.from({length: numClasses}, (_, k) => classColour(k));
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) continue;
    pixels.data.set(colours[mask[i]], 4 * i);
    pixels.data[4 * i + 3] = 255 * alpha;
  }
  return bitmap(pixels);
}

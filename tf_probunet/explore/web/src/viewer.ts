/** The image with its outlines: zoom, moving, window and level by the mouse. */

import {clamp} from './dom';
import {GRADER, HYPOTHESIS, MEAN} from './palette';

export interface Layers {
  hypothesis: Path2D | null;
  graders: Path2D[];
  mean: Path2D | null;
  heat: HTMLCanvasElement | null;
  fill: HTMLCanvasElement | null;             // classes in colour, where there are several
  labels: {x: number; y: number; text: string}[];
}

export class Viewer {
  layers: Layers = {hypothesis: null, graders: [], mean: null, heat: null, fill: null, labels: []};
  bare = false;
  zoom = 1;
  onWindow: (dx: number, dy: number, done: boolean) => void = () => {};
  onHover: (x: number, y: number) => void = () => {};
  onZoom: () => void = () => {};
  private readonly context: CanvasRenderingContext2D;
  private picture = document.createElement('canvas');
  private centre = {x: 0, y: 0};
  private drag: {x: number; y: number; window: boolean} | null = null;

  constructor(readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext('2d')!;
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener('wheel', (event) => {
      event.preventDefault();
      this.zoomTo(this.zoom * Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    }, {passive: false});
    canvas.addEventListener('dblclick', () => this.reset());
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.drag = {x: event.offsetX, y: event.offsetY, window: event.shiftKey || event.button === 2};
    });
    canvas.addEventListener('pointermove', (event) => this.move(event));
    for (const kind of ['pointerup', 'pointercancel'] as const) {
      canvas.addEventListener(kind, () => {
        if (this.drag?.window) this.onWindow(0, 0, true);
        this.drag = null;
      });
    }
    canvas.addEventListener('pointerleave', () => this.onHover(-1, -1));
  }

  /** Shows other pixels; another size begins with the whole image. */
  show(pixels: ImageData): void {
    const other = this.picture.width !== pixels.width || this.picture.height !== pixels.height;
    if (other) Object.assign(this.picture, {width: pixels.width, height: pixels.height});
    this.picture.getContext('2d')!.putImageData(pixels, 0, 0);
    if (other) this.reset();
  }

  reset(): void {
    this.zoom = 1;
    this.centre = {x: this.picture.width / 2, y: this.picture.height / 2};
    this.draw();
    this.onZoom();
  }

  /** CSS pixels a pixel of the image, and where its upper left corner lies. */
  transform(): {scale: number; x: number; y: number} {
    const {clientWidth, clientHeight} = this.canvas, {width, height} = this.picture;
    const scale = Math.min(clientWidth / width, clientHeight / height) * this.zoom;
    return {scale, x: clientWidth / 2 - this.centre.x * scale, y: clientHeight / 2 - this.centre.y * scale};
  }

  /** Zooms so that what is at a place of the canvas stays there; its middle if none is given. */
  zoomTo(zoom: number, atX = this.canvas.clientWidth / 2, atY = this.canvas.clientHeight / 2): void {
    const before = this.transform(), x = (atX - before.x) / before.scale, y = (atY - before.y) / before.scale;
    this.zoom = clamp(zoom, 1, 16);
    const {scale} = this.transform();
    this.centreAt(x - (atX - this.canvas.clientWidth / 2) / scale, y - (atY - this.canvas.clientHeight / 2) / scale);
    this.onZoom();
  }

  draw(): void {
    const {canvas, context} = this, ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.picture.width || !width) return;
    const {scale, x, y} = this.transform();
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = 'high';
    context.drawImage(this.picture, 0, 0);
    if (this.bare) return;
    const {layers} = this;
    for (const cover of [layers.fill, layers.heat]) {
      context.imageSmoothingEnabled = cover === layers.heat;
      if (cover) context.drawImage(cover, 0, 0);
    }
    for (const path of layers.graders) this.stroke(path, GRADER, 1.7, scale, [7, 4]);
    if (layers.hypothesis) this.stroke(layers.hypothesis, HYPOTHESIS, 2.4, scale, []);
    if (layers.mean) this.stroke(layers.mean, MEAN, 2.6, scale, [0.1, 5]);
    this.write(scale, x, y, ratio);
  }

  private stroke(path: Path2D, colour: string, width: number, scale: number, dash: number[]): void {
    const {context} = this;
    context.lineCap = dash[0] < 1 ? 'round' : 'butt';
    context.lineJoin = 'round';
    context.setLineDash(dash.map((length) => length / scale));
    for (const [style, wider] of [['rgba(0,0,0,.55)', 1.6], [colour, 0]] as const) {
      context.strokeStyle = style;
      context.lineWidth = (width + wider) / scale;
      context.stroke(path);
    }
    context.setLineDash([]);
  }

  private write(scale: number, x: number, y: number, ratio: number): void {
    const {context} = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = '600 12px system-ui, sans-serif';
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.lineWidth = 3;
    for (const label of this.layers.labels) {
      const [left, top] = [x + label.x * scale, y + label.y * scale];
      context.strokeStyle = 'rgba(0,0,0,.8)';
      context.strokeText(label.text, left, top);
      context.fillStyle = '#fff';
      context.fillText(label.text, left, top);
    }
  }

  private centreAt(x: number, y: number): void {
    const {width, height} = this.picture, room = 1 - 1 / this.zoom;  // the image never leaves its frame
    this.centre = {x: clamp(x, width / 2 * (1 - room), width / 2 * (1 + room)),
                   y: clamp(y, height / 2 * (1 - room), height / 2 * (1 + room))};
    this.draw();
  }

  private move(event: PointerEvent): void {
    const {scale, x, y} = this.transform();
    const [column, row] = [Math.floor((event.offsetX - x) / scale), Math.floor((event.offsetY - y) / scale)];
    const inside = column >= 0 && row >= 0 && column < this.picture.width && row < this.picture.height;
    this.onHover(inside ? column : -1, inside ? row : -1);
    if (!this.drag) return;
    const [dx, dy] = [event.offsetX - this.drag.x, event.offsetY - this.drag.y];
    Object.assign(this.drag, {x: event.offsetX, y: event.offsetY});
    if (this.drag.window) this.onWindow(dx, dy, false);
    else this.centreAt(this.centre.x - dx / scale, this.centre.y - dy / scale);
  }
}

/** The page: shows what the explorer has. */

import {byId, html, press} from './dom';
import {drawHistogram} from './histogram';
import {classColour} from './palette';
import {areaText, length, measure, median} from './measures';
import {classLayers, graderPaths, heat, hypothesisPath, meanPath, MeanStyle} from './outlines';
import {Plane} from './plane';
import {Sliders} from './sliders';
import {Viewer} from './viewer';
import {WallView} from './wall';
import {Values, Window} from './windowing';
import type {ImagePayload} from './api';
import type {Explorer, Screen} from './explorer';
import type {Group} from './order';

export class Page implements Screen {
  explorer: Explorer = null!;  // set before anything else is called
  readonly viewer = new Viewer(byId<HTMLCanvasElement>('image'));
  readonly plane = new Plane(byId('plane'));
  readonly sliders = new Sliders(byId('sliders'));
  readonly wallView = new WallView(byId('wall'));
  values: Values | null = null;
  window: Window = {width: 1, level: 0.5};
  cls = 1;
  measured: 'diameter' | 'area' = 'diameter';
  tolerance = 0;
  groups: Group[] = [];
  shown = {hypothesis: true, graders: true, mean: 'contours' as MeanStyle};
  message: string | null = null;
  private retry: (() => void) | null = null;
  private picture: ImageData | null = null;
  private clsChosen = false;
  private later = 0;
  private drawn: {image: ImagePayload; cls: number; paths: Path2D[]} | null = null;

  constructor() {
    byId('retry').addEventListener('click', () => this.retry?.());
    byId('dismiss').addEventListener('click', () => this.showMessage(null, null));
    this.viewer.onZoom = () => this.showScale();
  }

  /** The classes one may measure: all but the background, and that too where there are many. */
  start(): void {
    new ResizeObserver(() => this.showSizes()).observe(byId('histogram'));
    new ResizeObserver(() => this.showScale()).observe(byId('stage'));
    const {classes} = this.explorer.facts, first = classes.length > 2 ? 0 : 1;
    byId('class').replaceChildren(...classes.slice(first).map((name, i) =>
      html('option', {value: String(i + first)}, classes.length > 2 ? `${i + first}  ${name}` : name)));
    byId('class').hidden = classes.length <= 2;
    byId('model').textContent = this.explorer.facts.model;
    byId('of').textContent = `of ${this.explorer.facts.num_images}`;
  }

  showImage(): void {
    const image = this.explorer.image!, {trained_size: trained} = this.explorer.facts;
    const before = this.values?.payload.encoding;
    this.values = new Values(image);
    if (!before || JSON.stringify(before) !== JSON.stringify(image.encoding)) this.window = this.values.presets[0][1];
    byId('name').textContent = image.name;
    byId('name').title = image.name;
    document.title = `${image.name} – probunet explore`;
    byId<HTMLInputElement>('index').value = String(image.index + 1);
    const size = (pair: readonly number[]) => `${pair[0]}×${pair[1]}`;
    const shown = [image.height, image.width], facts = [];
    facts.push(size(shown) === size(image.wholeSize) ? `${size(shown)} pixels` : `middle ${size(shown)} of ${size(image.wholeSize)} pixels`);
    facts.push(image.spacing ? `${image.spacing.toFixed(2)} mm a pixel` : 'pixel size not known');
    if (trained && size(trained) !== size(shown)) facts.push(`model trained on ${size(trained)}`);
    byId('facts').textContent = facts.join(' · ');
    byId('facts').title = facts.join(' · ');
    byId<HTMLButtonElement>('layer-graders').disabled = !image.graders.length;
    this.showGraders();
    this.sliders.make(this.explorer.latentDim);
    this.showWindow();
    this.groups = [];
    byId('wall').replaceChildren();
    byId('histogram').replaceChildren();
    byId('presence').textContent = '';
    byId('wall-title').textContent = 'Hypotheses';
    byId('wall-groups').textContent = '';
    this.plane.showDrawn([], [0, 1]);
    this.showHypothesis();
    this.showPoint();
    this.showScale();
  }

  /** Window and level as they are now. */
  showWindow(): void {
    const values = this.values!, {window} = this, span = values.high - values.low;
    for (const [id, low, high, value] of [['window', values.step, 1.2 * span, window.width],
                                          ['level', values.low - 0.1 * span, values.high + 0.1 * span, window.level]] as const) {
      Object.assign(byId<HTMLInputElement>(id), {min: low, max: high, step: values.step < 1 ? 'any' : '1'});
      byId<HTMLInputElement>(id).value = String(value);
      byId(`${id}-value`).textContent = values.text(value);
    }
    const presets = byId<HTMLSelectElement>('presets'), at = values.presets.findIndex(([, one]) =>
      Math.abs(one.width - window.width) < 1e-9 && Math.abs(one.level - window.level) < 1e-9);
    presets.replaceChildren(...values.presets.map(([name], i) => html('option', {value: String(i)}, name)),
                            html('option', {value: '-1'}, 'Own'));
    presets.value = String(at);
    this.picture = values.render(window);
    this.viewer.show(this.picture);
    this.viewer.draw();
  }

  showWall(): void {
    const wall = this.explorer.wall!;
    if (!this.clsChosen && wall.numClasses > 2) this.cls = wall.mostAmbiguous();
    byId<HTMLSelectElement>('class').value = String(this.cls);
    this.showGroups();
  }

  /** How many graders drew the present class. */
  private showGraders(): void {
    const {graders} = this.explorer.image!, drew = graders.filter((mask) => mask.some((value) => value === this.cls)).length;
    byId('graders').textContent = graders.length ? `Graders ${drew} of ${graders.length}` : 'No graders';
  }

  /** The wall with the present window, class and grouping. */
  showGroups(): void {
    const {wall, image} = this.explorer;
    if (!wall || !image) return;
    this.showGraders();
    this.groups = wall.groups(this.tolerance, this.cls);
    const measures = wall.measures(this.cls);
    byId('wall-title').textContent = `${wall.count} hypotheses`;
    byId('wall-groups').textContent = `${this.groups.length} ${this.tolerance ? 'groups' : 'different'}`;
    this.wallView.show({
      groups: this.groups, masks: wall.masks, width: image.width, height: image.height, numClasses: wall.numClasses,
      cls: this.cls, picture: this.picture!,
      describe: (group) => `Hypothesis ${this.groups.indexOf(group) + 1} of ${this.groups.length}: ${group.members.length} ` +
        `of ${wall.count} samples (${Math.round(100 * group.members.length / wall.count)} %), ` +
        (measures[group.shown].area ? `longest diameter ${length(measures[group.shown].diameter, image.spacing)}, area ` +
          areaText(measures[group.shown].area, image.spacing) : `no ${this.explorer.facts.classes[this.cls]}`),
    });
    this.wallView.mark(this.explorer.place.sample);
    this.showMean();
    this.showSizes();
    this.showDots();
  }

  showEffects(): void {
    this.sliders.showEffects(this.explorer.effects);
    this.showDots();
  }

  showPoint(): void {
    const {place, undo} = this.explorer, axes = [...place.axes] as [number, number];
    if (!place.u.length) return;
    const shownAxes = axes.map((n) => Math.min(n, place.u.length - 1)) as [number, number];
    this.plane.show(place.u, shownAxes);
    this.sliders.show(place.u, shownAxes);
    this.wallView.mark(place.sample);
    byId<HTMLButtonElement>('undo').disabled = !undo.canUndo;
    byId<HTMLButtonElement>('redo').disabled = !undo.canRedo;
  }

  /** The wall's hypotheses in the plane. */
  showDots(): void {
    const {wall, place} = this.explorer;
    if (!wall) return;
    const measures = wall.measures(this.cls);
    this.plane.showDrawn(wall.noise.map((u, i) => ({u, area: measures[i].area})), [...place.axes] as [number, number]);
  }

  showHypothesis(): void {
    const {hypothesis, image, wall, facts} = this.explorer, {viewer} = this;
    for (const id of ['export-png', 'export-npy', 'export-json']) byId<HTMLButtonElement>(id).disabled = !hypothesis;
    viewer.layers.hypothesis = hypothesis && this.shown.hypothesis ? hypothesisPath(hypothesis, image!, this.cls) : null;
    viewer.layers.graders = this.shown.graders ? this.graders() : [];
    Object.assign(viewer.layers, hypothesis && this.shown.hypothesis
      ? classLayers(hypothesis.mask, image!, facts.classes.length) : {fill: null, labels: []});
    if (!wall) viewer.layers.mean = viewer.layers.heat = null;
    viewer.draw();
    cancelAnimationFrame(this.later);
    this.later = requestAnimationFrame(() => this.tellHypothesis());  // figures may wait, the outline may not
  }

  /** Figures of the hypothesis that is shown. */
  private tellHypothesis(): void {
    const {hypothesis, image, wall, place, facts} = this.explorer;
    this.showLegend();
    byId('chosen').replaceChildren();
    if (!hypothesis) return;
    const {area, diameter} = measure(hypothesis.mask, image!.width, this.cls), name = facts.classes[this.cls];
    const sizes = area ? `diameter ${length(diameter, image!.spacing)}, area ${areaText(area, image!.spacing)}` : `no ${name}`;
    const group = place.sample === null ? null : this.groups.find(({members}) => members.includes(place.sample!));
    const whence = group ? ` · ${group.members.length} of ${wall!.count} (${Math.round(100 * group.members.length / wall!.count)} %)`
      : place.u.every((value) => value === 0) ? ' · at the prior mean' : ' · between samples';
    byId('chosen').append(html('b', {}, sizes), whence);
    byId('chosen').title = `${byId('chosen').textContent} (longest diameter of the largest piece, area of all)`;
    this.showSizes();
  }

  private graders(): Path2D[] {
    const {image} = this.explorer, {cls} = this;
    if (this.drawn?.image !== image || this.drawn!.cls !== cls) this.drawn = {image: image!, cls, paths: graderPaths(image!, cls)};
    return this.drawn!.paths;
  }

  /** Numbers, colours and names of the classes in this hypothesis, where there are several. */
  private showLegend(): void {
    const {hypothesis, facts} = this.explorer, legend = byId('legend');
    legend.hidden = !hypothesis || facts.classes.length < 3 || !this.shown.hypothesis;
    if (legend.hidden) return;
    const there = new Set(hypothesis!.mask);
    legend.replaceChildren(...facts.classes.flatMap((name, cls) => {
      if (!there.has(cls)) return [];
      const item = html('li'), swatch = html('i');
      swatch.style.background = `rgb(${classColour(cls).join()})`;
      item.append(swatch, `${cls}  ${name}`);
      return [item];
    }));
  }

  /** The mean over all hypotheses, as contours or heat. */
  showMean(): void {
    const {wall, image} = this.explorer, style = this.shown.mean;
    const words = {contours: 'Mean 10, 50, 90 %', heat: 'Mean as heat', off: 'Mean off'};
    byId('mean').textContent = words[style];
    press(byId('layer-mean'), style !== 'off');
    byId('heatbar').hidden = style !== 'heat';
    if (!wall || !image) return;
    this.viewer.layers.mean = style === 'contours' ? meanPath(wall.probabilities, image, this.cls) : null;
    this.viewer.layers.heat = style === 'heat' ? heat(wall.probabilities, image, this.cls) : null;
    this.viewer.draw();
  }

  /** Presence and sizes across all hypotheses. */
  showSizes(): void {
    const {wall, image, hypothesis, facts} = this.explorer;
    if (!wall || !image) return;
    const inLength = this.measured === 'diameter', spacing = image.spacing ?? 1;
    const unit = !image.spacing ? 'px' : inLength ? 'mm' : 'mm²', factor = inLength ? spacing : spacing ** 2;
    const value = (one: {area: number; diameter: number}) => (inLength ? one.diameter : one.area) * factor;
    const all = wall.measures(this.cls).map(value), present = all.filter((size) => size > 0).sort((a, b) => a - b);
    const [share, name] = [present.length / wall.count, facts.classes[this.cls]];
    const title = byId('presence'), digits = (size: number) => (size < 100 && (inLength || size < 10) ? size.toFixed(1) : String(Math.round(size)));
    title.replaceChildren(`${name[0].toUpperCase()}${name.slice(1)} in `, html('b', {}, `${Math.round(100 * share)} %`), facts.classes.length > 2 ? '' : ' of hypotheses');
    if (present.length) {
      title.append(', ', html('b', {}, `${digits(present[0])} to ${digits(present[present.length - 1])} ${unit}`),
                   `, median ${digits(median(present))}`);
    }
    title.title = `${name}: ${title.textContent}`;
    drawHistogram(byId('histogram'), {
      present, absent: wall.count - present.length, unit,
      here: hypothesis ? value(measure(hypothesis.mask, image.width, this.cls)) : null,
      graders: image.graders.map((mask) => value(measure(mask, image.width, this.cls))),
    });
  }

  showMessage(words: string | null, retry: (() => void) | null): void {
    this.message = words;
    this.retry = retry;
    byId('message').hidden = words === null;
    byId('words').textContent = words ?? '';
    byId('retry').hidden = !retry;
  }

  showStatus(): void {
    const {loaded, dragged, computed, wall, wallMilliseconds, away, ready} = this.explorer, parts = [];
    if (away) parts.push('server away: what is here still works');
    if (loaded) parts.push(loaded.backend === 'webgpu' ? 'WebGPU' : 'WASM');
    if (dragged.values.length) parts.push(`drag to mask ${median(dragged.values).toFixed(1)} ms, median of ${dragged.values.length}`);
    if (wall) parts.push(`${(wall.milliseconds / wall.count).toFixed(1)} ms a hypothesis`);
    else if (computed.values.length) parts.push(`${median(computed.values).toFixed(1)} ms a hypothesis`);
    if (wall && wallMilliseconds) parts.push(`wall of ${wall.count} in ${(wallMilliseconds / 1000).toFixed(2)} s`);
    const {differing, precision} = this.explorer;
    if (ready) parts.push(differing ? `${precision} file: ${differing} pixels other than the model’s` : 'equals the model’s own combiner');
    byId('status').textContent = parts.join(' · ');
    byId('status').title = loaded?.why ? `WASM: ${loaded.why}` : '';
  }

  chooseClass(cls: number): void {
    this.cls = cls;
    this.clsChosen = true;
    this.showGroups();
    this.showHypothesis();
  }

  /** A length to compare with, at the lower right of the image. */
  private showScale(): void {
    byId('zoom-reset').textContent = `${this.viewer.zoom.toFixed(1).replace('.0', '')}×`;
    const {image} = this.explorer;
    byId('scale').hidden = !image;
    if (!image) return;
    const {scale} = this.viewer.transform(), unit = scale / (image.spacing ?? 1);  // CSS pixels a mm or pixel
    const long = [1, 2, 5, 10, 20, 50, 100, 200].filter((size) => size * unit < 130).pop() ?? 1;
    byId('scale').style.width = `${long * unit}px`;
    byId('scale').firstElementChild!.textContent = `${long} ${image.spacing ? 'mm' : 'px'}`;
  }
}

/** What mouse and keyboard do. */

import {byId, clamp, press} from './dom';
import {exportJson, exportNpy, exportPng} from './exporting';
import {REACH} from './plane';
import type {Explorer} from './explorer';
import type {Page} from './screen';

const STEP = 0.1, FAR = 0.5;

export function connect(page: Page, explorer: Explorer): void {
  const {viewer, plane, sliders, wallView} = page;
  const click = (id: string, action: () => void) => byId(id).addEventListener('click', action);
  const open = (index: number) => {
    if (index >= 0 && index < explorer.facts.num_images) void explorer.open(index);
  };
  const here = () => explorer.image?.index ?? explorer.place.index;
  const moveOne = (dimension: number, value: number, time: number) => {
    const u = [...explorer.place.u];
    u[dimension] = clamp(value, -REACH, REACH);
    explorer.move(u, time);
  };
  const atMean = () => {
    explorer.move(explorer.place.u.map(() => 0), performance.now());
    explorer.commit();
  };
  const neighbour = (way: number) => {
    const {groups} = page, at = groups.findIndex(({members}) => members.includes(explorer.place.sample ?? -1));
    const next = groups[at < 0 ? (way > 0 ? 0 : groups.length - 1) : clamp(at + way, 0, groups.length - 1)];
    if (next) explorer.pick(next.shown);
  };
  const toggle = (layer: 'hypothesis' | 'graders') => {
    page.shown[layer] = !page.shown[layer];
    press(byId(`layer-${layer}`), page.shown[layer]);
    if (explorer.image) page.showHypothesis();
  };
  const nextMean = () => {
    page.shown.mean = {contours: 'heat', heat: 'off', off: 'contours'}[page.shown.mean] as typeof page.shown.mean;
    page.showMean();
  };
  const bare = (on: boolean) => {
    viewer.bare = on;
    viewer.draw();
  };
  const help = () => byId<HTMLDialogElement>('helping').showModal();

  click('previous', () => open(here() - 1));
  click('next', () => open(here() + 1));
  byId('index').addEventListener('change', () => {
    const asked = Number(byId<HTMLInputElement>('index').value);
    if (Number.isInteger(asked) && asked >= 1 && asked <= explorer.facts.num_images) open(asked - 1);
    else {
      page.showMessage(`There are images 1 to ${explorer.facts.num_images}.`, null);
      byId<HTMLInputElement>('index').value = String(here() + 1);
    }
  });
  click('undo', () => void explorer.step('undo'));
  click('redo', () => void explorer.step('redo'));
  click('help', help);
  click('centre', atMean);
  click('draw', () => void explorer.redraw(explorer.place.seed + 1));
  click('layer-hypothesis', () => toggle('hypothesis'));
  click('layer-graders', () => toggle('graders'));
  click('layer-mean', nextMean);
  click('export-png', () => void exportPng(page));
  click('export-npy', () => exportNpy(page));
  click('export-json', () => exportJson(page));
  click('zoom-in', () => viewer.zoomTo(viewer.zoom * 1.5));
  click('zoom-out', () => viewer.zoomTo(viewer.zoom / 1.5));
  click('zoom-reset', () => viewer.reset());

  plane.onMove = (x, y, event) => {
    const u = [...explorer.place.u], [across, up] = explorer.place.axes;
    u[up] = y;
    u[across] = x;
    explorer.move(u, event.timeStamp);
  };
  plane.onDone = sliders.onDone = () => explorer.commit();
  sliders.onMove = (dimension, value, event) => moveOne(dimension, value, event.timeStamp);
  sliders.onAxis = (side, dimension) => {
    const axes = [...explorer.place.axes] as [number, number];
    if (axes[1 - side] === dimension) axes[1 - side] = axes[side];
    axes[side] = dimension;
    explorer.setAxes(axes);
    page.showDots();
  };
  wallView.onPick = (sample) => explorer.pick(sample);

  for (const button of document.querySelectorAll<HTMLButtonElement>('[data-tolerance]')) {
    button.addEventListener('click', () => {
      page.tolerance = Number(button.dataset.tolerance);
      for (const one of document.querySelectorAll('[data-tolerance]')) press(one, one === button);
      page.showGroups();
      page.showHypothesis();
    });
  }
  byId('class').addEventListener('change', () => page.chooseClass(Number(byId<HTMLSelectElement>('class').value)));
  byId('measure').addEventListener('change', () => {
    page.measured = byId<HTMLSelectElement>('measure').value as typeof page.measured;
    page.showSizes();
  });

  const setWindow = (width: number, level: number, done: boolean) => {
    if (!page.values) return;
    page.window = {width: Math.max(page.values.step, width), level};
    page.showWindow();
    if (done) page.showGroups();
  };
  for (const id of ['window', 'level']) {
    for (const kind of ['input', 'change']) {
      byId(id).addEventListener(kind, () => setWindow(Number(byId<HTMLInputElement>('window').value),
                                                      Number(byId<HTMLInputElement>('level').value), kind === 'change'));
    }
  }
  byId('presets').addEventListener('change', () => {
    const preset = page.values?.presets[Number(byId<HTMLSelectElement>('presets').value)];
    if (preset) setWindow(preset[1].width, preset[1].level, true);
  });
  viewer.onWindow = (dx, dy, done) => {
    const gain = page.values ? (page.values.high - page.values.low) / 400 : 0;
    setWindow(page.window.width + dx * gain, page.window.level + dy * gain, done);
  };
  viewer.onHover = (x, y) => {
    const {image, wall, hypothesis, facts} = explorer;
    let text = '';
    if (image && page.values && x >= 0) {
      const unit = page.values.unit ? ` ${page.values.unit}` : '';
      text = `x ${x}  y ${y}   ${page.values.at(x, y).map((value) => page.values!.text(value)).join(', ')}${unit}`;
      const i = y * image.width + x;
      if (wall) text += `   ${facts.classes[page.cls]} ${Math.round(100 * wall.probabilities[page.cls * image.width * image.height + i])} %`;
      if (hypothesis && facts.classes.length > 2) text += `   here: ${facts.classes[hypothesis.mask[i]]}`;
    }
    byId('readout').textContent = text;
  };

  const keys: Record<string, () => void> = {
    '[': () => open(here() - 1), ']': () => open(here() + 1), ',': () => neighbour(-1), '.': () => neighbour(1),
    '?': help, h: () => toggle('hypothesis'), g: () => toggle('graders'), m: nextMean, Home: atMean,
    n: () => void explorer.redraw(explorer.place.seed + 1), '+': () => viewer.zoomTo(viewer.zoom * 1.5),
    '=': () => viewer.zoomTo(viewer.zoom * 1.5), '-': () => viewer.zoomTo(viewer.zoom / 1.5), '0': () => viewer.reset(),
    ' ': () => bare(true),
  };
  const arrows: Record<string, [0 | 1, number]> = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1]};
  document.addEventListener('keydown', (event) => {
    const field = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    if (byId<HTMLDialogElement>('helping').open || event.altKey) return;
    if ((event.ctrlKey || event.metaKey) && ['z', 'y'].includes(event.key.toLowerCase())) {
      event.preventDefault();
      const redo = event.key.toLowerCase() === 'y' || event.shiftKey;
      return void explorer.step(redo ? 'redo' : 'undo');
    }
    if (field || event.ctrlKey || event.metaKey) return;
    const arrow = arrows[event.key], key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (arrow && explorer.place.u.length) {
      const dimension = explorer.place.axes[arrow[0]];
      moveOne(dimension, explorer.place.u[dimension] + arrow[1] * (event.shiftKey ? FAR : STEP), event.timeStamp);
    } else if (/^[1-9]$/.test(key)) {
      const group = page.groups[Number(key) - 1];
      if (group) explorer.pick(group.shown);
    } else if (keys[key] && !(key === ' ' && event.target instanceof HTMLButtonElement)) keys[key]();
    else return;
    event.preventDefault();
  });
  document.addEventListener('keyup', (event) => {
    if (event.key === ' ') bare(false);
    if (arrows[event.key] && explorer.place.u.length) explorer.commit();
  });
}

/** What one takes along: the hypothesis as an image or an array, and all that the page tells as JSON. */

import {fileName, npy, png, save} from './files';
import {measure} from './measures';
import type {Page} from './screen';

function stem(page: Page): string {
  const {image, place} = page.explorer;
  return `${fileName(image!.name)}_${place.sample === null ? 'point' : `seed${place.seed}_sample${place.sample}`}`;
}

export async function exportPng(page: Page): Promise<void> {
  const {hypothesis, image} = page.explorer;
  if (hypothesis) save(await png(hypothesis.mask, image!.width), `${stem(page)}.png`, 'image/png');
}

export function exportNpy(page: Page): void {
  const {hypothesis, image} = page.explorer;
  if (hypothesis) save(npy(hypothesis.mask, image!.width), `${stem(page)}.npy`, 'application/octet-stream');
}

/** The session as JSON values; sizes in pixels, with the spacing that makes millimetres of them. */
export function sessionFacts(page: Page): object {
  const {explorer, cls} = page, {facts, image, place, wall, hypothesis, loaded, dragged} = explorer;
  const described = (mask: Uint8Array) => {
    const {area, diameter} = measure(mask, image!.width, cls);
    return {area_px: area, longest_diameter_px: diameter};
  };
  return {
    format: 'tf_probunet.explore/1', written: new Date().toISOString(), model: facts.model,
    saved_model_sha256: facts.fingerprint, source: facts.source, classes: facts.classes, measured_class: facts.classes[cls],
    image: {index: image!.index, name: image!.name, size: [image!.height, image!.width], whole_size: image!.wholeSize,
            pixel_spacing_mm: image!.spacing},
    window: page.window,
    hypothesis: hypothesis && {
      noise: [...place.u], latents: [...hypothesis.latents], sample: place.sample, ...described(hypothesis.mask),
    },
    prior: {mean: [...image!.priorMean], stddev: [...image!.priorStddev]},
    wall: wall && {
      seed: wall.seed, count: wall.count, present: wall.measures(cls).filter(({area}) => area).length,
      counted_as_one_below_distance: page.tolerance,
      groups: page.groups.map(({shown, members}) => ({shown, members, share: members.length / wall.count, ...described(wall.masks[shown])})),
      samples: wall.noise.map((u, i) => ({noise: [...u], ...described(wall.masks[i])})),
    },
    graders: image!.graders.map(described),
    timing: {backend: loaded?.backend, drag_to_mask_ms: [...dragged.values], wall_ms: explorer.wallMilliseconds},
  };
}

export function exportJson(page: Page): void {
  if (page.explorer.image) save(JSON.stringify(sessionFacts(page), null, 1) + '\n', `${stem(page)}.json`, 'application/json');
}

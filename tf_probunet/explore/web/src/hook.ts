/** For tests: what the page shows, as plain values, to be read only. Class maps are base64: quick to hand over. */

import {sessionFacts} from './exporting';
import type {Explorer} from './explorer';
import type {Page} from './screen';

/** Whether the mask is that of the point. */
function settled(explorer: Explorer): boolean {
  const {hypothesis, place} = explorer;
  return !!hypothesis && explorer.latentsOf(place.u).every((value, n) => value === hypothesis.latents[n]);
}

function text(mask: Uint8Array): string {
  return btoa(String.fromCharCode(...mask));
}

export function expose(page: Page, explorer: Explorer): void {
  const read = () => ({
    ready: explorer.ready && !!explorer.wall && !!explorer.hypothesis && explorer.effects.length > 0,
    message: page.message, place: explorer.place, away: explorer.away,
    mask: explorer.hypothesis && text(explorer.hypothesis.mask), latents: explorer.hypothesis && [...explorer.hypothesis.latents],
    seed: explorer.wall?.seed, settled: settled(explorer),
    groups: page.groups, cls: page.cls, backend: explorer.loaded?.backend, dragged: [...explorer.dragged.values],
    computed: [...explorer.computed.values], wallMilliseconds: explorer.wallMilliseconds, window: page.window,
    view: page.viewer.transform(), zoom: page.viewer.zoom, effects: explorer.effects,
  });
  Object.defineProperty(window, '__probunet', {value: Object.freeze({read, session: () => sessionFacts(page),
                                                            wall: () => explorer.wall!.masks.map(text)})});
}

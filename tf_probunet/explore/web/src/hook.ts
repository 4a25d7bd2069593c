/** For tests: what the page shows, as plain values, to be read only. */

import {sessionFacts} from './exporting';
import type {Explorer} from './explorer';
import type {Page} from './screen';

export function expose(page: Page, explorer: Explorer): void {
  const read = () => ({
    ready: explorer.ready && !!explorer.wall && !!explorer.hypothesis && explorer.effects.length > 0,
    message: page.message, place: explorer.place, away: explorer.away,
    mask: explorer.hypothesis && [...explorer.hypothesis.mask], latents: explorer.hypothesis && [...explorer.hypothesis.latents],
    wall: explorer.wall && {masks: explorer.wall.masks.map((mask) => [...mask]), seed: explorer.wall.seed},
    groups: page.groups, cls: page.cls, backend: explorer.loaded?.backend, dragged: [...explorer.dragged.values],
    computed: [...explorer.computed.values], wallMilliseconds: explorer.wallMilliseconds, window: page.window,
    view: page.viewer.transform(), zoom: page.viewer.zoom, effects: explorer.effects,
  });
  Object.defineProperty(window, '__probunet', {value: Object.freeze({read, session: () => sessionFacts(page)})});
}

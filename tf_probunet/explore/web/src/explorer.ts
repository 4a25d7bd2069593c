/** What is explored, apart from how it looks: loads images, draws walls, follows the point. */

import {checkAlive, getCombiner, getImage, getNoise, ImagePayload, SessionFacts} from './api';
import {Engine} from './engine';
import {countDifferences, misfit, otherVersion} from './fit';
import type {Backend, Loaded} from './protocol';
import {Place, Recent, samePlace, toLatents} from './state';
import {Undo} from './undo';
import {effects, Wall} from './wall_data';

const HEARTBEAT = 4000;
const TOLERATED = 0.02;  // share of pixels that may differ where the file's weights are rounded

export interface Hypothesis {
  mask: Uint8Array;
  logits: Float32Array;
  latents: Float32Array;
}

export interface Screen {
  showImage(): void;
  showWall(): void;
  showEffects(): void;
  showPoint(): void;          // at once, when it moves
  showHypothesis(): void;     // when its mask is there
  showMessage(words: string | null, retry: (() => void) | null): void;
  showStatus(): void;
}

export class Explorer {
  image: ImagePayload | null = null;
  wall: Wall | null = null;
  hypothesis: Hypothesis | null = null;
  effects: number[] = [];
  loaded: Loaded | null = null;
  place: Place;
  readonly dragged = new Recent();    // ms from the event to the drawn mask
  readonly computed = new Recent();   // ms a hypothesis
  wallMilliseconds = 0;               // from asking for its noise to the drawn wall
  undo: Undo<Place>;
  away = false;
  ready = false;                      // whether hypotheses can be drawn
  private readonly engine = new Engine();
  precision = 'float32';
  differing = 0;                      // pixels, at the prior mean, between the file and the model
  private compiledFor = '';
  private wanted: {time: number | null} | null = null;
  private following = false;
  private loads = 0;

  constructor(readonly facts: SessionFacts, private readonly screen: Screen, private readonly backend: Backend | null) {
    this.place = {index: 0, seed: facts.seed, u: [], sample: null, axes: [0, 1]};
    this.undo = new Undo(this.place, samePlace);
    setInterval(() => void this.heartbeat(), HEARTBEAT);
  }

  get latentDim(): number {
    return this.image?.priorMean.length ?? 0;
  }

  latentsOf(u: ArrayLike<number>): Float32Array {
    return toLatents(u, this.image!.priorMean, this.image!.priorStddev);
  }

  /** Shows an image; `place` where one comes back to it. */
  async open(index: number, place: Place | null = null): Promise<void> {
    const load = ++this.loads;
    try {
      const image = await getImage(index);
      if (load !== this.loads) return;
      this.ready = false;  // from here on the worker may hold another image than the page
      this.image = image;
      this.place = place ?? {...this.place, index, u: new Array(this.latentDim).fill(0), sample: null};
      this.wall = null;
      this.hypothesis = null;
      this.effects = [];
      this.screen.showMessage(null, null);
      this.screen.showImage();
      if (!await this.prepare(image, () => load === this.loads)) return;
      this.ready = true;
      await this.follow(null);
      await this.drawWall();
      if (load !== this.loads) return;
      this.effects = await effects(this.engine, this.wall!, (u) => this.latentsOf(u), image.height * image.width);
      if (load !== this.loads) return;
      if (!place) {
        const [first, second] = this.effects.map((effect, n) => [effect, n]).sort((a, b) => b[0] - a[0]);
        this.place = {...this.place, axes: [first[1], (second ?? first)[1]].sort((a, b) => a - b) as [number, number]};
        this.undo.commit(this.place);
      }
      this.screen.showEffects();
      this.screen.showPoint();
      this.screen.showStatus();
    } catch (error) {
      if (load === this.loads) this.screen.showMessage(words(error), () => void this.open(index, place));
    }
  }

  /** Draws the wall of another seed. */
  async redraw(seed: number): Promise<void> {
    if (!this.ready) return;
    const {seed: before, sample} = this.place;
    try {
      this.place = {...this.place, seed, sample: null};
      await this.drawWall();
      this.undo.commit(this.place);
      this.screen.showPoint();
    } catch (error) {
      this.place = {...this.place, seed: before, sample};
      this.screen.showMessage(words(error), () => void this.redraw(seed));
    }
  }

  /** Moves the point; `time` is that of the event, for the figure on the page. */
  move(u: readonly number[], time: number | null, sample: number | null = null): void {
    this.place = {...this.place, u, sample};
    this.screen.showPoint();
    void this.follow(time);
  }

  /** Lets undo come back to where one is. */
  commit(): void {
    this.undo.commit(this.place);
    this.screen.showPoint();
  }

  setAxes(axes: [number, number]): void {
    this.place = {...this.place, axes};
    this.commit();
  }

  /** Goes to a sample of the wall. */
  pick(sample: number): void {
    if (!this.wall) return;
    this.move(Array.from(this.wall.noise[sample]), performance.now(), sample);
    this.commit();
  }

  /** Goes one step back or forth. */
  async step(way: 'undo' | 'redo'): Promise<void> {
    const place = this.undo[way]();
    if (!place) return;
    if (place.index !== this.image?.index) return this.open(place.index, place);
    const seed = this.place.seed;
    this.place = place;
    this.screen.showPoint();
    void this.follow(null);
    if (place.seed === seed || !this.ready) return;
    try {
      await this.drawWall();
    } catch (error) {
      this.screen.showMessage(words(error), null);
    }
  }

  /**
   * Gives the worker the combiner for an image's size, and its features. False where another image has been opened
   * meanwhile: the worker is then that one's.
   */
  private async prepare(image: ImagePayload, wanted: () => boolean): Promise<boolean> {
    const size = `${image.height}x${image.width}`;
    if (this.compiledFor !== size) {
      const combiner = await getCombiner(image.height, image.width);
      if (!wanted()) return false;
      const other = otherVersion(combiner.fingerprint, this.facts.fingerprint);
      if (other) throw new Error(other);
      this.compiledFor = '';
      const loaded = await this.engine.load(combiner.content, this.backend);
      if (!wanted()) return false;
      this.loaded = loaded;
      this.precision = combiner.precision;
    }
    const wrong = misfit(this.loaded!.shapes, {
      height: image.height, width: image.width, channels: image.features.shape[2], latentDim: image.priorMean.length,
      numClasses: image.reference.shape[2],
    });
    if (wrong) throw new Error(wrong);
    this.compiledFor = size;
    await this.engine.setFeatures(image.features.data);
    if (!wanted()) return false;
    const {masks} = await this.engine.run(image.priorMean);
    if (!wanted()) return false;
    this.differing = countDifferences(masks, image.reference.data, image.reference.shape[2]);
    if (this.differing > (this.precision === 'float32' ? 0 : TOLERATED * masks.length)) {
      this.compiledFor = '';
      throw new Error(`The combiner file draws another segmentation than the model itself: ${this.differing} pixels differ at ` +
        'the mean of the prior. It is of another model, or of another version of it. Convert this one with ' +
        '`probunet convert` and give that file.');
    }
    return true;
  }

  private async drawWall(): Promise<void> {
    const image = this.image!, {seed} = this.place, begun = performance.now();
    const noise = await getNoise(this.latentDim, seed);
    const rows = Array.from({length: noise.shape[0]}, (_, i) => noise.data.subarray(i * this.latentDim, (i + 1) * this.latentDim));
    const wall = await Wall.draw(this.engine, seed, rows, (u) => this.latentsOf(u), image.reference.shape[2], image.width,
                                 image.height * image.width);
    if (image !== this.image || seed !== this.place.seed) return;
    this.wall = wall;
    this.screen.showWall();
    this.wallMilliseconds = performance.now() - begun;
    this.screen.showHypothesis();
    this.screen.showStatus();
  }

  /** Computes the mask at the point, again as long as the point moves meanwhile. */
  private async follow(time: number | null): Promise<void> {
    if (!this.ready) return;
    this.wanted = {time: this.wanted?.time ?? time};
    if (this.following) return;
    this.following = true;
    try {
      while (this.wanted) {
        const {time: since}: {time: number | null} = this.wanted, image = this.image!;
        this.wanted = null;
        const latents = this.latentsOf(this.place.u);
        const ran = await this.engine.run(latents, {logits: true});
        if (image !== this.image || !this.ready) continue;
        this.hypothesis = {mask: ran.masks, logits: ran.logits!, latents};
        this.screen.showHypothesis();
        this.computed.add(ran.milliseconds);
        if (since !== null) this.dragged.add(performance.now() - since);
        this.screen.showStatus();
      }
    } catch (error) {
      this.screen.showMessage(words(error), null);
    } finally {
      this.following = false;
    }
  }

  private async heartbeat(): Promise<void> {
    if (document.hidden) return;
    try {
      await checkAlive();
      if (this.away) this.screen.showMessage(null, null);
      this.away = false;
    } catch (error) {
      if (!this.away) this.screen.showMessage(words(error), () => void this.heartbeat());
      this.away = true;
    }
    this.screen.showStatus();
  }
}

export function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

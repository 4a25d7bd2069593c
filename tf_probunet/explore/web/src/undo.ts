/** Steps back and forth through states, which are values that nobody changes. */

export class Undo<T> {
  private past: T[] = [];
  private future: T[] = [];

  constructor(private now: T, private readonly same: (a: T, b: T) => boolean, private readonly most = 200) {}

  /** Remembers a state that one can come back to. */
  commit(state: T): void {
    if (this.same(state, this.now)) return;
    this.past.push(this.now);
    if (this.past.length > this.most) this.past.shift();
    this.now = state;
    this.future = [];
  }

  undo(): T | null {
    return this.move(this.past, this.future);
  }

  redo(): T | null {
    return this.move(this.future, this.past);
  }

  get canUndo(): boolean {
    return this.past.length > 0;
  }

  get canRedo(): boolean {
    return this.future.length > 0;
  }

  private move(from: T[], to: T[]): T | null {
    const state = from.pop();
    if (state === undefined) return null;
    to.push(this.now);
    this.now = state;
    return state;
  }
}

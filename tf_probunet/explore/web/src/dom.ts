/** Short ways to elements. */

/** The element with an id; the page has it. */
export function byId<T extends Element = HTMLElement>(id: string): T {
  return document.getElementById(id) as unknown as T;
}

/** A new SVG element. */
export function svg(name: string, attributes: Record<string, string | number> = {}, text = ''): SVGElement {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  if (text) made.textContent = text;
  return made;
}

/** A new HTML element. */
export function html<K extends keyof HTMLElementTagNameMap>(name: K, attributes: Record<string, string> = {},
                                                           text = ''): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

export function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
/** Sets aria-pressed, and with it how a button that stays down looks. */
export function press(button: Element, down: boolean): void {
  button.setAttribute('aria-pressed', String(down));
}

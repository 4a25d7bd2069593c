/** Lines of equal value in a map whose values lie at pixel centres, by marching squares, joined to paths. */

export type Line = number[];  // x0, y0, x1, y1, ... in pixels, (0, 0) the upper left corner of the image

type Segment = [number, number, number, number, string];  // from, to, and the edge on which it ends

/** Paths along which `value(x, y)` equals `level`; what lies outside of the image counts as below it. */
export function contours(value: (x: number, y: number) => number, width: number, height: number, level: number): Line[] {
  const at = (x: number, y: number) => (x < 0 || y < 0 || x >= width || y >= height ? -Infinity : value(x, y) - level);
  const next = new Map<string, Segment>();
  const point = (x: number, y: number, a: number, b: number, vertical: boolean): [number, number, string] => {
    // Where the value crosses between (x, y) and its neighbour; half way at the border.
    const t = Number.isFinite(a) && Number.isFinite(b) ? Math.min(0.999, Math.max(0.001, a / (a - b))) : 0.5;
    return vertical ? [x + 0.5, y + 0.5 + t, `v${x},${y}`] : [x + 0.5 + t, y + 0.5, `h${x},${y}`];
  };
  for (let y = -1; y < height; y++) {
    for (let x = -1; x < width; x++) {
      const a = at(x, y), b = at(x + 1, y), c = at(x + 1, y + 1), d = at(x, y + 1);
      const kind = (a > 0 ? 8 : 0) | (b > 0 ? 4 : 0) | (c > 0 ? 2 : 0) | (d > 0 ? 1 : 0);
      if (kind === 0 || kind === 15) continue;
      const top = () => point(x, y, a, b, false), right = () => point(x + 1, y, b, c, true);
      const bottom = () => point(x, y + 1, d, c, false), left = () => point(x, y, a, d, true);
      // Directed so that what is above the level lies to the right.
      const segments: Record<number, (() => [number, number, string])[]> = {
        8: [left, top], 4: [top, right], 2: [right, bottom], 1: [bottom, left], 12: [left, right], 6: [top, bottom],
        3: [right, left], 9: [bottom, top], 14: [left, bottom], 7: [top, left], 11: [right, top], 13: [bottom, right],
        10: [left, top, right, bottom], 5: [top, right, bottom, left],
      };
      const found = segments[kind];
      for (let i = 0; i < found.length; i += 2) {
        const from = found[i](), to = found[i + 1]();
        next.set(from[2], [from[0], from[1], to[0], to[1], to[2]]);
      }
    }
  }
  return join(next);
}

function join(next: Map<string, Segment>): Line[] {
  const lines: Line[] = [];
  while (next.size) {
    let [key] = next.keys();
    const line: Line = [];
    for (let segment = next.get(key); segment; segment = next.get(key)) {
      next.delete(key);
      if (!line.length) line.push(segment[0], segment[1]);
      line.push(segment[2], segment[3]);
      key = segment[4];
    }
    lines.push(line);
  }
  return lines;
}

/** Outline of one class of a class map. */
export function outline(mask: Uint8Array, width: number, cls: number): Line[] {
  return contours((x, y) => (mask[y * width + x] === cls ? 1 : -1), width, mask.length / width, 0);
}

/** As one path to stroke. */
export function toPath(lines: Line[]): Path2D {
  const path = new Path2D();
  for (const line of lines) {
    path.moveTo(line[0], line[1]);
    for (let i = 2; i < line.length; i += 2) path.lineTo(line[i], line[i + 1]);
    if (line[0] === line[line.length - 2] && line[1] === line[line.length - 1]) path.closePath();
  }
  return path;
}

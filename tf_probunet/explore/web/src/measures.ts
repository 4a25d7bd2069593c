/** Size of one class in a class map: area, and the longest diameter of its largest piece, as a radiologist measures. */

export interface Measures {
  area: number;      // pixels
  diameter: number;  // pixels, 0 where the class is absent
}

/** Measures class `cls` of a map [H, W]. */
export function measure(mask: Uint8Array, width: number, cls: number): Measures {
  let area = 0;
  for (let i = 0; i < mask.length; i++) if (mask[i] === cls) area++;
  return {area, diameter: area ? longest(largestPiece(mask, width, cls), width) : 0};
}

/** Pixels of the largest piece of the class; pixels that touch at a corner belong together. */
function largestPiece(mask: Uint8Array, width: number, cls: number): number[] {
  const height = mask.length / width, seen = new Uint8Array(mask.length);
  let best: number[] = [];
  for (let start = 0; start < mask.length; start++) {
    if (mask[start] !== cls || seen[start]) continue;
    const piece = [start];
    seen[start] = 1;
    for (let next = 0; next < piece.length; next++) {
      const x = piece[next] % width, y = (piece[next] - x) / width;
      for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
        for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) {
          const i = v * width + u;
          if (mask[i] === cls && !seen[i]) {
            seen[i] = 1;
            piece.push(i);
          }
        }
      }
    }
    if (piece.length > best.length) best = piece;
  }
  return best;
}

/** Largest distance between two corners of the pixels. */
function longest(piece: number[], width: number): number {
  const ends = new Map<number, [number, number]>();  // of each row of corners: leftmost and rightmost
  for (const i of piece) {
    const x = i % width, y = (i - x) / width;
    for (const row of [y, y + 1]) {
      const found = ends.get(row);
      if (!found) ends.set(row, [x, x + 1]);
      else {
        found[0] = Math.min(found[0], x);
        found[1] = Math.max(found[1], x + 1);
      }
    }
  }
  const corners: [number, number][] = [];
  for (const [y, [left, right]] of ends) corners.push([left, y], [right, y]);
  let best = 0;
  for (let a = 0; a < corners.length; a++) {
    for (let b = a + 1; b < corners.length; b++) {
      best = Math.max(best, (corners[a][0] - corners[b][0]) ** 2 + (corners[a][1] - corners[b][1]) ** 2);
    }
  }
  return Math.sqrt(best);
}

/** "8.3 mm", or "12 px" where nobody told how large a pixel is. */
export function length(pixels: number, spacing: number | null): string {
  return spacing ? `${(pixels * spacing).toFixed(1)} mm` : `${pixels.toFixed(1)} px`;
}

/** "54 mm²", or "217 px". */
export function areaText(pixels: number, spacing: number | null): string {
  if (!spacing) return `${Math.round(pixels)} px`;
  const mm = pixels * spacing * spacing;
  return `${mm < 10 ? mm.toFixed(1) : Math.round(mm)} mm²`;
}

/** Middle of numbers. */
export function median(values: ArrayLike<number>): number {
  if (!values.length) return NaN;
  const sorted = Float64Array.from(values).sort(), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Files that the page writes: class maps as PNG with a palette and as NPY, anything as JSON. */

import {classColour} from './palette';

/** An NPY file of uint8 [H, W]. */
export function npy(mask: Uint8Array, width: number): Uint8Array {
  const text = `{'descr': '|u1', 'fortran_order': False, 'shape': (${mask.length / width}, ${width}), }`;
  const padded = text + ' '.repeat((64 - ((10 + text.length + 1) % 64)) % 64) + '\n';
  const head = new Uint8Array([0x93, ...new TextEncoder().encode('NUMPY'), 1, 0, padded.length & 255, padded.length >> 8]);
  return joined([head, new TextEncoder().encode(padded), mask]);
}

/** A PNG whose pixels are class numbers and whose palette shows them, as `probunet sample` writes it. */
export async function png(mask: Uint8Array, width: number): Promise<Uint8Array> {
  const height = mask.length / width, rows = new Uint8Array(height * (width + 1));
  for (let y = 0; y < height; y++) rows.set(mask.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  const colours = new Uint8Array(Array.from({length: 256}, (_, k) => classColour(k)).flat());
  const header = new Uint8Array(13), view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, 3, 0, 0, 0], 8);  // 8 bit, palette
  const stream = new Blob([rows as BlobPart]).stream().pipeThrough(new CompressionStream('deflate'));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  return joined([new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]), chunk('IHDR', header), chunk('PLTE', colours),
                 chunk('IDAT', packed), chunk('IEND', new Uint8Array())]);
}

/** Lets the browser save a file. */
export function save(content: Uint8Array | string, name: string, type: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([content as BlobPart], {type}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A name without what file systems dislike. */
export function fileName(text: string): string {
  return text.replace(/\.(png|npy)$/i, '').replace(/[^\w.-]+/g, '_').slice(-80) || 'image';
}

function chunk(kind: string, content: Uint8Array): Uint8Array {
  const named = joined([new TextEncoder().encode(kind), content]), ends = new Uint8Array(8), view = new DataView(ends.buffer);
  view.setUint32(0, content.length);
  view.setUint32(4, crc(named));
  return joined([ends.subarray(0, 4), named, ends.subarray(4)]);
}

function crc(bytes: Uint8Array): number {
  let value = ~0;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  return ~value >>> 0;
}

function joined(parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let start = 0;
  for (const part of parts) {
    all.set(part, start);
    start += part.length;
  }
  return all;
}

/** Reads what tf_probunet/explore/payload.py packs: a JSON header, then arrays as they lie in memory. */

export type Numbers = Uint8Array | Uint16Array | Float32Array;

export interface NamedArray<T extends Numbers = Numbers> {
  data: T;
  shape: number[];
}

const KINDS = {uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array};

/** Splits a reply into facts and arrays, which are views of its memory. */
export function unpack(content: ArrayBuffer): {facts: any; arrays: Record<string, NamedArray<any>>} {
  const bytes = new DataView(content);
  if (content.byteLength < 8 || bytes.getUint32(0) !== 0x50555831) {
    throw new Error('What answers at this address is not probunet explore of the same version. Start it anew.');
  }
  const start = 8 + bytes.getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 8, start - 8)));
  const arrays: Record<string, NamedArray<any>> = {};
  for (const [name, one] of Object.entries<any>(header.arrays)) {
    const size = one.shape.reduce((a: number, b: number) => a * b, 1);
    arrays[name] = {data: new KINDS[one.dtype as keyof typeof KINDS](content, start + one.offset, size), shape: one.shape};
  }
  return {facts: header.facts, arrays};
}

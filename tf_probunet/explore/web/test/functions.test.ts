import {expect, test} from 'vitest';
import {classify} from '../src/classify';
import {contours, outline} from '../src/contours';
import {fileName, npy, png} from '../src/files';
import {countDifferences, misfit, otherVersion} from '../src/fit';
import {areaText, length, measure, median} from '../src/measures';
import {Distances, group, seriate} from '../src/order';
import {samePlace, toLatents} from '../src/state';
import {Undo} from '../src/undo';

const mask = (...rows: string[]) => Uint8Array.from(rows.join(''), Number);

test('sizes: all pieces for the area, the largest for the diameter, corner to corner', () => {
  const two = mask('11100', '00000', '00001', '00001');
  expect(measure(two, 5, 1)).toEqual({area: 5, diameter: Math.hypot(3, 1)});
  expect(measure(mask('100', '010', '001'), 3, 1).diameter).toBeCloseTo(Math.hypot(3, 3));
  expect(measure(two, 5, 2)).toEqual({area: 0, diameter: 0});
});

test('sizes in words never invent a unit', () => {
  expect([length(10, 0.5), length(10, null)]).toEqual(['5.0 mm', '10.0 px']);
  expect([areaText(100, 0.5), areaText(10, 0.5), areaText(10, null)]).toEqual(['25 mm²', '2.5 mm²', '10 px']);
  expect([median([3, 1, 2]), median([4, 1]), median([])]).toEqual([2, 2.5, NaN]);
});

test('distance is 1 - IoU over foreground classes', () => {
  const distances = new Distances([mask('0110'), mask('0111'), mask('0000'), mask('0000'), mask('2110')], 3);
  expect(distances.between(0, 1)).toBeCloseTo(1 / 3);
  expect(distances.between(2, 3)).toBe(0);
  expect(distances.between(0, 2)).toBe(1);
  expect(distances.between(0, 4)).toBeCloseTo(0.5);  // class 1 agrees, class 2 is in one only
});

test('identical masks are one; with a tolerance, no two of a group differ by more', () => {
  const masks = [mask('1110'), mask('0000'), mask('1110'), mask('1111'), mask('0000'), mask('0000')];
  const matrix = new Distances(masks, 2).matrix();
  expect(group(matrix, 0).map(({members}) => members)).toEqual([[0, 2], [1, 4, 5], [3]]);
  expect(group(matrix, 0.25).map(({members}) => members)).toEqual([[0, 2, 3], [1, 4, 5]]);
  expect(group(matrix, 0.25)[0].shown).toBe(0);
});

test('neighbours are alike and small ones come first', () => {
  const sizes = [5, 1, 4, 2, 3], masks = sizes.map((size) => Uint8Array.from({length: 6}, (_, i) => (i < size ? 1 : 0)));
  const order = seriate(new Distances(masks, 2).matrix(), [0, 1, 2, 3, 4], (item) => sizes[item]);
  expect(order.map((item) => sizes[item])).toEqual([1, 2, 3, 4, 5]);
});

test('classes: ties go to the first, probabilities add up', () => {
  const masks = new Uint8Array(2), sums = new Float32Array(4);
  classify(Float32Array.from([0, 0, 1, 3]), 2, 2, masks, sums);
  expect([...masks]).toEqual([0, 1]);
  expect(sums[0] + sums[2]).toBeCloseTo(1);
  expect(sums[3]).toBeCloseTo(1 / (1 + Math.exp(-2)));
  const three = new Float32Array(3);
  classify(Float32Array.from([1, 2, 3, 3, 2, 1]), 3, 1, masks, three);
  expect([...masks]).toEqual([2, 0]);
  expect(three[0] + three[1] + three[2]).toBeCloseTo(2);
});

test('contours are closed and lie where the value is crossed', () => {
  const field = (x: number, y: number) => 3 - Math.hypot(x - 5, y - 5);
  const lines = contours(field, 11, 11, 0);
  expect(lines).toHaveLength(1);
  for (let i = 0; i < lines[0].length; i += 2) {
    expect(Math.abs(Math.hypot(lines[0][i] - 5.5, lines[0][i + 1] - 5.5) - 3)).toBeLessThan(0.1);
  }
  expect(lines[0].slice(0, 2)).toEqual(lines[0].slice(-2));
  expect(outline(mask('1001', '0000', '0110'), 4, 1)).toHaveLength(3);
  expect(outline(mask('1010', '0101'), 4, 1).every((line) => line[0] === line[line.length - 2])).toBe(true);
});

test('what does not fit is told', () => {
  const model = {height: 64, width: 64, channels: 32, latentDim: 6, numClasses: 2};
  const file = {features: [1, 64, 64, 32], latents: [1, 1, 1, 6], logits: [1, 64, 64, 2]};
  expect(misfit(file, model)).toBeNull();
  expect(misfit({...file, features: [1, 64, 64, 16]}, model)).toContain('it has 16 feature channels; this model has 32');
  expect(misfit({...file, features: [1, 32, 64, 32]}, model)).toContain('32x64 pixels; this image\'s are 64x64');
  expect(otherVersion('a', 'a') ?? otherVersion(null, 'a') ?? otherVersion('a', null)).toBeNull();
  expect(otherVersion('a', 'b')).toContain('another version');
  const reference = Float32Array.from([0, 1, 0, 0.0005, 1, 0]);
  expect(countDifferences(Uint8Array.from([1, 0, 0]), reference, 2)).toBe(0);
  expect(countDifferences(Uint8Array.from([0, 1, 1]), reference, 2)).toBe(2);
});

test('latents are rounded as float32 after each step', () => {
  const [z] = toLatents([0.1], Float32Array.of(0.3), Float32Array.of(0.7));
  expect(z).toBe(Math.fround(Math.fround(0.3) + Math.fround(Math.fround(0.7) * Math.fround(0.1))));
});

test('undo goes back, redo forth, and a new step ends what was undone', () => {
  const undo = new Undo(0, (a, b) => a === b);
  for (const value of [1, 1, 2]) undo.commit(value);
  expect([undo.undo(), undo.undo(), undo.undo(), undo.redo()]).toEqual([1, 0, null, 1]);
  undo.commit(5);
  expect([undo.canRedo, undo.redo(), undo.undo()]).toEqual([false, null, 1]);
  const place = {index: 0, seed: 0, u: [0], sample: null, axes: [0, 1] as const};
  expect([samePlace(place, {...place, u: [0]}), samePlace(place, {...place, u: [1]})]).toEqual([true, false]);
});

test('files', async () => {
  const file = npy(mask('10', '01', '11'), 2);
  expect(new TextDecoder('latin1').decode(file.subarray(1, 6))).toBe('NUMPY');
  expect((file.length - 6) % 64).toBe(0);
  expect((await png(mask('10', '01'), 2)).subarray(1, 4)).toEqual(Uint8Array.from([80, 78, 71]));
  expect(fileName('LIDC-IDRI-0001/n00.png')).toBe('LIDC-IDRI-0001_n00');
});

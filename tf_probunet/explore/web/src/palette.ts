/** Colours that are told apart without colour vision (Okabe and Ito), with a number and a name beside each class. */

export const HYPOTHESIS = '#ffb000', GRADER = '#6cc5ff', MEAN = '#f2f2f2';

const BASE = [
  [0, 0, 0], [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167],
];

/** Colour of a class; after the eighth they come again, lighter and darker, and numbers tell them apart. */
export function classColour(cls: number): [number, number, number] {
  if (cls < BASE.length) return BASE[cls] as [number, number, number];
  const [r, g, b] = BASE[1 + ((cls - 1) % (BASE.length - 1))];
  const round = Math.floor((cls - 1) / (BASE.length - 1)), towards = round % 2 ? 255 : 0, share = Math.min(0.25 * Math.ceil(round / 2) + 0.15, 1);
  return [r, g, b].map((value) => Math.round(value + (towards - value) * share)) as [number, number, number];
}

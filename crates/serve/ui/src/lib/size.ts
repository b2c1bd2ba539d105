// Sizes that a model of a given side draws well: about its own number of pixels, in common shapes.

export interface Preset {
  name: string;
  width: number;
  height: number;
}

const SHAPES: [string, number][] = [['1:1', 1], ['3:4', 3 / 4], ['4:3', 4 / 3], ['9:16', 9 / 16], ['16:9', 16 / 9]];

/** Multiples of 8 for small models, of 64 for large ones. */
export function presets(side: number): Preset[] {
  const grid = side >= 512 ? 64 : 8;
  const even = (pixels: number) => Math.max(grid, Math.round(pixels / grid) * grid);
  return SHAPES.map(([name, ratio]) => {
    const width = even(side * Math.sqrt(ratio));
    return { name, width, height: ratio === 1 ? width : even(side / Math.sqrt(ratio)) };
  });
}

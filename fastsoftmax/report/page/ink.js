// From strokes to an image in the form of MNIST's: the ink fits a box of 20 / 28 of the image, its aspect kept, and its
// centre of mass lies in the middle. Strokes are lists of points [x, y], y downwards; their unit is a side of the canvas.

const BOX = 20 / 28;
const PEN = 2.8 / 28; // the width of a line; MNIST's are some 2.7 pixels wide: ink by length of its 1s and 0s
const EDGE = 0.9; // pixels over which ink fades
const LEAST = 0.1; // of the canvas: smaller drawings are not magnified beyond what this one is

function bounds(strokes) {
  const xs = strokes.flat().map((p) => p[0]);
  const ys = strokes.flat().map((p) => p[1]);
  const of = (all) => all.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  return [...of(xs), ...of(ys)];
}

// How much of each pixel lies under lines of this radius, 0 to 1; centres of pixels are at whole numbers.
function covered(strokes, height, width, radius) {
  const image = new Float64Array(height * width);
  const reach = radius + EDGE / 2;
  for (const stroke of strokes) {
    for (let i = 0; i < stroke.length; i++) {
      const [ax, ay] = stroke[Math.max(0, i - 1)];
      const [bx, by] = stroke[i];
      const [dx, dy] = [bx - ax, by - ay];
      const length = dx * dx + dy * dy;
      const top = Math.max(0, Math.ceil(Math.min(ay, by) - reach));
      const bottom = Math.min(height - 1, Math.floor(Math.max(ay, by) + reach));
      const left = Math.max(0, Math.ceil(Math.min(ax, bx) - reach));
      const right = Math.min(width - 1, Math.floor(Math.max(ax, bx) + reach));
      for (let y = top; y <= bottom; y++) {
        for (let x = left; x <= right; x++) {
          const t = length > 0 ? Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
          const distance = Math.hypot(x - ax - t * dx, y - ay - t * dy);
          const share = Math.min(1, Math.max(0, (reach - distance) / EDGE));
          image[y * width + x] = Math.max(image[y * width + x], share);
        }
      }
    }
  }
  return image;
}

function centre(image, height, width) {
  let [sum, x, y] = [0, 0, 0];
  image.forEach((v, i) => {
    sum += v;
    x += v * (i % width);
    y += v * Math.floor(i / width);
  });
  return sum > 0 ? [x / sum, y / sum] : [width / 2, height / 2];
}

// Ink from 0 to 255 on each pixel.
function imageOf(strokes, height, width) {
  const side = Math.min(height, width);
  const drawn = strokes.filter((stroke) => stroke.length > 0);
  if (drawn.length === 0) return new Uint8ClampedArray(height * width);
  const radius = (PEN * side) / 2;
  const [left, right, top, bottom] = bounds(drawn);
  const scale = (BOX * side - 2 * radius) / Math.max(right - left, bottom - top, LEAST);
  const placed = (x, y) =>
    drawn.map((stroke) =>
      stroke.map((p) => [x + (p[0] - (left + right) / 2) * scale, y + (p[1] - (top + bottom) / 2) * scale]),
    );
  const [x, y] = centre(covered(placed(width / 2, height / 2), height, width, radius), height, width);
  const share = covered(placed(width - x, height - y), height, width, radius);
  return Uint8ClampedArray.from(share, (v) => Math.round(255 * v));
}

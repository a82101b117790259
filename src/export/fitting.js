"use strict";
// How a picture fills the network's input, byte for byte as fit_picture of demos/classifier.py with Pillow.
// Pictures are RGB, height x width x 3 bytes.

const PRECISION = 22; // bits of a weight after the point, as in Pillow's Resample.c

const FITS = {
  letterbox(width, height, intoWidth, intoHeight) {
    const scale = Math.min(intoWidth / width, intoHeight / height);
    return [Math.max(1, roundHalfEven(width * scale)), Math.max(1, roundHalfEven(height * scale))];
  },
  crop(width, height, intoWidth, intoHeight) {
    const isWide = width * intoHeight >= height * intoWidth;
    if (isWide) return [Math.floor((width * intoHeight) / height), intoHeight];
    return [intoWidth, Math.floor((height * intoWidth) / width)];
  },
  stretch(width, height, intoWidth, intoHeight) {
    return [intoWidth, intoHeight];
  },
};

// Python's round of a number that is not negative.
function roundHalfEven(value) {
  const whole = Math.floor(value), rest = value - whole;
  return rest > 0.5 || (rest === 0.5 && whole % 2 === 1) ? whole + 1 : whole;
}

// The picture resized, its centre on that of the input; intoHeight x intoWidth x 3 bytes.
function fitPicture(pixels, height, width, intoHeight, intoWidth, fit) {
  const [columns, rows] = FITS[fit](width, height, intoWidth, intoHeight);
  const seenColumns = Math.min(columns, intoWidth), seenRows = Math.min(rows, intoHeight);
  const left = roundHalfEven((columns - seenColumns) / 2); // cut off, as is the top
  const top = roundHalfEven((rows - seenRows) / 2);
  const x = [(left * width) / columns, ((left + seenColumns) * width) / columns];
  const y = [(top * height) / rows, ((top + seenRows) * height) / rows];
  const resized = resize(pixels, height, width, seenRows, seenColumns, y, x);

  const canvas = new Uint8ClampedArray(intoHeight * intoWidth * 3);
  const over = Math.floor((intoWidth - seenColumns) / 2), down = Math.floor((intoHeight - seenRows) / 2);
  for (let row = 0; row < seenRows; row++) {
    const line = resized.subarray(row * seenColumns * 3, (row + 1) * seenColumns * 3);
    canvas.set(line, ((down + row) * intoWidth + over) * 3);
  }
  return canvas;
}

// The part y, x of a picture as rows x columns x 3 bytes. Each pass rounds: their order is that of Pillow 13.
function resize(pixels, height, width, rows, columns, y, x) {
  if (height > rows && height - rows > 2 * (width - columns)) {
    const low = resample(pixels, 1, height, width * 3, rows, y);
    return resample(low, rows, width, 3, columns, x);
  }
  const narrow = resample(pixels, height, width, 3, columns, x);
  return resample(narrow, 1, height, columns * 3, rows, y);
}

// Bytes (outer, size, inner) -> (outer, target, inner): the part from..to of the middle axis, bilinear.
function resample(bytes, outer, size, inner, target, [from, to]) {
  const start = Math.fround(from), end = Math.fround(to); // Pillow's boxes are float32
  if (target === size && start === 0 && end === size) return bytes;
  const taps = findTaps(size, target, start, end);
  const result = new Uint8ClampedArray(outer * target * inner);
  for (let line = 0, at = 0; line < outer; line++) {
    for (const [first, weights] of taps) {
      const begin = (line * size + first) * inner;
      for (let offset = 0; offset < inner; offset++) {
        let sum = 1 << (PRECISION - 1);
        for (let tap = 0, place = begin + offset; tap < weights.length; tap++, place += inner) {
          sum += weights[tap] * bytes[place];
        }
        result[at++] = sum >> PRECISION;
      }
    }
  }
  return result;
}

// For each of `target` places: the first pixel that counts, and the weights of it and those after it.
function findTaps(size, target, start, end) {
  const scale = Math.fround(end - start) / target, reach = Math.max(scale, 1); // of the triangle, in pixels
  return Array.from({ length: target }, (_, place) => {
    const centre = start + (place + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const count = Math.min(Math.trunc(centre + reach + 0.5), size) - first;
    const weights = Array.from({ length: count }, (_, tap) => {
      return Math.max(1 - Math.abs((tap + first - centre + 0.5) * (1 / reach)), 0);
    });
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return [first, Int32Array.from(weights, (weight) => 0.5 + (weight / sum) * (1 << PRECISION))];
  });
}

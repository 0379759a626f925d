// The markers of the samples, by the names that matplotlib has for them: on canvas and as icons.

/** Corners of a regular polygon, the first on top. */
function ring(count, radius) {
  return Array.from({ length: count }, (_, k) => {
    const angle = (2 * Math.PI * k) / count
    return [radius * Math.sin(angle), -radius * Math.cos(angle)]
  })
}

const CROSS = [
  [0, 0.5], [0.7, 1.2], [1.2, 0.7], [0.5, 0], [1.2, -0.7], [0.7, -1.2],
  [0, -0.5], [-0.7, -1.2], [-1.2, -0.7], [-0.5, 0], [-1.2, 0.7], [-0.7, 1.2],
]
const PLUS = CROSS.map(([x, y]) => [(x - y) * 0.71, (x + y) * 0.71])
const STAR = ring(10, 1.5).map(([x, y], k) => (k % 2 ? [0.4 * x, 0.4 * y] : [x, y]))
const CORNERS = {
  o: ring(24, 1),
  s: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
  D: ring(4, 1.3),
  d: [[0, -1.3], [0.8, 0], [0, 1.3], [-0.8, 0]],
  "^": [[0, -1.2], [1.1, 0.9], [-1.1, 0.9]],
  v: [[0, 1.2], [1.1, -0.9], [-1.1, -0.9]],
  "<": [[-1.2, 0], [0.9, 1.1], [0.9, -1.1]],
  ">": [[1.2, 0], [-0.9, 1.1], [-0.9, -1.1]],
  p: ring(5, 1.2),
  h: ring(6, 1.2),
  X: CROSS,
  P: PLUS,
  "*": STAR,
}

const cornersOf = (marker) => CORNERS[marker] ?? CORNERS.o

/** Lay the outline of a marker around (x, y) on a canvas. */
export function trace(context, marker, x, y, radius) {
  context.beginPath()
  for (const [a, b] of cornersOf(marker)) context.lineTo(x + a * radius, y + b * radius)
  context.closePath()
}

/** A marker as a picture for a legend, on white as in the plane. */
export function icon(colour, marker) {
  const points = cornersOf(marker).map((corner) => corner.map((v) => v.toFixed(2)).join()).join(" ")
  return (
    `<svg class="nla-icon" viewBox="-2 -2 4 4" aria-hidden="true">` +
    `<rect x="-2" y="-2" width="4" height="4" rx="0.8" fill="#fff"></rect>` +
    `<polygon points="${points}" fill="${colour}"></polygon></svg>`
  )
}

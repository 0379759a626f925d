// Which samples are meant: by a loop, a click, a cell, or the keys.

const NEAR = 12 // pixels from a sample that a click may miss it by

/** Whether a point lies in a loop, by the even-odd rule. */
export function inside([x, y], loop) {
  let odd = false
  loop.forEach(([a, b], k) => {
    const [p, q] = loop.at(k - 1)
    const crosses = b > y !== q > y
    if (crosses && x < ((p - a) * (y - b)) / (q - b) + a) odd = !odd
  })
  return odd
}

/** Whether the mouse was drawn further than a hand shakes. */
export function isLoop(loop) {
  const [x, y] = loop[0]
  return loop.some(([a, b]) => Math.hypot(a - x, b - y) > 5)
}

/** The candidate nearest to a point, at most NEAR pixels away; undefined if none is. */
export function nearest(candidates, at, [x, y]) {
  let best,
    least = NEAR
  for (const i of candidates) {
    const [a, b] = at(i)
    const far = Math.hypot(a - x, b - y)
    if (far < least) [best, least] = [i, far]
  }
  return best
}

/** The cell [column, row], from the lower left, of a place in the unit square, if it is in one. */
export function cellOf([x, y], cells) {
  const cell = [Math.floor(x * cells), Math.floor(y * cells)]
  return cell.every((k) => k >= 0 && k < cells) ? cell : undefined
}

/** A selection after a pick: replaced by it, with it added, or with it taken away. */
export function combined(selected, picked, mode) {
  if (mode === "add") return [...new Set([...selected, ...picked])]
  if (mode === "take") {
    const gone = new Set(picked)
    return selected.filter((i) => !gone.has(i))
  }
  return picked
}

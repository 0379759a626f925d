// Where the keyboard is in a picture: on a sample or, where samples are in cells, on a cell.

const ARROWS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
}

/** The cell [column, row] that a key leads to; undefined if it leads nowhere. */
export function movedCell(cell, key, cells) {
  if (!ARROWS[key]) return undefined
  const inside = (k) => Math.min(cells - 1, Math.max(0, k))
  return cell.map((k, axis) => inside(k + ARROWS[key][axis]))
}

/** The sample that a key leads to among the candidates; undefined if it leads nowhere. */
export function movedSample(from, key, candidates, place) {
  if (!candidates.length) return undefined
  if (key in ARROWS) return neighbour(candidates, place, from, ARROWS[key])
  const rank = candidates.indexOf(from)
  const goals = {
    Home: 0,
    End: candidates.length - 1,
    PageUp: Math.max(0, rank - 1),
    PageDown: Math.min(candidates.length - 1, rank + 1),
  }
  return candidates[goals[key]]
}

/** The next sample in a direction, near and not much to the side; the same if none is there. */
function neighbour(candidates, place, from, [right, up]) {
  const [x, y] = place(from)
  let best = from
  let least = Infinity
  for (const i of candidates) {
    const [a, b] = place(i)
    const ahead = (a - x) * right + (b - y) * up
    const aside = Math.abs((a - x) * up + (b - y) * right)
    if (ahead < 1e-3 || aside > 2 * ahead) continue
    const far = ahead + 2 * aside
    if (far < least) {
      best = i
      least = far
    }
  }
  return best
}

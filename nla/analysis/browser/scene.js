// What Python sent (scene.py), read: n samples at S steps, by their position 0..n-1.

const FULL = 65535 // the largest of the 16-bit integers that stand for numbers in [0, 1]

/** Whole numbers from bytes; copied, since a view may start at any byte. */
function integers(view, Type = Uint16Array) {
  return new Type(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength))
}

export function readScene(content) {
  const points = integers(content.points)
  const past = integers(content.history.values)
  const index = integers(content.index, Uint32Array)
  const codes = { class: integers(content.label) }
  for (const fact of ["kind", "true", "guess"]) {
    if (content[fact]) codes[fact] = integers(content[fact])
  }
  const n = codes.class.length
  const names = { class: content.classes, kind: content.kinds }

  const className = (code) => content.classes[code]
  const scene = {
    ...content,
    n,
    codes,
    names,
    steps: content.titles.length,
    /** Where a sample is, in the unit square, y upwards. */
    place: (i, step) => {
      const at = 2 * (step * n + i)
      return [points[at] / FULL, points[at + 1] / FULL]
    },
    share: (i, step) => past[step * n + i] / FULL,
    value: (i, step) => (past[step * n + i] / FULL) * content.history.top,
    index: (i) => index[i],
    source: (i) => content.sources[i],
    label: (i) => className(codes.class[i]),
    kind: (i) => (codes.kind ? content.kinds[codes.kind[i]] : undefined),
    truth: (i) => (codes.true ? className(codes.true[i]) : undefined),
    guess: (i, step) => (codes.guess ? className(codes.guess[step * n + i]) : undefined),
  }
  scene.facts = factsOf(scene)
  return scene
}

/**
 * What is known of a sample, in the order of cards and tables: each fact has a name, a value at a
 * step, and says whether it is a number.
 */
function factsOf(scene) {
  const { codes, history } = scene
  const facts = [{ name: "label", of: (i) => scene.label(i) }]
  if (codes.kind) facts.push({ name: "kind", of: (i) => scene.kind(i) })
  if (codes.true) facts.push({ name: "true label", of: (i) => scene.truth(i) })
  if (codes.guess) facts.push({ name: "prediction", of: (i, step) => scene.guess(i, step) })
  facts.push({ name: "file or row", of: (i) => scene.source(i) })
  facts.push({ name: history.name, of: (i, step) => scene.value(i, step), number: true })
  if (scene.scores) {
    facts.push({ name: "p_GT", of: (i, step) => scene.place(i, step)[0], number: true })
    facts.push({ name: "p_NN", of: (i, step) => scene.place(i, step)[1], number: true })
  }
  const change = (i, step) => scene.value(i, step) - scene.value(i, 0)
  facts.push({ name: `change of ${history.name}`, of: change, number: true })
  return facts
}

/** One line about a sample at a step. */
export function described(scene, i, step) {
  const kind = scene.kind(i)
  const words = [`${scene.label(i)}${kind ? ` (${kind})` : ""}`, scene.source(i)]
  if (scene.truth(i) !== undefined && scene.truth(i) !== scene.label(i)) {
    words.push(`true: ${scene.truth(i)}`)
  }
  if (scene.guess(i, step) !== undefined) words.push(`predicted ${scene.guess(i, step)}`)
  words.push(...numbersOf(scene, i, step))
  return words.join(", ")
}

/** The numbers of a sample at a step, written out. */
export function numbersOf(scene, i, step) {
  const numbers = [`${scene.history.name} ${scene.value(i, step).toFixed(scene.scores ? 3 : 2)}`]
  if (scene.scores) {
    const [right, nearest] = scene.place(i, step)
    numbers.push(`p_GT ${right.toFixed(2)}`, `p_NN ${nearest.toFixed(2)}`)
  }
  return numbers
}

/** The mean place of each group at each step: of those wanted, by their codes; [] where none is. */
export function meanPaths(scene, by, wanted) {
  const codes = scene.codes[by]
  return scene.names[by].map((_, group) => {
    const members = []
    for (let i = 0; i < scene.n; i++) if (codes[i] === group && wanted(i)) members.push(i)
    if (!members.length) return []
    return Array.from({ length: scene.steps }, (_, step) => {
      const places = members.map((i) => scene.place(i, step))
      const mean = (axis) => places.reduce((sum, at) => sum + at[axis], 0) / places.length
      return [mean(0), mean(1)]
    })
  })
}

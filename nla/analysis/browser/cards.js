// A selection, written out: cards with faces and histories, in any order, page by page; as csv.

import { numbersOf } from "./scene.js"

export const CARDS = 24 // on a page

/** A name or a path, as text and not as markup. */
export const plain = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`)

/** Positions in the order of a fact (undefined: as picked) at a step. */
export function ordered(positions, fact, step, down) {
  const sorted = [...positions]
  if (fact?.number) sorted.sort((i, k) => fact.of(i, step) - fact.of(k, step))
  else if (fact) {
    const { compare } = new Intl.Collator(undefined, { numeric: true })
    sorted.sort((i, k) => compare(fact.of(i, step), fact.of(k, step)))
  }
  return down ? sorted.reverse() : sorted
}

/** A sample's card at a step; `face` is the markup of its picture, or empty. */
export function card(scene, i, step, face) {
  const kind = scene.kind(i)
  const lines = [`<b>${plain(scene.label(i))}</b>${kind ? ` (${kind})` : ""}`]
  const truth = scene.truth(i)
  if (truth !== undefined && truth !== scene.label(i)) lines.push(`<i>true: ${plain(truth)}</i>`)
  const guess = scene.guess(i, step)
  if (guess !== undefined) lines.push(`predicted ${plain(guess)}`)
  lines.push(plain(scene.source(i)), numbersOf(scene, i, step).join(", "))
  return `<li class="nla-card">${face}${curve(scene, i, step)}<br>${lines.join("<br>")}</li>`
}

/** The history of a sample as a small curve. */
function curve(scene, i, step) {
  const { steps, history } = scene
  const at = (s) => [3 + (104 * s) / Math.max(steps - 1, 1), 30 - 28 * scene.share(i, s)]
  const written = (s) =>
    at(s)
      .map((v) => v.toFixed(1))
      .join()
  const path = Array.from({ length: steps }, (_, s) => written(s)).join(" ")
  const [x, y] = at(step)
  const ends = [0, steps - 1].map((s) => scene.value(i, s).toFixed(2))
  return (
    `<svg class="nla-curve" viewBox="0 0 110 32" role="img" ` +
    `aria-label="${history.name} over the steps, from ${ends[0]} to ${ends[1]}">` +
    `<polyline points="${path}" fill="none"></polyline>` +
    `<circle cx="${x}" cy="${y}" r="3"></circle></svg>`
  )
}

/** What is selected, counted: those that the filters show, and how many they hide. */
export function summary(scene, shown, hidden, step) {
  if (!shown.length && !hidden) return "Draw a loop around points, or click one, to see the faces."
  const filtered = hidden ? ` (${hidden.toLocaleString("en")} more hidden by the filters)` : ""
  const counted = `${shown.length.toLocaleString("en")} selected${filtered}`
  if (!shown.length) return counted
  const mean = shown.reduce((sum, i) => sum + scene.value(i, step), 0) / shown.length
  return `${counted}: mean ${scene.history.name} ${mean.toFixed(3)}`
}

/** The selection at a step as csv text. */
export function csvOf(scene, positions, step) {
  const quoted = (value) => `"${String(value).replaceAll('"', '""')}"`
  const names = ["index", "epoch", ...scene.facts.map((fact) => fact.name)]
  const rows = positions.map((i) => {
    const facts = scene.facts.map((fact) => {
      const value = fact.of(i, step)
      return fact.number ? value.toFixed(4) : quoted(value)
    })
    return [scene.index(i), scene.epochs[step], ...facts].join()
  })
  return [names.map(quoted).join(), ...rows].join("\r\n") + "\r\n"
}

// The cards of a selection in their place: in any order, page by page, with faces as they arrive.

import { CARDS, card, ordered, summary } from "./cards.js"
import { button, setPressed } from "./controls.js"

/**
 * A deck in an element. `ask` is called with positions whose faces are not here yet, `turned` when
 * other cards are shown.
 */
export function createDeck(root, scene, { ask, turned }) {
  const find = (name) => root.querySelector(`.nla-${name}`)
  const known = new Map() // faces by position
  let positions = [] // of the selection, as the filters show it
  let hidden = 0 // how many they hide
  let step = 0
  let order // the fact that cards are ordered by; undefined: as picked
  let down = false
  let page = 0

  const sorted = () => ordered(positions, order, step, down)
  const onPage = () => sorted().slice(page * CARDS, (page + 1) * CARDS)

  /** Take in another scene of the same run. */
  function read(given) {
    scene = given
    known.clear()
  }

  /** Show a selection at a step. */
  function show(selection, others, shown) {
    positions = selection
    hidden = others
    step = shown
    write()
  }

  function write() {
    const pages = Math.max(1, Math.ceil(positions.length / CARDS))
    page = Math.min(page, pages - 1)
    find("summary").textContent = summary(scene, positions, hidden, step)
    find("faces").innerHTML = onPage()
      .map((i) => card(scene, i, step, face(i)))
      .join("")
    find("sorting").hidden = positions.length < 2
    const first = page * CARDS + 1
    const last = Math.min(first + CARDS - 1, positions.length)
    range.textContent = `${first} to ${last} of ${positions.length.toLocaleString("en")}`
    back.disabled = page === 0
    next.disabled = page === pages - 1
    for (const item of [back, range, next]) item.hidden = pages === 1
    const missing = onPage().filter((i) => !known.has(i))
    if (scene.pictured && missing.length) ask(missing)
  }

  /** The markup of a sample's picture: one by one from Python, or out of the page's sheet. */
  function face(i) {
    const name = `face of sample ${scene.index(i)}`
    if (known.has(i)) return `<img class="nla-face" src="${known.get(i)}" alt="${name}">`
    if (!scene.columns) return scene.pictured ? `<span class="nla-face"></span>` : ""
    const right = (i % scene.columns) * 72
    const lower = Math.floor(i / scene.columns) * 72
    return (
      `<div class="nla-face nla-sprite" role="img" aria-label="${name}" ` +
      `style="background-position: -${right}px -${lower}px"></div>`
    )
  }

  /** Take in faces, image URLs by position. */
  function take(faces) {
    for (const [i, url] of Object.entries(faces)) known.set(Number(i), url)
    write()
  }

  function turn(to) {
    page = to
    write()
    turned()
  }

  const sorting = find("sorting")
  const orders = document.createElement("select")
  orders.setAttribute("aria-label", "order of the cards")
  orders.add(new Option("as picked", ""))
  for (const { name } of scene.facts) orders.add(new Option(`by ${name}`, name))
  orders.onchange = () => {
    order = scene.facts.find((fact) => fact.name === orders.value)
    turn(0)
  }
  sorting.append(orders)
  const reverse = (item) => {
    down = !down
    setPressed(item, down)
    turn(0)
  }
  button(sorting, "descending", reverse, false)
  const back = button(sorting, "previous", () => turn(page - 1))
  const range = document.createElement("span")
  sorting.append(range)
  const next = button(sorting, "next", () => turn(page + 1))

  return { read, show, take, sorted, onPage, first: () => (page = 0) }
}

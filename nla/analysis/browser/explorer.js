// Samples that move from step to step; faces and histories of those selected.
//
// JupyterLab loads this through anywidget, together with the files beside it (see page.py); the
// exported page hands in a plain object as its model. The model holds: content (see scene.py);
// step; picked, the positions selected; hidden, the codes of groups that are filtered out;
// wanted, the positions whose faces are asked for; faces, image URLs by position.

import { csvOf } from "./cards.js"
import { button, choice, download, filters, isPressed } from "./controls.js"
import { legend, row, setPressed, theme } from "./controls.js"
import { movedCell, movedSample } from "./cursor.js"
import { createDeck } from "./deck.js"
import { cellOf, combined, inside, isLoop, nearest } from "./picking.js"
import { createPlane } from "./plane.js"
import { described, meanPaths, readScene } from "./scene.js"

const PAUSE = 700 // milliseconds a step is shown when it plays
const FRAME = `
<div class="nla-row">
  <button type="button" class="nla-play">play</button>
  <input class="nla-step" type="range" min="0" aria-label="step">
  <output class="nla-title"></output>
</div>
<div class="nla-row nla-looks"></div>
<div class="nla-filters"></div>
<div class="nla-main">
  <div class="nla-place">
    <canvas class="nla-scatter" tabindex="0" role="application"></canvas>
    <p class="nla-said" role="status"></p>
  </div>
  <div class="nla-side">
    <div class="nla-tools"></div>
    <p class="nla-summary" role="status"></p>
    <div class="nla-row nla-sorting"></div>
    <ul class="nla-faces" aria-label="cards of the selection" tabindex="0"></ul>
  </div>
</div>`
const HELP =
  "Arrows go from sample to sample, Page Up and Page Down through all of them, Home and End to " +
  "the first and the last; Enter selects, with Shift adds, with Alt takes away; Escape clears."

export function explore(model, el) {
  const root = document.createElement("section")
  root.className = "nla"
  root.setAttribute("aria-label", "explorer")
  root.innerHTML = FRAME
  el.replaceChildren(root)
  const find = (name) => root.querySelector(`.nla-${name}`)
  const canvas = find("scatter")
  const slider = find("step")
  const plane = createPlane(canvas)

  let scene = readScene(model.get("content"))
  let by = scene.codes.kind ? "kind" : "class" // what samples are coloured by
  let visible = [] // whether the filters show a sample, by position
  let mode = "new" // what a pick does to the selection: "new", "add" or "take"
  let loop = [] // where the mouse was drawn, in pixels
  let cursor // where the keyboard is: a position, or a cell [column, row]
  let shown = 0 // the step
  let from = 0 // the step before
  let started = -Infinity // when samples set off from there
  const draws = { paths: true, means: false }

  function put(name, value) {
    model.set(name, value)
    model.save_changes()
  }

  // The selection

  const picked = () => model.get("picked")
  const seen = () => picked().filter((i) => visible[i])
  const candidates = () => [...visible.keys()].filter((i) => visible[i])
  const place = (i) => scene.place(i, shown)
  const deck = createDeck(find("side"), scene, { ask, turned: draw })

  function select(positions, event = {}) {
    let how = mode
    if (event.shiftKey) how = "add"
    if (event.altKey) how = "take"
    deck.first()
    put("picked", combined(picked(), positions, how))
  }

  function clear() {
    deck.first()
    put("picked", [])
  }

  function ask(positions) {
    if (String(positions) !== String(model.get("wanted"))) put("wanted", positions)
  }

  function showCards() {
    const selection = seen()
    deck.show(selection, picked().length - selection.length, shown)
    tools.clear.disabled = !picked().length
    tools.csv.disabled = !selection.length
  }

  // The picture

  function draw() {
    const steps = [...Array(scene.steps).keys()]
    const walked = draws.paths ? deck.onPage() : []
    const moving = plane.draw({
      shown,
      from,
      started,
      by,
      visible,
      cursor,
      loop,
      chosen: new Set(seen()),
      paths: walked.map((i) => steps.map((step) => scene.place(i, step))),
      means: draws.means ? meanPaths(scene, by, (i) => visible[i]) : [],
      ink: getComputedStyle(root).color,
    })
    if (moving) requestAnimationFrame(draw)
  }

  function fit() {
    const width = find("place").clientWidth
    if (!width) return // not on the page yet
    plane.fit(width)
    plane.look(scene.looks[by])
    draw()
  }

  function dress() {
    root.dataset.theme = theme()
    fit()
  }

  /** Take in what Python sent, at first and when it changes. */
  function read() {
    scene = readScene(model.get("content"))
    cursor = undefined
    shown = from = Math.min(model.get("step"), scene.steps - 1)
    slider.max = scene.steps - 1
    slider.disabled = find("play").disabled = scene.steps < 2
    canvas.setAttribute("aria-label", `${scene.labels.join(" against ")}. ${HELP}`)
    deck.read(scene)
    plane.show(scene, draw)
    filter()
    showStep()
    dress()
  }

  /** Find those that the filters show. */
  function filter() {
    const hidden = model.get("hidden")
    const off = { kind: new Set(hidden.kind), class: new Set(hidden.class) }
    const { kind, class: label } = scene.codes
    const isOff = (code, i) => off.class.has(code) || (kind && off.kind.has(kind[i]))
    visible = Array.from(label, (code, i) => !isOff(code, i))
    if (!scene.cells && !visible[cursor]) cursor = undefined
  }

  function showStep() {
    slider.value = shown
    slider.setAttribute("aria-valuetext", scene.titles[shown])
    find("title").textContent = scene.titles[shown]
    showCards()
  }

  // The mouse

  canvas.onpointerdown = (event) => {
    loop = [[event.offsetX, event.offsetY]]
    canvas.setPointerCapture(event.pointerId)
  }
  canvas.onpointermove = (event) => {
    if (!loop.length) return tell(under([event.offsetX, event.offsetY]))
    loop.push([event.offsetX, event.offsetY])
    draw()
  }
  canvas.onpointerup = (event) => {
    if (!loop.length) return
    const positions = isLoop(loop) ? looped() : clicked(loop[0])
    loop = []
    select(positions, event)
    draw()
  }
  canvas.onpointercancel = () => {
    loop = []
    draw()
  }

  const onCanvas = (i) => plane.toPixels(place(i))
  const looped = () => candidates().filter((i) => inside(onCanvas(i), loop))
  const under = (point) => nearest(candidates(), onCanvas, point)
  const inCell = (cell) =>
    candidates().filter((i) => String(cellOf(place(i), scene.cells)) === String(cell))

  function clicked(point) {
    if (scene.cells) return inCell(cellOf(plane.toUnit(point), scene.cells))
    const found = under(point)
    return found === undefined ? [] : [found]
  }

  /** Say which sample is pointed at. */
  function tell(i) {
    find("said").textContent = i === undefined ? "" : described(scene, i, shown)
  }

  // The keys

  canvas.onfocus = () => {
    if (!canvas.matches(":focus-visible")) return // by the mouse
    cursor = scene.cells ? [0, scene.cells - 1] : (seen()[0] ?? candidates()[0])
    say()
    draw()
  }
  canvas.onblur = () => {
    cursor = undefined
    draw()
  }
  canvas.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey) return
    if (event.key === "Escape") clear()
    else if (event.key === "Enter" || event.key === " ") confirm(event)
    else if (!moveCursor(event.key)) return
    event.preventDefault()
    draw()
  }

  function confirm(event) {
    if (cursor !== undefined) select(scene.cells ? inCell(cursor) : [cursor], event)
  }

  /** Follow a key; whether it leads anywhere. */
  function moveCursor(key) {
    const goal = scene.cells
      ? movedCell(cursor ?? [0, 0], key, scene.cells)
      : movedSample(cursor ?? candidates()[0], key, candidates(), place)
    if (goal === undefined) return false
    cursor = goal
    say()
    return true
  }

  /** Say where the keyboard is. */
  function say() {
    if (!scene.cells) return tell(cursor)
    const [column, line] = cursor
    const [across, along] = scene.labels
    const name = scene.yticks[scene.cells - 1 - line][1]
    const guess = scene.xticks[column][1]
    find("said").textContent = `${along} ${name}, ${across} ${guess}: ${inCell(cursor).length}`
  }

  // Keys of the explorer are not JupyterLab's, but for those with Ctrl or Cmd, such as save. Lab
  // looks for the attribute from the element that has the focus upwards, so it has to be there.
  const shield = (event) => {
    if (!root.contains(event.target)) return
    const ours = !event.ctrlKey && !event.metaKey
    event.target.toggleAttribute("data-lm-suppress-shortcuts", ours)
  }

  // The controls

  let timer = 0
  find("play").onclick = (event) => {
    if (timer) timer = clearInterval(timer) ?? 0
    else timer = setInterval(() => put("step", (shown + 1) % scene.steps), PAUSE)
    event.target.textContent = timer ? "pause" : "play"
  }
  slider.oninput = () => put("step", Number(slider.value))

  const tools = buildTools()
  buildFilters()
  buildDrawing()

  function buildTools() {
    const modes = { new: "selects", add: "adds", take: "takes away" }
    choice(row(find("tools"), "a pick"), modes, mode, (value) => (mode = value))
    const line = row(find("tools"), "selection")
    button(line, "all shown", () => select(candidates()))
    return {
      clear: button(line, "clear", clear),
      csv: button(line, "save csv", () => {
        download(csvOf(scene, deck.sorted(), shown), "selection.csv")
      }),
    }
  }

  /** Filters, which are the legend as well, and what colours stand for. */
  function buildFilters() {
    const facts = Object.keys(scene.looks).reverse() // kinds first
    const items = {}
    for (const fact of facts) {
      const hidden = model.get("hidden")[fact] ?? []
      items[fact] = filters(find("filters"), fact, scene.names[fact], hidden, (codes) =>
        put("hidden", { ...model.get("hidden"), [fact]: codes }),
      )
    }
    const show = () => {
      for (const fact of facts) legend(items[fact], fact === by && scene.looks[fact])
    }
    const texts = Object.fromEntries(facts.map((fact) => [fact, `by ${fact}`]))
    choice(row(find("looks"), "colour"), texts, by, (fact) => {
      by = fact
      show()
      plane.look(scene.looks[by])
      draw()
    })
    show()
  }

  function buildDrawing() {
    const line = row(find("looks"), "draw")
    const flip = (name) => (item) => {
      draws[name] = !isPressed(item)
      setPressed(item, draws[name])
      draw()
    }
    button(line, "paths of the cards", flip("paths"), draws.paths)
    button(line, "mean paths", flip("means"), draws.means)
    if (!document.fullscreenEnabled) return
    button(find("looks"), "full screen", () => {
      if (document.fullscreenElement) document.exitFullscreen()
      else root.requestFullscreen()
    })
  }

  // What changes by itself: the model, the room there is, the theme

  const changes = {
    content: read,
    faces: () => deck.take(model.get("faces")),
    step: () => {
      from = shown
      shown = model.get("step")
      started = performance.now()
      showStep()
      draw()
    },
    picked: () => {
      showCards()
      draw()
    },
    hidden: () => {
      filter()
      showCards()
      draw()
    },
  }
  read()
  deck.take(model.get("faces"))
  for (const [name, call] of Object.entries(changes)) model.on(`change:${name}`, call)
  window.addEventListener("keydown", shield, true)
  const resized = new ResizeObserver(fit)
  resized.observe(find("place"))
  const themed = new MutationObserver(dress)
  themed.observe(document.body, { attributes: true })
  const system = matchMedia("(prefers-color-scheme: dark)")
  system.addEventListener("change", dress)

  return () => {
    clearInterval(timer)
    resized.disconnect()
    themed.disconnect()
    system.removeEventListener("change", dress)
    window.removeEventListener("keydown", shield, true)
    for (const [name, call] of Object.entries(changes)) model.off?.(`change:${name}`, call)
  }
}

export default { render: ({ model, el }) => explore(model, el) }

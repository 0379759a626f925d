// Samples that move from step to step; faces and histories of those selected.
//
// JupyterLab loads this through anywidget, together with the files beside it (see page.py); the
// exported page hands in a plain object as its model. The model holds: content (see scene.py);
// step; picked, the positions selected; hidden, the codes of groups that are filtered out;
// wanted, the positions whose faces are asked for; faces, image URLs by position.

import { CARDS, card, csvOf, ordered, summary } from "./cards.js"
import { button, choice, download, filters, isPressed, legend, row, setPressed, theme } from "./controls.js"
import { ARROWS, cellOf, combined, inside, isLoop, nearest, neighbour } from "./picking.js"
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
  "Arrows go from sample to sample, Page Up and Page Down through all of them, Home and End to the " +
  "first and the last; Enter selects, with Shift adds, with Alt takes away; Escape clears."

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
  const known = new Map() // faces by position

  let scene
  let by // what samples are coloured by: "kind" or "class"
  let visible = [] // whether the filters show a sample, by position
  let mode = "new" // what a pick does to the selection: "new", "add" or "take"
  let order, down, turned // the fact that cards are ordered by, its direction, the page
  let loop = [] // where the mouse was drawn, in pixels
  let cursor // where the keyboard is: a position, or a cell [column, row]
  let shown = 0 // the step
  let from = 0 // the step before
  let started = -Infinity // when samples set off from there
  const draws = { paths: true, means: false }

  // The selection

  const picked = () => model.get("picked")
  const seen = () => picked().filter((i) => visible[i])
  const candidates = () => [...visible.keys()].filter((i) => visible[i])
  const sorted = () => ordered(seen(), order, shown, down)

  function select(positions, event = {}) {
    let how = mode
    if (event.shiftKey) how = "add"
    if (event.altKey) how = "take"
    turned = 0
    model.set("picked", combined(picked(), positions, how))
    model.save_changes()
  }

  function clear() {
    turned = 0
    model.set("picked", [])
    model.save_changes()
  }

  // The picture

  function draw() {
    const shownCards = draws.paths ? pageOf(sorted()) : []
    const steps = [...Array(scene.steps).keys()]
    const moving = plane.draw({
      shown,
      from,
      started,
      by,
      visible,
      cursor,
      loop,
      chosen: new Set(seen()),
      paths: shownCards.map((i) => steps.map((step) => scene.place(i, step))),
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

  /** Take in what Python sent, at first and when it changes. */
  function read() {
    scene = readScene(model.get("content"))
    by ??= scene.codes.kind ? "kind" : "class"
    known.clear()
    cursor = undefined
    shown = from = Math.min(model.get("step"), scene.steps - 1)
    slider.max = scene.steps - 1
    slider.disabled = find("play").disabled = scene.steps < 2
    plane.show(scene, () => draw())
    canvas.setAttribute("aria-label", `${scene.labels.join(" against ")}. ${HELP}`)
    filter()
    showStep()
    fit()
  }

  /** Find those that the filters show. */
  function filter() {
    const hidden = model.get("hidden")
    const { kind, class: label } = scene.codes
    const off = { kind: new Set(hidden.kind), class: new Set(hidden.class) }
    visible = Array.from(label, (code, i) => !off.class.has(code) && !(kind && off.kind.has(kind[i])))
    if (!scene.cells && !visible[cursor]) cursor = undefined
  }

  function showStep() {
    slider.value = shown
    slider.setAttribute("aria-valuetext", scene.titles[shown])
    find("title").textContent = scene.titles[shown]
    showCards()
  }

  // The cards

  const pages = () => Math.max(1, Math.ceil(seen().length / CARDS))
  const pageOf = (positions) => positions.slice(turned * CARDS, (turned + 1) * CARDS)

  function showCards() {
    turned = Math.min(turned ?? 0, pages() - 1)
    const positions = sorted()
    const onPage = pageOf(positions)
    find("summary").textContent = summary(
      scene,
      positions,
      picked().length - positions.length,
      shown,
    )
    find("faces").innerHTML = onPage.map((i) => card(scene, i, shown, face(i))).join("")
    find("sorting").hidden = positions.length < 2
    paging(positions.length)
    tools.clear.disabled = !picked().length
    tools.csv.disabled = !positions.length
    ask(onPage)
  }

  function paging(count) {
    const [back, at, next] = turning
    const first = turned * CARDS + 1
    const last = Math.min(first + CARDS - 1, count)
    at.textContent = `${first} to ${last} of ${count.toLocaleString("en")}`
    back.disabled = !turned
    next.disabled = turned >= pages() - 1
    for (const item of turning) item.hidden = count <= CARDS
  }

  /** The markup of a sample's picture: one by one from Python, or out of the page's sheet. */
  function face(i) {
    const name = `alt="face of sample ${scene.index(i)}"`
    if (known.has(i)) return `<img class="nla-face" src="${known.get(i)}" ${name}>`
    if (!scene.columns) return scene.pictured ? `<span class="nla-face"></span>` : ""
    const right = (i % scene.columns) * 72
    const lower = Math.floor(i / scene.columns) * 72
    return (
      `<div class="nla-face nla-sprite" role="img" aria-label="face of sample ${scene.index(i)}" ` +
      `style="background-position: -${right}px -${lower}px"></div>`
    )
  }

  /** Ask Python for the faces that are not here yet. */
  function ask(positions) {
    const wanted = positions.filter((i) => !known.has(i))
    if (!scene.pictured || !wanted.length) return
    if (String(wanted) === String(model.get("wanted"))) return
    model.set("wanted", wanted)
    model.save_changes()
  }

  function takeFaces() {
    for (const [i, url] of Object.entries(model.get("faces"))) known.set(Number(i), url)
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
  }
  canvas.onpointercancel = () => {
    loop = []
    draw()
  }

  const at = (i) => plane.toPixels(scene.place(i, shown))
  const looped = () => candidates().filter((i) => inside(at(i), loop))
  const inCell = (cell) =>
    candidates().filter((i) => String(cellOf(scene.place(i, shown), scene.cells)) === String(cell))

  function under(point) {
    return nearest(candidates(), at, point)
  }

  function clicked(point) {
    if (scene.cells) return inCell(cellOf(plane.toUnit(point), scene.cells) ?? "outside")
    const found = under(point)
    return found === undefined ? [] : [found]
  }

  /** Say which sample is pointed at. */
  function tell(i) {
    find("said").textContent = i === undefined ? "" : described(scene, i, shown)
  }

  // The keys

  canvas.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey) return
    if (event.key === "Escape") clear()
    else if (event.key === "Enter" || event.key === " ") confirm(event)
    else if (scene.cells ? !moveCell(event.key) : !moveCursor(event.key)) return
    event.preventDefault()
    draw()
  }
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

  function confirm(event) {
    if (cursor === undefined) return
    select(scene.cells ? inCell(cursor) : [cursor], event)
  }

  /** Say where the keyboard is. */
  function say() {
    if (!scene.cells) return tell(cursor)
    const [column, line] = cursor
    const names = [scene.yticks[scene.cells - 1 - line][1], scene.xticks[column][1]]
    const count = inCell(cursor).length
    find("said").textContent = `${scene.labels[1]} ${names[0]}, ${scene.labels[0]} ${names[1]}: ${count}`
  }

  function moveCell(key) {
    if (!ARROWS[key]) return false
    const inRange = (k) => Math.min(scene.cells - 1, Math.max(0, k))
    cursor = cursor.map((k, axis) => inRange(k + ARROWS[key][axis]))
    say()
    return true
  }

  function moveCursor(key) {
    const there = candidates()
    const rank = there.indexOf(cursor)
    const goals = {
      Home: there[0],
      End: there.at(-1),
      PageUp: there[Math.max(0, rank - 1)],
      PageDown: there[Math.min(there.length - 1, rank + 1)],
    }
    if (!there.length || !(key in goals || key in ARROWS)) return false
    if (cursor === undefined) cursor = there[0]
    else if (key in goals) cursor = goals[key]
    else cursor = neighbour(there, (i) => scene.place(i, shown), cursor, ARROWS[key])
    say()
    return true
  }

  // Keys of the explorer are not JupyterLab's, but for those with Ctrl or Cmd, such as save.
  const shield = (event) => {
    const ours = root.contains(event.target) && !event.ctrlKey && !event.metaKey
    root.toggleAttribute("data-lm-suppress-shortcuts", ours)
  }
  window.addEventListener("keydown", shield, true)

  // The controls

  function move(step) {
    model.set("step", step)
    model.save_changes()
  }

  let timer = 0
  find("play").onclick = (event) => {
    if (timer) timer = clearInterval(timer) ?? 0
    else timer = setInterval(() => move((shown + 1) % scene.steps), PAUSE)
    event.target.textContent = timer ? "pause" : "play"
  }
  slider.oninput = () => move(Number(slider.value))

  const tools = {}
  const turning = []

  function buildTools() {
    const picking = row(find("tools"), "a pick")
    const modes = { new: "selects", add: "adds", take: "takes away" }
    choice(picking, modes, mode, (value) => (mode = value))
    const rest = row(find("tools"), "selection")
    button(rest, "all shown", () => select(candidates()))
    tools.clear = button(rest, "clear", clear)
    tools.csv = button(rest, "save csv", () => {
      download(csvOf(scene, sorted(), shown), "selection.csv")
    })
    const sorting = find("sorting")
    const orders = document.createElement("select")
    orders.setAttribute("aria-label", "order of the cards")
    const names = ["as picked", ...scene.facts.map((fact) => `by ${fact.name}`)]
    names.forEach((name, k) => orders.add(new Option(name, k)))
    orders.onchange = () => {
      order = scene.facts.find((fact) => `by ${fact.name}` === names[orders.value])
      turn(0)
    }
    sorting.append(orders)
    button(
      sorting,
      "descending",
      (item) => {
        down = !down
        setPressed(item, down)
        turn(0)
      },
      false,
    )
    const at = document.createElement("span")
    const back = button(sorting, "previous", () => turn(turned - 1))
    sorting.append(at)
    turning.push(back, at, button(sorting, "next", () => turn(turned + 1)))
  }

  function turn(page) {
    turned = page
    showCards()
    draw()
  }

  function buildLooks() {
    const offered = Object.keys(scene.looks).reverse() // kinds first
    const legends = {}
    const showLegend = () => {
      for (const fact of offered) legend(legends[fact], fact === by ? scene.looks[fact] : undefined)
    }
    for (const fact of offered) {
      const hide = (codes) => {
        model.set("hidden", { ...model.get("hidden"), [fact]: codes })
        model.save_changes()
      }
      const hidden = model.get("hidden")[fact] ?? []
      legends[fact] = filters(find("filters"), fact, scene.names[fact], hidden, hide)
    }
    const texts = Object.fromEntries(offered.map((fact) => [fact, `by ${fact}`]))
    choice(row(find("looks"), "colour"), texts, by, (fact) => {
      by = fact
      showLegend()
      plane.look(scene.looks[by])
      draw()
    })
    const drawn = row(find("looks"), "draw")
    for (const [name, text] of [["paths", "paths of the cards"], ["means", "mean paths"]]) {
      const flip = (item) => {
        draws[name] = !isPressed(item)
        setPressed(item, draws[name])
        draw()
      }
      button(drawn, text, flip, draws[name])
    }
    if (document.fullscreenEnabled) {
      const whole = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen())
      button(find("looks"), "full screen", whole)
    }
    showLegend()
  }

  // What changes by itself: the model, the room there is, the theme

  const listeners = {
    "change:content": read,
    "change:faces": takeFaces,
    "change:step": () => {
      from = shown
      shown = model.get("step")
      started = performance.now()
      showStep()
      draw()
    },
    "change:picked": () => {
      showCards()
      draw()
    },
    "change:hidden": () => {
      filter()
      showCards()
      draw()
    },
  }
  const dress = () => {
    root.dataset.theme = theme()
    if (scene) fit()
  }

  dress()
  scene = readScene(model.get("content"))
  by = scene.codes.kind ? "kind" : "class"
  buildTools()
  buildLooks()
  read()
  takeFaces()
  for (const [name, call] of Object.entries(listeners)) model.on(name, call)
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
    for (const [name, call] of Object.entries(listeners)) model.off?.(name, call)
  }
}

export default { render: ({ model, el }) => explore(model, el) }

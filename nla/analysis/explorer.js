// Points that move from step to step, with the faces and the histories of those picked with the mouse.
// Jupyter loads this through anywidget; the HTML export inlines it and hands in a plain object as model.
// model: content (see explore.py), step, selected (positions), faces ({position: image URL}).
const SIZE = 440, LEFT = 88, TOP = 26, MOVE = 120, CARDS = 24 // pixels; milliseconds from step to step; faces shown

const PAGE = `<style>
.nla { font: 13px sans-serif; color: #222; background: #fff; padding: 4px }
.nla button { font: inherit; margin: 2px; padding: 3px 9px; border: 1px solid #999; border-radius: 4px; background: #fff; color: #222 }
.nla button.on { background: #dde3ea }
.nla input { width: 240px; vertical-align: middle }
.nla-main { display: flex; flex-wrap: wrap; gap: 12px }
.nla-scatter { touch-action: none; cursor: crosshair }
.nla-faces { flex: 1 1 280px; max-width: 560px; max-height: 510px; overflow: auto; font-size: 11px; line-height: 1.3 }
.nla-card { display: inline-block; vertical-align: top; width: 128px; margin: 2px; overflow-wrap: anywhere }
.nla-face { display: block; width: 72px; height: 72px; image-rendering: pixelated }
</style><div class="nla">
<div><button class="nla-play">play</button> <input class="nla-step" type="range" min="0" aria-label="step">
<span class="nla-by"></span></div><div class="nla-filters"></div>
<div class="nla-main"><canvas class="nla-scatter"></canvas><div class="nla-faces"></div></div></div>`

const polygon = (corners) => (c, x, y, r) => {
  corners.forEach(([a, b], k) => (k ? c.lineTo(x + a * r, y + b * r) : c.moveTo(x + a * r, y + b * r)))
  c.closePath()
}
const cross = [[0, 0.5], [0.7, 1.2], [1.2, 0.7], [0.5, 0], [1.2, -0.7], [0.7, -1.2], [0, -0.5], [-0.7, -1.2], [-1.2, -0.7],
  [-0.5, 0], [-1.2, 0.7], [-0.7, 1.2]]
const star = [...Array(10).keys()].map((k) => [Math.sin(k * 0.628), -Math.cos(k * 0.628)].map((v) => v * (k % 2 ? 0.6 : 1.5)))
const SHAPES = { // by the names that matplotlib has for them
  o: (c, x, y, r) => { c.moveTo(x + r, y); c.arc(x, y, r, 0, 7) },
  s: polygon([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]),
  D: polygon([[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]]),
  "^": polygon([[0, -1.2], [1.1, 0.9], [-1.1, 0.9]]),
  v: polygon([[0, 1.2], [1.1, -0.9], [-1.1, -0.9]]),
  "<": polygon([[-1.2, 0], [0.9, 1.1], [0.9, -1.1]]),
  ">": polygon([[1.2, 0], [-0.9, 1.1], [-0.9, -1.1]]),
  d: polygon([[0, -1.3], [0.8, 0], [0, 1.3], [-0.8, 0]]),
  p: polygon([...Array(5).keys()].map((k) => [1.2 * Math.sin(k * 1.257), -1.2 * Math.cos(k * 1.257)])),
  h: polygon([...Array(6).keys()].map((k) => [1.2 * Math.sin(k * 1.047), -1.2 * Math.cos(k * 1.047)])),
  X: polygon(cross), P: polygon(cross.map(([a, b]) => [(a - b) * 0.71, (a + b) * 0.71])), "*": polygon(star),
}
const plain = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`) // a name or path, not markup
const numbers = (view) => // a copy, since a view may start at any byte
  new Uint16Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength))

export function explore(model, el) {
  el.innerHTML = PAGE
  const find = (name) => el.querySelector(`.nla-${name}`), canvas = find("scatter"), c = canvas.getContext("2d")
  const ratio = window.devicePixelRatio || 1, width = SIZE + LEFT + 12, height = SIZE + TOP + 62
  Object.assign(canvas, { width: width * ratio, height: height * ratio })
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` })
  const layer = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true })
  const pixels = layer.createImageData(canvas.width, canvas.height)
  let data, facts, points, past, codes, stamps, visible, images, n, steps, by, shown = 0, from = 0, started = -MOVE, loop = []
  const off = { kind: new Set(), class: new Set() } // the numbers of those hidden

  function read() { // what the kernel sent
    data = model.get("content")
    points = numbers(data.points)
    past = numbers(data.history.values)
    facts = {}
    for (const [fact, sent] of Object.entries({ kind: data.kind, class: data.label, truth: data.true, guess: data.guess })) {
      facts[fact] = sent && numbers(sent)
    }
    by ??= facts.kind ? "kind" : "class"
    n = facts.class.length
    steps = data.titles.length
    images = data.backgrounds.map((url) => {
      const image = new Image()
      image.onload = () => { if (image === background()) draw() }
      return Object.assign(image, { src: url })
    })
    shown = from = Math.min(model.get("step"), steps - 1)
    Object.assign(find("step"), { max: steps - 1, value: shown, disabled: steps < 2 })
    sort()
  }
  function sort() { // into groups, shown and hidden
    const [palette, markers] = look()
    codes = facts[by]
    stamps = palette.map((colour, group) => [stampOf(colour, markers[group], 2.5), stampOf(colour, markers[group], 4.2, "#111")])
    visible = Array.from(codes, (_, i) => !off.kind.has(facts.kind?.[i]) && !off.class.has(facts.class[i]))
    draw()
    cards()
  }
  const look = () => data.looks[by] // colours and markers of the groups
  const background = () => images[Math.min(shown, images.length - 1)]
  const place = (i, step) => [LEFT + points[2 * (step * n + i)] / 65535 * SIZE,
    TOP + SIZE - points[2 * (step * n + i) + 1] / 65535 * SIZE]
  const value = (i) => past[shown * n + i] / 65535 * data.history.top

  function draw() {
    const t = Math.min(1, (performance.now() - started) / MOVE), chosen = new Set(model.get("selected"))
    const between = (i) => { // on its way from the step before
      const [x, y] = place(i, shown), [a, b] = t < 1 ? place(i, from) : [x, y]
      return [a + (x - a) * t, b + (y - b) * t]
    }
    c.setTransform(ratio, 0, 0, ratio, 0, 0)
    c.fillStyle = "#fff"
    c.fillRect(0, 0, width, height)
    if (background()?.complete) c.drawImage(background(), LEFT, TOP, SIZE, SIZE)
    frame()
    spread((i) => visible[i] && !chosen.has(i), 0, between, chosen.size ? 0.35 : 0.8)
    if (chosen.size <= CARDS) chosen.forEach((i) => line([...Array(steps).keys()].map((s) => place(i, s)), "#11111144"))
    spread((i) => visible[i] && chosen.has(i), 1, between, 1)
    line(loop, "#111")
    if (t < 1) requestAnimationFrame(draw)
  }
  function stampOf(colour, marker, radius, edge) { // the pixels a marker covers, five numbers each: offset, red, green, blue, alpha
    const half = Math.ceil(8 * ratio), s = new OffscreenCanvas(2 * half, 2 * half).getContext("2d")
    s.scale(ratio, ratio)
    Object.assign(s, { fillStyle: colour, strokeStyle: edge })
    const shape = SHAPES[marker] ?? SHAPES.o
    shape(s, half / ratio, half / ratio, radius)
    s.fill()
    if (edge) s.stroke()
    const { data } = s.getImageData(0, 0, 2 * half, 2 * half)
    return Int32Array.from([...Array(4 * half * half).keys()].filter((k) => data[4 * k + 3]).flatMap((k) =>
      [4 * ((Math.floor(k / 2 / half) - half) * pixels.width + k % (2 * half) - half), ...data.subarray(4 * k, 4 * k + 4)]))
  }
  function spread(wanted, size, at, alpha) { // stamp the points by hand: far faster than the canvas does it
    const out = pixels.data.fill(0)
    stamps.forEach((stamp, group) => {
      for (let i = 0; i < n; i++) {
        if (codes[i] !== group || !wanted(i)) continue
        const [x, y] = at(i), start = 4 * (Math.round(y * ratio) * pixels.width + Math.round(x * ratio))
        for (let k = 0; k < stamp[size].length; k += 5) {
          const here = start + stamp[size][k], over = stamp[size][k + 4], under = out[here + 3] * (1 - over / 255)
          for (let part = 0; part < 3; part++) {
            out[here + part] = (stamp[size][k + 1 + part] * over + out[here + part] * under) / (over + under)
          }
          out[here + 3] = over + under
        }
      }
    })
    layer.putImageData(pixels, 0, 0)
    c.globalAlpha = alpha
    c.drawImage(layer.canvas, 0, 0, width, height)
    c.globalAlpha = 1
  }
  function line(path, colour) {
    c.beginPath()
    path.forEach((point) => c.lineTo(...point))
    Object.assign(c, { strokeStyle: colour, lineWidth: 1 })
    c.stroke()
  }
  function frame() {
    Object.assign(c, { strokeStyle: "#222", fillStyle: "#222", lineWidth: 1, font: "13px sans-serif", textAlign: "left" })
    c.strokeRect(LEFT, TOP, SIZE, SIZE)
    c.fillText(data.titles[shown], LEFT, TOP - 9)
    c.textAlign = "center"
    c.fillText(data.labels[0], LEFT + SIZE / 2, TOP + SIZE + 38)
    c.save()
    c.translate(12, TOP + SIZE / 2)
    c.rotate(-Math.PI / 2)
    c.fillText(data.labels[1], 0, 0)
    c.restore()
    c.font = "11px sans-serif"
    const room = SIZE / (data.cells || 4) - 3 // long names are squeezed into theirs
    for (const [at, text] of data.xticks) c.fillText(text, LEFT + at * SIZE, TOP + SIZE + 16, room)
    c.textAlign = "right"
    for (const [at, text] of data.yticks) c.fillText(text, LEFT - 5, TOP + SIZE - at * SIZE + 4, LEFT - 25)
  }
  function history(i) {
    const at = (s) => [3 + 104 * s / Math.max(steps - 1, 1), 30 - 28 * past[s * n + i] / 65535]
    const path = [...Array(steps).keys()].map((s) => at(s).map((v) => v.toFixed(1)).join()).join(" "), [x, y] = at(shown)
    return `<svg width=110 height=32 style="background:#f4f4f4"><title>${data.history.name} over the steps</title>` +
      `<polyline points="${path}" fill="none" stroke="#444"/><circle cx=${x} cy=${y} r=3 /></svg>`
  }
  function cards() {
    const chosen = model.get("selected"), faces = model.get("faces"), name = data.history.name
    const mean = chosen.reduce((sum, i) => sum + value(i), 0) / chosen.length
    find("faces").innerHTML = !chosen.length ? "<p>Draw a loop around points, or click one, to see the faces.</p>" :
      `<p>${chosen.length} selected${chosen.length > CARDS ? `, the first ${CARDS} shown` : ""}: mean ${name} ${mean.toFixed(3)}</p>` +
      chosen.slice(0, CARDS).map((i) => {
        const label = plain(data.classes[facts.class[i]]), at = 2 * (shown * n + i)
        const kind = facts.kind ? ` (${data.kinds[facts.kind[i]]})` : ""
        const lines = [`<b>${label}</b>${kind}`]
        if (facts.truth && facts.truth[i] !== facts.class[i]) lines.push(`<i>true: ${plain(data.classes[facts.truth[i]])}</i>`)
        if (facts.guess) lines.push(`predicted ${plain(data.classes[facts.guess[shown * n + i]])}`)
        if (data.sources.length) lines.push(plain(data.sources[i]))
        const scores = data.scores ? `, p_GT ${(points[at] / 65535).toFixed(2)}, p_NN ${(points[at + 1] / 65535).toFixed(2)}` : ""
        lines.push(`${name} ${value(i).toFixed(data.scores ? 3 : 2)}${scores}`)
        return `<div class="nla-card">${faces[i] ? `<img class="nla-face" src="${faces[i]}">` : sprite(i)}${history(i)}<br>` +
          `${lines.join("<br>")}</div>`
      }).join("")
  }
  const sprite = (i) => (data.columns ? `<div class="nla-face nla-sprite" style="background-position:` +
    `-${i % data.columns * 72}px -${Math.floor(i / data.columns) * 72}px"></div>` : "")

  function inside([x, y]) { // the loop; even-odd rule
    let odd = false
    loop.forEach(([a, b], k) => {
      const [p, q] = loop.at(k - 1)
      if (b > y !== q > y && x < (p - a) * (y - b) / (q - b) + a) odd = !odd
    })
    return odd
  }
  function pick() { // a loop selects what is in it, a click the nearest point, or all in a cell where there are cells
    const candidates = [...codes.keys()].filter((i) => visible[i]), [x, y] = loop[0]
    if (loop.some(([a, b]) => Math.hypot(a - x, b - y) > 5)) return candidates.filter((i) => inside(place(i, shown)))
    const cell = ([a, b]) => `${Math.floor((a - LEFT) / SIZE * data.cells)} ${Math.floor((b - TOP) / SIZE * data.cells)}`
    if (data.cells) return candidates.filter((i) => cell(place(i, shown)) === cell([x, y]))
    const far = (i) => Math.hypot(place(i, shown)[0] - x, place(i, shown)[1] - y)
    const nearest = candidates.reduce((best, i) => (far(i) < best[0] ? [far(i), i] : best), [12, -1])[1]
    return nearest < 0 ? [] : [nearest]
  }
  canvas.onpointerdown = (event) => { loop = [[event.offsetX, event.offsetY]]; canvas.setPointerCapture(event.pointerId) }
  canvas.onpointermove = (event) => { if (loop.length) { loop.push([event.offsetX, event.offsetY]); draw() } }
  canvas.onpointerup = () => {
    if (!loop.length) return
    model.set("selected", pick())
    model.save_changes()
    loop = []
    draw()
  }
  function move(step) {
    model.set("step", step)
    model.save_changes()
  }
  let timer = 0
  find("play").onclick = () => {
    timer = timer ? clearInterval(timer) ?? 0 : setInterval(() => move((shown + 1) % steps), 700)
    find("play").textContent = timer ? "pause" : "play"
  }
  find("step").oninput = (event) => move(Number(event.target.value))
  function button(where, text, on, click) {
    const item = Object.assign(document.createElement("button"), { textContent: text, className: on ? "on" : "" })
    item.onclick = () => { click(item); sort() }
    find(where).append(item)
    return item
  }
  model.on("change:step", () => {
    [from, shown, started] = [shown, model.get("step"), performance.now()]
    find("step").value = shown
    draw()
    cards()
  })
  model.on("change:content", read)
  model.on("change:selected", () => { draw(); cards() })
  model.on("change:faces", cards)
  read()
  const offered = Object.entries({ kind: data.kinds, class: data.classes }).filter(([, names]) => names.length)
  const choices = offered.map(([fact]) => button("by", `colour by ${fact}`, fact === by, (item) => {
    choices.forEach((other) => other.classList.toggle("on", other === item))
    by = fact
  }))
  for (const [fact, names] of offered) {
    names.forEach((name, code) => button("filters", name, true, (item) => {
      item.classList.toggle("on") ? off[fact].delete(code) : off[fact].add(code)
    }))
  }
  return () => clearInterval(timer)
}

export default { render: ({ model, el }) => explore(model, el) }

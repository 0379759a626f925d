// Points that move from step to step, on a canvas; a drawn loop or a click selects some of them.
// Jupyter loads this through anywidget; the HTML export inlines it and hands in a plain object as model.
const SIZE = 440, LEFT = 46, TOP = 26, MOVE = 120 // pixels; milliseconds from one step to the next

const polygon = (corners) => (c, x, y, r) => {
  corners.forEach(([a, b], k) => (k ? c.lineTo(x + a * r, y + b * r) : c.moveTo(x + a * r, y + b * r)))
  c.closePath()
}
const cross = [[0, 0.5], [0.7, 1.2], [1.2, 0.7], [0.5, 0], [1.2, -0.7], [0.7, -1.2], [0, -0.5], [-0.7, -1.2], [-1.2, -0.7],
  [-0.5, 0], [-1.2, 0.7], [-0.7, 1.2]]
const SHAPES = {
  o: (c, x, y, r) => { c.moveTo(x + r, y); c.arc(x, y, r, 0, 7) },
  s: polygon([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]),
  D: polygon([[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]]),
  "^": polygon([[0, -1.2], [1.1, 0.9], [-1.1, 0.9]]),
  v: polygon([[0, 1.2], [1.1, -0.9], [-1.1, -0.9]]),
  X: polygon(cross),
  P: polygon(cross.map(([a, b]) => [(a - b) * 0.71, (a + b) * 0.71])),
  "*": polygon([...Array(10).keys()].map((k) => [Math.sin(k * 0.628), -Math.cos(k * 0.628)].map((v) => v * (k % 2 ? 0.6 : 1.5)))),
}

const numbers = (view, Type) => // a copy, since a view may start at any byte
  new Type(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength))

export function mount(model, el) {
  const canvas = document.createElement("canvas"), c = canvas.getContext("2d"), ratio = window.devicePixelRatio || 1
  const width = SIZE + LEFT + 12, height = SIZE + TOP + 42
  Object.assign(canvas, { width: width * ratio, height: height * ratio, className: "nla-scatter" })
  canvas.style.cssText = `width:${width}px;height:${height}px;touch-action:none;cursor:crosshair`
  el.appendChild(canvas)
  let points, codes, visible, images, steps, shown = model.get("step"), from = shown, started = -MOVE, loop = []

  function read() {
    points = numbers(model.get("points"), Uint16Array)
    codes = numbers(model.get("codes"), Uint8Array)
    visible = numbers(model.get("visible"), Uint8Array)
    steps = points.length / 2 / codes.length
    draw()
  }
  function load() {
    images = model.get("backgrounds").map((url) => {
      const image = new Image()
      image.onload = () => { if (image === background()) draw() }
      image.src = url
      return image
    })
  }
  const background = () => images[Math.min(shown, images.length - 1)]
  const place = (i, step) => {
    const k = 2 * (Math.min(step, steps - 1) * codes.length + i)
    return [LEFT + points[k] / 65535 * SIZE, TOP + SIZE - points[k + 1] / 65535 * SIZE]
  }
  function draw() {
    const t = Math.min(1, (performance.now() - started) / MOVE), marks = model.get("markers")
    const between = (i) => {
      const [x, y] = place(i, shown), [a, b] = t < 1 ? place(i, from) : [x, y]
      return [a + (x - a) * t, b + (y - b) * t]
    }
    c.setTransform(ratio, 0, 0, ratio, 0, 0)
    Object.assign(c, { fillStyle: "#fff" })
    c.fillRect(0, 0, width, height)
    if (background()?.complete) c.drawImage(background(), LEFT, TOP, SIZE, SIZE)
    frame()
    const chosen = new Set(model.get("selected"))
    model.get("palette").forEach((colour, group) => {
      c.beginPath()
      for (let i = 0; i < codes.length; i++) if (codes[i] === group && visible[i]) SHAPES[marks[group]](c, ...between(i), 2.4)
      Object.assign(c, { fillStyle: colour, globalAlpha: chosen.size ? 0.35 : 0.8 })
      c.fill()
      c.globalAlpha = 1
    })
    for (const i of chosen) {
      if (chosen.size <= 24) { // where the point has been and will be
        c.beginPath()
        for (let s = 0; s < steps; s++) c.lineTo(...place(i, s))
        Object.assign(c, { strokeStyle: "#11111144", lineWidth: 1 })
        c.stroke()
      }
      c.beginPath()
      SHAPES[marks[codes[i]]](c, ...between(i), 4.2)
      Object.assign(c, { fillStyle: model.get("palette")[codes[i]], strokeStyle: "#111", lineWidth: 1.2 })
      c.fill()
      c.stroke()
    }
    if (loop.length) {
      c.beginPath()
      loop.forEach((point) => c.lineTo(...point))
      Object.assign(c, { strokeStyle: "#111", lineWidth: 1 })
      c.stroke()
    }
    if (t < 1) requestAnimationFrame(draw)
  }
  function frame() {
    const [x, y, ticks] = model.get("labels")
    Object.assign(c, { strokeStyle: "#222", fillStyle: "#222", lineWidth: 1, font: "13px sans-serif", textAlign: "left" })
    c.strokeRect(LEFT, TOP, SIZE, SIZE)
    c.fillText(model.get("titles")[shown] ?? "", LEFT, TOP - 9)
    c.textAlign = "center"
    for (const t of ticks ? [0, 0.5, 1] : []) {
      c.fillText(t, LEFT + t * SIZE, TOP + SIZE + 16)
      c.fillText(t, LEFT - 13, TOP + SIZE - t * SIZE + 4)
    }
    c.fillText(x, LEFT + SIZE / 2, TOP + SIZE + 34)
    c.save()
    c.translate(13, TOP + SIZE / 2)
    c.rotate(-Math.PI / 2)
    c.fillText(y, 0, 0)
    c.restore()
  }
  function inside([x, y]) { // even-odd rule
    let odd = false
    loop.forEach(([a, b], k) => {
      const [p, q] = loop.at(k - 1)
      if (b > y !== q > y && x < (p - a) * (y - b) / (q - b) + a) odd = !odd
    })
    return odd
  }
  function pick() { // a loop selects what is in it, a click the nearest point
    const candidates = [...codes.keys()].filter((i) => visible[i])
    const far = (i) => Math.hypot(place(i, shown)[0] - loop[0][0], place(i, shown)[1] - loop[0][1])
    if (loop.some(([x, y]) => Math.hypot(x - loop[0][0], y - loop[0][1]) > 5)) return candidates.filter((i) => inside(place(i, shown)))
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
  model.on("change:step", () => { from = shown; shown = model.get("step"); started = performance.now(); draw() })
  model.on("change:points change:codes change:visible", read)
  model.on("change:backgrounds", load)
  model.on("change:selected change:titles", draw)
  load()
  read()
}

export default { render({ model, el }) { mount(model, el) } }

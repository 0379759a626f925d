// Points that move from step to step, on a canvas; a drawn loop or a click selects some of them.
// Jupyter loads this through anywidget; the HTML export inlines it and hands in a plain object as model.
const SIZE = 440, LEFT = 46, TOP = 26, SHAPES = {
  o: (c, x, y, r) => { c.moveTo(x + r, y); c.arc(x, y, r, 0, 7) },
  D: (c, x, y, r) => { r *= 1.25; c.moveTo(x, y - r); c.lineTo(x + r, y); c.lineTo(x, y + r); c.lineTo(x - r, y); c.lineTo(x, y - r) },
  s: (c, x, y, r) => c.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8),
  "^": (c, x, y, r) => { c.moveTo(x, y - r * 1.2); c.lineTo(x + r * 1.1, y + r); c.lineTo(x - r * 1.1, y + r); c.lineTo(x, y - r * 1.2) },
  v: (c, x, y, r) => { c.moveTo(x, y + r * 1.2); c.lineTo(x + r * 1.1, y - r); c.lineTo(x - r * 1.1, y - r); c.lineTo(x, y + r * 1.2) },
  X: (c, x, y, r) => { for (const s of [1, -1]) { c.moveTo(x - r, y - s * r); c.lineTo(x + r, y + s * r); c.lineTo(x + r * 0.5, y + s * r * 1.2); c.lineTo(x - r * 1.2, y - s * r * 0.5) } },
  P: (c, x, y, r) => { c.rect(x - r * 1.2, y - r * 0.4, r * 2.4, r * 0.8); c.rect(x - r * 0.4, y - r * 1.2, r * 0.8, r * 2.4) },
}

function numbers(view, Type) { // a copy, since a DataView may start at any byte
  return new Type(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength))
}

export function mount(model, el) {
  const canvas = document.createElement("canvas"), c = canvas.getContext("2d"), ratio = window.devicePixelRatio || 1
  canvas.width = (SIZE + LEFT + 12) * ratio
  canvas.height = (SIZE + TOP + 42) * ratio
  canvas.style.cssText = `width:${canvas.width / ratio}px;height:${canvas.height / ratio}px;touch-action:none;cursor:crosshair`
  canvas.className = "nla-scatter"
  el.appendChild(canvas)
  let points, codes, visible, images = [], shown = model.get("step"), from = shown, started = 0, loop = []

  function read() {
    points = numbers(model.get("points"), Uint16Array)
    codes = numbers(model.get("codes"), Uint8Array)
    visible = numbers(model.get("visible"), Uint8Array)
    images = model.get("backgrounds").map((url) => Object.assign(new Image(), { onload: draw, src: url }))
    draw()
  }
  function place(i, step) {
    const k = 2 * (step * codes.length + i)
    return [LEFT + points[k] / 65535 * SIZE, TOP + SIZE - points[k + 1] / 65535 * SIZE]
  }
  function between(i) { // on the way from the step before to the one shown
    const t = Math.min(1, (performance.now() - started) / 120), [a, b] = place(i, from), [x, y] = place(i, shown)
    return [a + (x - a) * t, b + (y - b) * t]
  }
  function draw() {
    c.setTransform(ratio, 0, 0, ratio, 0, 0)
    c.fillStyle = "#fff"
    c.fillRect(0, 0, canvas.width, canvas.height)
    const image = images[Math.min(shown, images.length - 1)]
    if (image && image.complete) c.drawImage(image, LEFT, TOP, SIZE, SIZE)
    frame()
    const chosen = new Set(model.get("selected")), marks = model.get("markers")
    model.get("palette").forEach((colour, group) => {
      c.beginPath()
      for (let i = 0; i < codes.length; i++) {
        if (codes[i] === group && visible[i] && !chosen.has(i)) SHAPES[marks[group]](c, ...between(i), 2.4)
      }
      Object.assign(c, { fillStyle: colour, globalAlpha: 0.75 })
      c.fill()
      c.globalAlpha = 1
    })
    for (const i of chosen) highlight(i, chosen.size <= 24)
    if (loop.length) {
      c.beginPath()
      loop.forEach(([x, y]) => c.lineTo(x, y))
      Object.assign(c, { strokeStyle: "#111", lineWidth: 1 })
      c.stroke()
    }
    if (performance.now() - started < 120) requestAnimationFrame(draw)
  }
  function highlight(i, trail) {
    if (trail) { // where the point has been and will be
      c.beginPath()
      for (let s = 0; s < points.length / codes.length / 2; s++) c.lineTo(...place(i, s))
      Object.assign(c, { strokeStyle: "#11111155", lineWidth: 1 })
      c.stroke()
    }
    c.beginPath()
    SHAPES[model.get("markers")[codes[i]]](c, ...between(i), 4.5)
    Object.assign(c, { fillStyle: model.get("palette")[codes[i]], strokeStyle: "#111", lineWidth: 1.2 })
    c.fill()
    c.stroke()
  }
  function frame() {
    Object.assign(c, { strokeStyle: "#222", fillStyle: "#222", lineWidth: 1, font: "13px sans-serif", textAlign: "left" })
    c.strokeRect(LEFT, TOP, SIZE, SIZE)
    c.fillText(model.get("titles")[shown] || "", LEFT, TOP - 9)
    c.textAlign = "center"
    const [x, y, ticks] = model.get("labels")
    for (const t of ticks ? [0, 0.5, 1] : []) {
      c.fillText(t, LEFT + t * SIZE, TOP + SIZE + 16)
      c.fillText(t, LEFT - 14, TOP + SIZE - t * SIZE + 4)
    }
    c.fillText(x, LEFT + SIZE / 2, TOP + SIZE + 34)
    c.save()
    c.translate(12, TOP + SIZE / 2)
    c.rotate(-Math.PI / 2)
    c.fillText(y, 0, 0)
    c.restore()
  }
  function inside([x, y]) { // even-odd rule
    let odd = false
    for (let k = 0, j = loop.length - 1; k < loop.length; j = k++) {
      const [a, b] = loop[k], [p, q] = loop[j]
      if (b > y !== q > y && x < (p - a) * (y - b) / (q - b) + a) odd = !odd
    }
    return odd
  }
  function pick() {
    const candidates = [...codes.keys()].filter((i) => visible[i]), [x, y] = loop[0]
    const span = Math.max(...loop.map(([a, b]) => Math.hypot(a - x, b - y)))
    if (span > 5) return candidates.filter((i) => inside(place(i, shown)))
    const near = candidates.map((i) => [Math.hypot(place(i, shown)[0] - x, place(i, shown)[1] - y), i])
    const best = near.reduce((a, b) => (b[0] < a[0] ? b : a), [12, -1])
    return best[1] < 0 ? [] : [best[1]]
  }
  const at = (event) => [event.offsetX, event.offsetY]
  canvas.onpointerdown = (event) => { loop = [at(event)]; canvas.setPointerCapture(event.pointerId) }
  canvas.onpointermove = (event) => { if (loop.length) { loop.push(at(event)); draw() } }
  canvas.onpointerup = () => {
    if (!loop.length) return
    model.set("selected", pick())
    loop = []
    model.save_changes()
    draw()
  }
  model.on("change:step", () => { from = shown; shown = model.get("step"); started = performance.now(); draw() })
  model.on("change:selected", draw)
  for (const name of ["points", "codes", "visible", "backgrounds"]) model.on(`change:${name}`, read)
  read()
}

export default { render({ model, el }) { mount(model, el) } }

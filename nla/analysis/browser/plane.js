// The picture: a square with axes, samples over a background, their paths, and what is pointed at.

import { mixed, press, stampOf } from "./stamps.js"

const EDGE = 14 // pixels around the square that a marker on its border may cover
const MOVE = 120 // milliseconds from step to step
const MANY = 200 // samples selected that would cover one another if they were drawn large
const FONT = "sans-serif"

export function createPlane(canvas) {
  const context = canvas.getContext("2d")
  const layer = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true })
  let area, pixels, stamps, images, order, scene

  /** Take in what is to be drawn; `redraw` is called when a background has arrived. */
  function show(given, redraw) {
    scene = given
    order = mixed(scene.n)
    images = scene.backgrounds.map((url) => {
      const image = new Image()
      image.onload = redraw
      image.src = url
      return image
    })
  }

  /** Be `width` pixels wide: margins for the texts, and the rest a square. */
  function fit(width) {
    const ratio = window.devicePixelRatio || 1
    context.font = `12px ${FONT}`
    const widest = (ticks) =>
      Math.max(...ticks.map(([, text]) => context.measureText(text).width), 0)
    const left = Math.round(Math.min(widest(scene.yticks), 0.22 * width)) + 34
    const size = Math.max(60, Math.floor(width - left - EDGE))
    const room = size / (scene.cells || 3) - 4
    const turned = widest(scene.xticks) > room
    const texts = turned ? Math.min(0.72 * widest(scene.xticks), 110) + 8 : 16
    const height = EDGE + size + texts + 34
    area = { left, top: EDGE, size, width, height, ratio, turned, room, texts }
    canvas.width = Math.round(width * ratio)
    canvas.height = Math.round(height * ratio)
    canvas.style.width = `${width}px`
    canvas.style.height = `${height}px`
    layer.canvas.width = canvas.width
    layer.canvas.height = canvas.height
    pixels = layer.createImageData(canvas.width, canvas.height)
    Object.assign(canvas.dataset, { left, top: EDGE, size }) // for whoever points from outside
  }

  /** Have the markers of the groups that samples are coloured by. */
  function look([colours, markers]) {
    const radius = Math.min(3.6, Math.max(2.2, area.size / 180))
    const shared = { ratio: area.ratio, width: canvas.width }
    stamps = colours.map((colour, group) => {
      const marker = markers[group]
      return {
        usual: stampOf({ ...shared, colour, marker, radius }),
        few: stampOf({ ...shared, colour, marker, radius: 1.7 * radius, edge: "#111" }),
        many: stampOf({ ...shared, colour, marker, radius: 1.15 * radius, edge: "#111" }),
      }
    })
  }

  const toPixels = ([x, y]) => [area.left + x * area.size, area.top + (1 - y) * area.size]
  const toUnit = ([x, y]) => [(x - area.left) / area.size, 1 - (y - area.top) / area.size]

  /** Draw `view`; returns whether samples are still on their way to the step shown. */
  function draw(view) {
    const t = Math.min(1, (performance.now() - view.started) / MOVE)
    const { shown, from, chosen, visible } = view
    const at = (i) => {
      const [x, y] = scene.place(i, shown)
      if (t === 1) return toPixels([x, y])
      const [a, b] = scene.place(i, from)
      return toPixels([a + (x - a) * t, b + (y - b) * t])
    }
    context.setTransform(area.ratio, 0, 0, area.ratio, 0, 0)
    context.clearRect(0, 0, area.width, area.height)
    paper(shown)
    axes(view.ink)
    const codes = scene.codes[view.by]
    spread(codes, (i) => visible[i] && !chosen.has(i), "usual", at, chosen.size ? 0.35 : 0.85)
    const size = chosen.size > MANY ? "many" : "few"
    spread(codes, (i) => visible[i] && chosen.has(i), size, at, 1)
    for (const path of view.paths) {
      arrows(path, shown, "#fff", 3)
      arrows(path, shown, "#111", 1.3)
    }
    view.means.forEach((path, group) => {
      arrows(path, shown, "#111", 5)
      arrows(path, shown, scene.looks[view.by][0][group], 3)
    })
    if (scene.scale) scale()
    if (view.cursor !== undefined) ringAround(scene.cells ? view.cursor : at(view.cursor))
    if (view.loop.length > 1) line(view.loop, "#111", 1.2)
    return t < 1
  }

  function paper(shown) {
    context.fillStyle = "#fff"
    context.fillRect(area.left, area.top, area.size, area.size)
    const image = images[Math.min(shown, images.length - 1)]
    if (image?.complete) context.drawImage(image, area.left, area.top, area.size, area.size)
  }

  function axes(ink) {
    const { left, top, size, room } = area
    const bottom = top + size
    context.strokeStyle = ink
    context.fillStyle = ink
    context.lineWidth = 1
    context.strokeRect(left, top, size, size)
    context.font = `13px ${FONT}`
    context.textAlign = "center"
    context.fillText(scene.labels[0], left + size / 2, area.height - 8, size)
    written(scene.labels[1], 14, top + size / 2, -Math.PI / 2, size)
    context.font = `12px ${FONT}`
    for (const [at, text] of scene.xticks) {
      context.textAlign = area.turned ? "right" : "center"
      if (area.turned) written(text, left + at * size + 4, bottom + 14, -Math.PI / 4, 150)
      else context.fillText(text, left + at * size, bottom + 16, room)
    }
    context.textAlign = "right"
    for (const [at, text] of scene.yticks) {
      context.fillText(text, left - 6, bottom - at * size + 4, left - 30)
    }
  }

  /** Text at an angle. */
  function written(text, x, y, angle, room) {
    context.save()
    context.translate(x, y)
    context.rotate(angle)
    context.fillText(text, 0, 0, room)
    context.restore()
  }

  /** What the shades mean: a bar in the corner where no sample can be. */
  function scale() {
    const { name, colours, top } = scene.scale
    const width = 0.34 * area.size
    const x = area.left + 0.62 * area.size
    const y = area.top + 26
    const shades = context.createLinearGradient(x, 0, x + width, 0)
    colours.forEach((colour, k) => shades.addColorStop(k / (colours.length - 1), colour))
    context.fillStyle = shades
    context.fillRect(x, y, width, 10)
    context.strokeStyle = "#444"
    context.lineWidth = 0.8
    context.strokeRect(x, y, width, 10)
    context.fillStyle = "#222"
    context.font = `12px ${FONT}`
    context.textAlign = "center"
    context.fillText(name, x + width / 2, y - 6, width)
    context.fillText("0", x, y + 24)
    context.textAlign = "right"
    context.fillText(String(top), x + width, y + 24)
  }

  function spread(codes, wanted, size, at, alpha) {
    const { data, width } = pixels
    data.fill(0)
    for (const i of order) {
      if (!wanted(i)) continue
      const [x, y] = at(i)
      const middle = Math.round(y * area.ratio) * width + Math.round(x * area.ratio)
      press(stamps[codes[i]][size], data, 4 * middle)
    }
    layer.putImageData(pixels, 0, 0)
    context.globalAlpha = alpha
    context.drawImage(layer.canvas, 0, 0, area.width, area.height)
    context.globalAlpha = 1
  }

  /** A path from step to step; what lies ahead of the step shown is faint. */
  function arrows(path, shown, colour, width) {
    const pixelPath = path.map(toPixels)
    pixelPath.slice(1).forEach((end, step) => {
      context.globalAlpha = step < shown ? 0.9 : 0.3
      arrow(pixelPath[step], end, colour, width)
    })
    context.globalAlpha = 1
  }

  /** A line, with a head where it is long enough for one. */
  function arrow([a, b], [x, y], colour, width) {
    line(
      [
        [a, b],
        [x, y],
      ],
      colour,
      width,
    )
    const length = Math.hypot(x - a, y - b)
    const head = 3 + area.size / 200 + width
    if (length < head) return
    const [right, down] = [((x - a) / length) * head, ((y - b) / length) * head]
    context.beginPath()
    context.moveTo(x, y)
    context.lineTo(x - right + down / 2, y - down - right / 2)
    context.lineTo(x - right - down / 2, y - down + right / 2)
    context.fillStyle = colour
    context.fill()
  }

  function line(path, colour, width) {
    context.beginPath()
    for (const [x, y] of path) context.lineTo(x, y)
    context.strokeStyle = colour
    context.lineWidth = width
    context.stroke()
  }

  /** Where the keyboard is: a ring around a sample, or the cell [column, row]. */
  function ringAround([x, y]) {
    for (const [colour, width] of [
      ["#fff", 5],
      ["#0b57d0", 2.5],
    ]) {
      context.beginPath()
      if (scene.cells) {
        const side = area.size / scene.cells
        context.rect(area.left + x * side, area.top + area.size - (y + 1) * side, side, side)
      } else context.arc(x, y, 11, 0, 2 * Math.PI)
      context.strokeStyle = colour
      context.lineWidth = width
      context.stroke()
    }
  }

  return { show, fit, look, draw, toPixels, toUnit }
}

// Thousands of markers, stamped pixel by pixel: far faster than the canvas draws them.

import { trace } from "./shapes.js"

/**
 * The pixels that a marker covers, five numbers each: the way from its middle in bytes, in a
 * picture `width` pixels wide, then red, green, blue and alpha.
 */
export function stampOf({ colour, marker, radius, edge, ratio, width }) {
  const half = Math.ceil((1.6 * radius + 2) * ratio)
  const side = 2 * half
  const context = new OffscreenCanvas(side, side).getContext("2d")
  context.scale(ratio, ratio)
  trace(context, marker, half / ratio, half / ratio, radius)
  context.fillStyle = colour
  context.fill()
  if (edge) {
    context.strokeStyle = edge
    context.stroke()
  }
  const { data } = context.getImageData(0, 0, side, side)
  const stamp = []
  for (let k = 0; k < side * side; k++) {
    const colours = data.subarray(4 * k, 4 * k + 4)
    const down = Math.floor(k / side) - half
    const across = (k % side) - half
    if (colours[3]) stamp.push(4 * (down * width + across), ...colours)
  }
  return Int32Array.from(stamp)
}

/** Lay a stamp over the bytes of a picture, its middle at the byte `start`. */
export function press(stamp, bytes, start) {
  for (let k = 0; k < stamp.length; k += 5) {
    const here = start + stamp[k]
    const over = stamp[k + 4]
    const under = bytes[here + 3] * (1 - over / 255)
    const whole = over + under
    bytes[here] = (stamp[k + 1] * over + bytes[here] * under) / whole
    bytes[here + 1] = (stamp[k + 2] * over + bytes[here + 1] * under) / whole
    bytes[here + 2] = (stamp[k + 3] * over + bytes[here + 2] * under) / whole
    bytes[here + 3] = whole
  }
}

/** The numbers 0..n-1 in a mixed order, the same each time, so that no group covers the others. */
export function mixed(n) {
  const order = Uint32Array.from({ length: n }, (_, i) => i)
  let state = 12345
  for (let i = n - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const other = Math.floor((state / 2 ** 32) * (i + 1))
    const kept = order[i]
    order[i] = order[other]
    order[other] = kept
  }
  return order
}

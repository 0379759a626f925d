// The exported page in the place of a notebook: what was packed into it, a model without kernel.

import { explore } from "./explorer.js"

function unpacked(_, value) {
  if (value?.base64 === undefined) return value
  return Uint8Array.from(atob(value.base64), (letter) => letter.charCodeAt(0))
}

const content = JSON.parse(document.getElementById("data").textContent, unpacked)
const state = { content, step: 0, picked: [], hidden: {}, wanted: [], faces: {} }
const listeners = {}

if (content.sprite) {
  // all faces in one picture, as a rule of its own: it is large
  const sheet = document.getElementById("faces").sheet
  const size = `${72 * content.columns}px`
  sheet.insertRule(`.nla-sprite { background: url(${content.sprite}) 0 0 / ${size} }`)
}

explore(
  {
    get: (name) => state[name],
    set: (name, value) => {
      state[name] = value
      for (const call of listeners[`change:${name}`] ?? []) call()
    },
    on: (name, call) => (listeners[name] ??= []).push(call),
    save_changes: () => {},
  },
  document.getElementById("explorer"),
)

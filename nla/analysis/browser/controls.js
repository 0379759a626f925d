// Buttons, menus and what they say to those who hear them; the theme of the page around.

import { icon } from "./shapes.js"

/** A button in a place; `pressed` true or false makes it one that stays down. */
export function button(place, text, click, pressed) {
  const item = document.createElement("button")
  item.type = "button"
  item.textContent = text
  if (pressed !== undefined) setPressed(item, pressed)
  item.onclick = () => click(item)
  place.append(item)
  return item
}

/** Whether a button is down, to the eye and to the ear. */
export function setPressed(item, pressed) {
  item.setAttribute("aria-pressed", String(pressed))
}

export const isPressed = (item) => item.getAttribute("aria-pressed") === "true"

/** A row of buttons of which one is down; `choose` is called with its value. */
export function choice(place, values, first, choose) {
  const items = Object.entries(values).map(([value, text]) =>
    button(
      place,
      text,
      (item) => {
        items.forEach((other) => setPressed(other, other === item))
        choose(value)
      },
      value === first,
    ),
  )
}

/** A row of controls with its name before it. */
export function row(place, name) {
  const item = document.createElement("div")
  item.className = "nla-row"
  item.setAttribute("role", "group")
  item.setAttribute("aria-label", name)
  const word = document.createElement("span")
  word.className = "nla-word"
  word.textContent = name
  item.append(word)
  place.append(item)
  return item
}

/**
 * The filters of a fact, which are the legend as well: a button a group, one for all of them.
 * `hidden` holds the codes of those that are off; `changed` is called with it anew.
 */
export function filters(place, fact, names, hidden, changed) {
  const line = row(place, "show")
  const off = new Set(hidden)
  const dress = () => {
    items.forEach((item, code) => setPressed(item, !off.has(code)))
    all.textContent = `${off.size ? "all" : "no"} ${fact === "class" ? "classes" : "kinds"}`
  }
  const toggled = () => {
    dress()
    changed([...off].sort((a, b) => a - b))
  }
  const items = names.map((name, code) =>
    button(line, name, () => {
      if (!off.delete(code)) off.add(code)
      toggled()
    }),
  )
  const all = button(line, "", () => {
    if (off.size) off.clear()
    else names.forEach((_, code) => off.add(code))
    toggled()
  })
  all.className = "nla-plain"
  dress()
  return items
}

/** Put the markers on a fact's filters, or, without a look, take them away. */
export function legend(items, look) {
  items.forEach((item, code) => {
    item.querySelector("svg")?.remove()
    if (look) item.insertAdjacentHTML("afterbegin", icon(look[0][code], look[1][code]))
  })
}

/** "dark" or "light": of JupyterLab, of VS Code, or else as the reader's system has it. */
export function theme() {
  const { dataset, classList } = document.body
  if (dataset.jpThemeLight) return dataset.jpThemeLight === "true" ? "light" : "dark"
  if (classList.contains("vscode-dark")) return "dark"
  if (classList.contains("vscode-light")) return "light"
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"
}

/** Give the reader a text as a file. */
export function download(text, name) {
  const link = document.createElement("a")
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }))
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

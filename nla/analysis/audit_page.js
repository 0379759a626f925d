// Labels to decide on, face by face, by key or mouse. Jupyter loads this through anywidget; the HTML export inlines it
// and hands in a plain object as model: content (see audit_page.py), decisions ({split image: [decision, class]}).
const KEEP = "keep", RELABEL = "relabel", TWO = "two expressions", NONE = "no face" // as nla/data/correction.py has them
const DONE = { [KEEP]: "kept", [RELABEL]: "changed", [TWO]: "with two expressions", [NONE]: "without a face" }
const SIGNS = { [KEEP]: "✓", [RELABEL]: "→", [TWO]: "½", [NONE]: "∅" }
const CHUNK = 120 // cards that are drawn at a time
const TABS = { suspect: "Suspect", ambiguous: "Ambiguous", copies: "Same picture, two labels" }

const STYLE = `
.audit { --paper: #fff; --ink: #1d2026; --faint: #59616e; --line: #c8cdd6; --soft: #f1f3f6; --strong: #0a58c4; --on: #fff;
  --own: #0a58c4; --other: #b45309; color: var(--ink); background: var(--paper); font: 15px/1.4 system-ui, sans-serif;
  max-width: 1240px; margin: 0 auto; padding: 12px; box-sizing: border-box; outline: none }
.audit.dark { --paper: #16181c; --ink: #e8eaee; --faint: #a4acb9; --line: #474d58; --soft: #23272e; --strong: #8ab4f8; --on: #10131a;
  --own: #8ab4f8; --other: #f6ad55 }
.audit * { box-sizing: border-box }
.audit h1 { font-size: 20px; margin: 0 0 2px }
.audit p { margin: 2px 0; color: var(--faint); overflow-wrap: anywhere }
.audit button, .audit select { font: inherit; color: var(--ink); background: var(--soft); border: 1px solid var(--line);
  border-radius: 6px; padding: 5px 9px; min-height: 34px; cursor: pointer }
.audit button:disabled { opacity: .45; cursor: default }
.audit button[aria-pressed=true] { background: var(--strong); color: var(--on); border-color: var(--strong) }
.audit :focus-visible { outline: 3px solid var(--strong); outline-offset: 1px }
.audit kbd { font: 12px ui-monospace, monospace; border: 1px solid var(--line); border-radius: 4px; padding: 0 4px;
  background: var(--paper); color: var(--faint) }
.audit progress { width: 100%; height: 10px; accent-color: var(--strong) }
.audit-bar { display: flex; flex-wrap: wrap; gap: 6px; margin: 8px 0; align-items: center }
.audit-bar label { color: var(--faint); font-size: 13px; max-width: 100% }
.audit-bar select { max-width: 170px }
.audit-main { display: grid; grid-template-columns: 400px minmax(0, 1fr); gap: 16px; align-items: start }
.audit-stage { position: sticky; top: 8px }
.audit-look { display: flex; gap: 12px; align-items: flex-start }
.audit-face { background-color: var(--soft); background-repeat: no-repeat; border-radius: 6px; overflow: hidden; overflow-wrap: anywhere;
  font-size: 11px; color: var(--faint); display: block; flex: none }
.audit-facts { min-width: 0 }
.audit-facts b { font-size: 17px }
.audit-curve { display: block; width: 100%; max-width: 190px; height: 66px; margin-top: 4px }
.audit-classes { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 6px; margin: 6px 0 }
.audit-classes button { text-align: left; white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
.audit-grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(88px, 1fr)); gap: 6px }
.audit-grid button { padding: 4px; text-align: left; font-size: 11px; line-height: 1.25; background: var(--paper); min-width: 0;
  position: relative; overflow: hidden; content-visibility: auto; contain-intrinsic-size: 90px 124px }
.audit-grid button[aria-current=true] { border-color: var(--strong); box-shadow: 0 0 0 2px var(--strong) }
.audit-grid button.done { background: var(--soft) }
.audit-grid span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.audit-sign { position: absolute; top: 6px; right: 6px; background: var(--strong); color: var(--on); border-radius: 10px;
  padding: 0 6px; font-weight: bold; font-size: 13px }
.audit-warn { color: var(--other) !important; font-weight: 600 }
.audit-heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
.audit details { margin: 8px 0; color: var(--faint) }
.audit summary { cursor: pointer }
@media (max-width: 820px) {
  .audit-main { grid-template-columns: minmax(0, 1fr) }
  .audit-stage { position: static }
  .audit kbd { display: none }
  .audit-classes, .audit-verdicts { grid-template-columns: repeat(2, minmax(0, 1fr)); display: grid }
}`

const PAGE = `<style>${STYLE}</style>
<section class="audit" tabindex="-1" data-lm-suppress-shortcuts="true" aria-label="whose label is wrong">
<h1>Whose label is wrong?</h1><p class="audit-about"></p><p class="audit-warn" hidden></p>
<progress aria-label="share of the faces that are decided" value="0"></progress><p class="audit-done"></p>
<div class="audit-bar audit-tabs" role="group" aria-label="what to look at"></div>
<details class="audit-narrow"><summary>Filters</summary>
<div class="audit-bar audit-filters" role="group" aria-label="filters"></div></details>
<div class="audit-main">
  <div class="audit-stage">
    <div class="audit-current"></div>
    <div class="audit-bar audit-verdicts" role="group" aria-label="decisions"></div>
    <div class="audit-classes" role="group" aria-label="it shows"></div>
    <div class="audit-bar audit-moves" role="group" aria-label="moves"></div>
    <details><summary>How to</summary>
      <p>Look at the face, then press a key; the next face comes by itself. Keep says that the label is right. A number says which
      expression it is. Two expressions keeps the label and marks the face; no face leaves it out of training.</p>
      <p>The curves: what the network gave the label (p_GT, solid) and the strongest other class (p_NN, dashed), epoch by epoch.</p>
      <p>Decisions stay in this browser. Save them, and <code>nla data correct --decisions FILE</code> makes a training list.</p>
    </details>
  </div>
  <div><div class="audit-grid" role="group" aria-label="faces"></div><p class="audit-none"></p></div>
</div>
<div class="audit-heard" role="status" aria-live="polite"></div></section>`

const percent = (share) => `${Math.round(100 * share)}\u00a0%`
const count = (number) => number.toLocaleString("en")
const quoted = (value) => (/[",\n\r]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value))

function element(kind, options = {}, ...children) {
  const made = document.createElement(kind)
  for (const [name, value] of Object.entries(options)) {
    name in made ? (made[name] = value) : made.setAttribute(name, value)
  }
  made.append(...children)
  return made
}

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0))

// What was decided, kept in the browser under the run's key, and in the model, where Python may decide too.
function memory(key, model, warn) {
  const read = () => {
    try {
      return JSON.parse(localStorage.getItem(key) ?? "{}")
    } catch {
      warn()
      return {}
    }
  }
  const keep = () => {
    try {
      localStorage.setItem(key, JSON.stringify(made))
    } catch {
      warn()
    }
  }
  const tell = () => {
    model.set("decisions", { ...made })
    model.save_changes()
  }
  const take = (decisions) => {
    for (const id of Object.keys(made)) delete made[id]
    Object.assign(made, decisions)
  }
  const given = model.get("decisions") ?? {}
  const decided = Object.keys(given).length > 0
  const made = decided ? { ...given } : read()
  if (decided) keep()
  else if (Object.keys(made).length) tell()
  return {
    made,
    save() {
      keep()
      tell()
    },
    again() { // another tab of the same page has decided
      take(read())
      tell()
    },
    listen() { // whether Python has decided what is not known here
      const now = model.get("decisions") ?? {}
      if (JSON.stringify(now) === JSON.stringify(made)) return false
      take(now)
      keep()
      return true
    },
  }
}

export function audit(model, el, alone = false) {
  el.innerHTML = PAGE
  const find = (name) => el.querySelector(`.audit-${name}`), root = el.querySelector(".audit")
  const data = model.get("content"), rows = data.rows, classes = data.classes, size = rows.image.length
  const curves = bytes(data.curves.bytes)
  // a short address for each sheet: its own is as long as the picture
  const sheets = data.sheets.map((url) => URL.createObjectURL(new Blob([bytes(url.split(",")[1])], { type: "image/jpeg" })))
  const past = [] // for undo: [id, what was decided before, the place]
  const filters = { label: "", suggested: "", seen: "", state: "", sure: "0" }
  let tab = data.tabs.findIndex((one) => one.order.length), order = [], at = 0, drawn = 0, truth = false, unsaved = false
  tab = Math.max(tab, 0)
  const kept = memory(data.key, model, () => {
    find("warn").hidden = false
    find("warn").textContent = "This browser keeps nothing for this page: save the decisions before you close it."
    unsaved = true
  })
  const made = kept.made
  const id = (row) => `${rows.split[row]} ${rows.image[row]}`
  const known = new Map(rows.image.map((_, row) => [id(row), row]))

  const wide = () => !matchMedia("(max-width: 820px)").matches
  const name = (k) => classes[k] ?? "?"
  const offered = (row) => (rows.suggested[row] < 0 ? "" : name(rows.suggested[row]))
  const said = ([decision, to]) => (decision === RELABEL ? `→ ${to}` : decision)

  function face(row, side, kind = "span") {
    const made = element(kind, { className: "audit-face", role: "img" })
    made.setAttribute("aria-label", `picture of ${rows.image[row]}`)
    made.style.cssText = `width:${side}px;height:${side}px`
    if (!sheets.length) {
      made.textContent = rows.image[row]
      return made
    }
    const across = data.columns, within = row % (across * across), sheet = Math.floor(row / (across * across))
    const deep = Math.ceil(Math.min(size - sheet * across * across, across * across) / across)
    made.style.backgroundImage = `url(${sheets[sheet]})`
    made.style.backgroundSize = `${across * side}px ${deep * side}px`
    made.style.backgroundPosition = `${-(within % across) * side}px ${-Math.floor(within / across) * side}px`
    return made
  }

  function curve(row) {
    const E = data.curves.epochs, broad = 190, high = 66, left = 24, low = 52
    const line = (part) => [...Array(E).keys()].map((e) => {
      const x = E > 1 ? left + ((broad - left - 4) * e) / (E - 1) : (broad + left) / 2
      const y = low - (low - 4) * (curves[(2 * row + part) * E + e] / 255)
      return `${x.toFixed(1)},${y.toFixed(1)}`
    }).join(" ")
    const drawing = (part, colour, dash) => E > 1
      ? `<polyline points="${line(part)}" fill="none" stroke="${colour}" stroke-width="2" stroke-dasharray="${dash}"/>`
      : `<circle cx="${line(part).split(",")[0]}" cy="${line(part).split(",")[1]}" r="3" fill="${colour}"/>`
    const last = (part) => percent(curves[(2 * row + part) * E + E - 1] / 255)
    return `<svg class="audit-curve" viewBox="0 0 ${broad} ${high}" role="img"
      aria-label="over ${E} epochs; at the end p_GT ${last(0)}, p_NN ${last(1)}">
      <g stroke="var(--line)"><path d="M${left} 4V${low}H${broad - 4}" fill="none"/></g>
      <g fill="var(--faint)" font-size="10"><text x="0" y="11">1.0</text><text x="0" y="${low}">0.0</text>
      <text x="${left}" y="${high - 2}">epochs</text>
      <text x="78" y="${high - 2}" fill="var(--own)">— label</text><text x="128" y="${high - 2}" fill="var(--other)">- - other</text></g>
      ${drawing(0, "var(--own)", "none")}${drawing(1, "var(--other)", "5 3")}</svg>`
  }

  function describe() { // the face that is to be decided
    const box = find("current"), row = order[at]
    box.replaceChildren()
    for (const one of root.querySelectorAll(".audit-verdicts button, .audit-classes button")) one.disabled = row === undefined
    if (row === undefined) return
    const facts = element("div", { className: "audit-facts" })
    const line = (text, kind = "p") => facts.append(element(kind, { textContent: text }))
    const sure = rows.sure[row] ? `, ${percent(rows.sure[row])}` : ""
    line(`label: ${name(rows.label[row])}`, "b")
    line(offered(row) ? `suggested: ${offered(row)}${sure}` : "no other class is suggested")
    line(`suspect ${rows.suspect[row].toFixed(2)}, doubt ${rows.ambiguity[row].toFixed(2)}`)
    if (rows.votes) {
      const votes = rows.votes[row].map((n, k) => [n, name(k)]).filter(([n]) => n).sort(([a], [b]) => b - a)
      line(votes.length ? `votes: ${votes.map(([n, who]) => `${who} ${n}`).join(", ")}` : "no votes")
    }
    if (rows.copies?.[row]) line(`it and its copies are labelled ${rows.copies[row]}`)
    if (truth) line(`truth: ${name(rows.truth[row])} (${rows.kind[row]})`)
    if (made[id(row)]) line(`decided: ${said(made[id(row)])}`, "b")
    const look = element("div", { className: "audit-look" }, face(row, wide() ? 180 : 150, "div"), facts)
    facts.insertAdjacentHTML("beforeend", curve(row))
    const image = /^[0-9]+$/.test(rows.image[row]) ? `row ${rows.image[row]}` : rows.image[row]
    const where = `${image}, ${rows.seen[row] ? "trained on" : `held out (${rows.split[row]}; a training list leaves its label as it is)`}`
    box.append(look, element("p", { textContent: `${count(at + 1)} of ${count(order.length)} · ${where}` }))
    for (const one of root.querySelectorAll("[data-class]")) {
      one.setAttribute("aria-pressed", String(made[id(row)]?.[1] === name(Number(one.dataset.class))))
    }
    for (const one of root.querySelectorAll("[data-decision]")) {
      one.setAttribute("aria-pressed", String(made[id(row)]?.[0] === one.dataset.decision))
    }
    root.querySelector("[data-take]").disabled = !offered(row)
  }

  function tally() { // of the rows on this page
    const counts = {}
    for (const [one, [decision]] of Object.entries(made)) if (known.has(one)) counts[decision] = (counts[decision] ?? 0) + 1
    const done = Object.values(counts).reduce((a, b) => a + b, 0)
    Object.assign(root.querySelector("progress"), { max: Math.max(size, 1), value: done })
    const parts = Object.entries(counts).map(([decision, n]) => `${count(n)} ${DONE[decision]}`).join(", ")
    find("done").textContent = `${count(done)} of ${count(size)} decided${parts && `: ${parts}`}`
    find("moves").querySelector("[data-undo]").disabled = !past.length
    find("moves").querySelector("[data-save]").disabled = !done
  }

  function dress(card, row) { // a card's marks
    const decision = made[id(row)]
    card.classList.toggle("done", Boolean(decision))
    card.querySelector(".audit-sign")?.remove()
    if (decision) card.append(element("span", { className: "audit-sign", textContent: SIGNS[decision[0]] }))
    const hint = offered(row) && `, suggested ${offered(row)}`
    card.setAttribute("aria-label", `label ${name(rows.label[row])}${hint}, ${decision ? said(decision) : "undecided"}`)
  }

  function more(until = drawn + CHUNK) { // draw cards up to there
    const grid = find("grid"), end = Math.min(Math.max(until, 0), order.length), news = []
    for (; drawn < end; drawn++) {
      const row = order[drawn], place = drawn
      const card = element("button", { type: "button", tabIndex: -1, onclick: () => go(place) }, face(row, 78))
      card.append(element("span", { textContent: name(rows.label[row]) }))
      card.append(element("span", { textContent: offered(row) ? `→ ${offered(row)}` : "" }))
      dress(card, row)
      news.push(card)
    }
    grid.append(...news)
  }

  function mark(moved = true) { // where we are
    const grid = find("grid")
    if (at >= drawn) more(at + CHUNK)
    const before = grid.querySelector("[aria-current]")
    if (before) {
      before.removeAttribute("aria-current")
      before.tabIndex = -1
    }
    const card = grid.children[at]
    if (!card) return
    card.setAttribute("aria-current", "true")
    card.tabIndex = 0
    if (before && before === document.activeElement) card.focus({ preventScroll: true })
    const box = card.getBoundingClientRect()
    if (moved && wide() && (box.top < 0 || box.bottom > window.innerHeight)) card.scrollIntoView({ block: "center" })
  }

  function go(place) {
    at = Math.max(0, Math.min(place, order.length - 1))
    mark()
    describe()
  }

  function hear(text) {
    const row = order[at]
    const next = row === undefined ? "" : `. Now: label ${name(rows.label[row])}, suggested ${offered(row) || "nothing"}`
    find("heard").textContent = text + next
  }

  function set(row, decision) {
    decision ? (made[id(row)] = decision) : delete made[id(row)]
    kept.save()
    const place = order.indexOf(row), card = place < 0 ? null : find("grid").children[place]
    if (card) dress(card, row)
    tally()
  }

  function decide(decision, to = "") {
    const row = order[at]
    if (row === undefined) return
    const own = to === name(rows.label[row])
    past.push([row, made[id(row)], at])
    const verdict = decision === RELABEL && own ? [KEEP, ""] : [decision, to]
    set(row, verdict)
    let next = at + 1
    while (filters.state === "open" && next < order.length && made[id(order[next])]) next++
    go(next)
    hear(said(verdict))
  }

  function undo() {
    const last = past.pop()
    if (!last) return
    const [row, before, place] = last
    set(row, before)
    if (order[place] === row) go(place)
    else describe()
    hear("undone")
  }

  function fits(row) {
    const decided = Boolean(made[id(row)])
    return (filters.label === "" || rows.label[row] === Number(filters.label))
      && (filters.suggested === "" || rows.suggested[row] === Number(filters.suggested))
      && (filters.seen === "" || rows.seen[row] === Number(filters.seen))
      && (filters.state === "" || decided === (filters.state === "done"))
      && rows.sure[row] >= Number(filters.sure)
  }

  function list() { // after a change of tab or filter
    order = data.tabs[tab].order.filter(fits)
    at = drawn = 0
    find("grid").replaceChildren()
    more()
    const whole = data.tabs[tab].total
    const rest = whole - data.tabs[tab].order.length
    const hidden = data.tabs[tab].order.length - order.length
    find("none").textContent = [
      order.length ? "" : "Nothing to show here.",
      hidden ? `${count(hidden)} more are filtered out.` : "",
      rest ? `${count(rest)} more labels, further down the ranking, are not on this page.` : "",
    ].filter(Boolean).join(" ")
    for (const [k, one] of [...find("tabs").querySelectorAll("[data-tab]")].entries()) {
      one.setAttribute("aria-pressed", String(k === tab))
    }
    mark(false)
    describe()
  }

  function csv() {
    const lines = ["data,split,image,digest,shape,label,decision,to"]
    for (const [one, [decision, to]] of Object.entries(made)) {
      const row = known.get(one)
      if (row === undefined) continue
      const cells = [data.data, rows.split[row], rows.image[row], rows.digest[row] ?? "", data.shape]
      lines.push([...cells, name(rows.label[row]), decision, to].map(quoted).join(","))
    }
    return `${lines.join("\n")}\n`
  }

  function save() {
    const url = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }))
    const link = element("a", { href: url, download: `decisions-${data.data}-${data.title}.csv`.replace(/[^\w.-]+/g, "-") })
    link.click()
    setTimeout(() => URL.revokeObjectURL(url), 1000)
    unsaved = false
    hear("saved")
  }

  function button(place, text, key, onclick, marks = {}) {
    const made = element("button", { type: "button", onclick }, text)
    if (key) made.append(" ", element("kbd", { textContent: key }))
    Object.assign(made.dataset, marks)
    find(place).append(made)
  }

  function choice(what, text, options) {
    const select = element("select", { ariaLabel: text, onchange: () => { filters[what] = select.value; list() } })
    select.append(element("option", { value: what === "sure" ? "0" : "", textContent: "any" }))
    for (const [value, shown] of options) select.append(element("option", { value, textContent: shown }))
    find("filters").append(element("label", {}, `${text} `, select))
  }

  const take = () => { if (offered(order[at])) decide(RELABEL, offered(order[at])) }
  const keys = {
    k: () => decide(KEEP), s: take, t: () => decide(TWO), n: () => decide(NONE), u: undo, e: save,
    arrowright: () => go(at + 1), arrowleft: () => go(at - 1),
    x: () => { if (made[id(order[at])]) { past.push([order[at], made[id(order[at])], at]); set(order[at]); describe(); hear("cleared") } },
  }

  function press(event) {
    const key = event.key.toLowerCase()
    if (/^(input|select|textarea)$/i.test(event.target.tagName) && event.target.type !== "checkbox") return
    if ((event.ctrlKey || event.metaKey) && key === "z") undo()
    else if (event.ctrlKey || event.metaKey || event.altKey) return
    else if (keys[key]) keys[key]()
    else if (/^[1-9]$/.test(key) && key <= classes.length) decide(RELABEL, classes[key - 1])
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  function light() { // the system's choice, or in Jupyter that of the lab
    const theme = document.body.dataset.jpThemeLight
    const dark = theme ? theme === "false" : matchMedia("(prefers-color-scheme: dark)").matches
    root.classList.toggle("dark", dark)
    if (alone) document.body.style.background = dark ? "#16181c" : "#fff"
  }

  data.tabs.forEach((one, k) => {
    const show = () => { tab = k; list() }
    button("tabs", `${TABS[one.name]} (${count(one.order.length)})`, "", show, { tab: k })
  })
  const named = classes.map((one, k) => [String(k), one])
  choice("label", "label", named)
  choice("suggested", "suggestion", named)
  choice("sure", "sure", [0.3, 0.5, 0.7, 0.9].map((share) => [String(share), `from ${percent(share)}`]))
  choice("state", "decided", [["open", "not yet"], ["done", "yes"]])
  if (new Set(rows.seen).size > 1) choice("seen", "seen", [["1", "trained on"], ["0", "held out"]])
  if (rows.truth) {
    const box = element("input", { type: "checkbox", onchange: () => { truth = box.checked; describe() } })
    find("filters").append(element("label", {}, box, " show the truth"))
  }
  button("verdicts", "Keep", "K", () => decide(KEEP), { decision: KEEP })
  button("verdicts", "Take the suggestion", "S", take, { take: "" })
  button("verdicts", "Two expressions", "T", () => decide(TWO), { decision: TWO })
  button("verdicts", "No face", "N", () => decide(NONE), { decision: NONE })
  classes.forEach((one, k) => button("classes", one, k < 9 ? String(k + 1) : "", () => decide(RELABEL, one), { class: k }))
  button("moves", "Back", "←", () => go(at - 1))
  button("moves", "Next", "→", () => go(at + 1))
  button("moves", "Clear", "X", keys.x)
  button("moves", "Undo", "U", undo, { undo: "" })
  button("moves", "Save csv", "E", save, { save: "" })
  const shown = size < data.total ? `${count(size)} of ${count(data.total)} labels are on this page` : `${count(size)} labels`
  const without = data.sheets.length ? "" : " The pictures were not at hand: files are named in their place."
  find("about").textContent = `${data.title}, ${data.data}: ${shown}, the most suspect first.${without}`

  root.querySelector(".audit-narrow").open = wide()
  const listener = alone ? document : root
  const undone = () => { kept.again(); tally(); list() }
  const told = () => {
    if (!kept.listen()) return
    tally()
    describe()
    for (const [place, card] of [...find("grid").children].entries()) dress(card, order[place])
  }
  const leave = (event) => { if (unsaved && Object.keys(made).length) event.preventDefault() }
  const system = matchMedia("(prefers-color-scheme: dark)"), watch = new MutationObserver(light)
  const scroll = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) more() }, { rootMargin: "600px" })
  listener.addEventListener("keydown", press)
  model.on("change:decisions", told)
  window.addEventListener("storage", undone)
  window.addEventListener("beforeunload", leave)
  system.addEventListener("change", light)
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] })
  scroll.observe(find("none"))
  // JupyterLab cuts cells at x and deletes them at d d, unless the very element that has the focus says no
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"))
  root.addEventListener("click", () => { if (!alone && !root.contains(document.activeElement)) root.focus() })
  light()
  tally()
  list()
  return () => {
    listener.removeEventListener("keydown", press)
    model.off("change:decisions", told)
    window.removeEventListener("storage", undone)
    window.removeEventListener("beforeunload", leave)
    system.removeEventListener("change", light)
    watch.disconnect()
    scroll.disconnect()
    sheets.forEach((url) => URL.revokeObjectURL(url))
  }
}

export default { render: ({ model, el }) => audit(model, el) }

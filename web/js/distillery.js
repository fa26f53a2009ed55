// What the nodes show in the editor: how an image was made, and a result beside its source.
//
// DOM widgets, because they work in the classic renderer and in Nodes 2.0 alike. Everything that is shown comes from
// the server as data and goes into the page as text: prompts and file names are strangers'.

import { app } from '../../../scripts/app.js'
import { api } from '../../../scripts/api.js'

const SUMMARY = 'distillery_summary'
const LOAD = 'DistilleryLoadImage'
const MODELS = 'DistilleryLoadModels'
const SAVE = 'DistillerySave'
const COMPARE = 'DistilleryCompare'

const CSS = `
.distillery-summary { position: relative; box-sizing: border-box; width: 100%; height: 100%; }
.distillery-summary > div { position: absolute; inset: 0; box-sizing: border-box; overflow: auto; padding: 6px 8px; border-radius: 6px; background: var(--comfy-input-bg, #222); color: var(--input-text, #ddd);
  font: 12px/1.4 Inter, system-ui, sans-serif; user-select: text; cursor: auto; }
.distillery-summary h4 { margin: 0 0 4px; font-size: 12px; font-weight: 600; }
.distillery-summary p { margin: 0 0 4px; opacity: .7; }
.distillery-summary dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 8px; margin: 0; }
.distillery-summary dt { opacity: .6; }
.distillery-summary dd { margin: 0; overflow-wrap: anywhere; }
.distillery-summary .text { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 4; overflow: hidden; }
.distillery-summary .text:hover { -webkit-line-clamp: unset; }
.distillery-summary .there { color: #6fcf97; }
.distillery-summary .there::before { content: '✓ '; }
.distillery-summary .missing::before { content: '✗ '; }
.distillery-summary .missing { color: #ff8a80; }
.distillery-summary ul { margin: 6px 0 0; padding: 4px 8px 4px 22px; border-left: 3px solid #e0a030; list-style: disc;
  background: rgba(224, 160, 48, .15); }
.distillery-compare { position: relative; box-sizing: border-box; width: 100%; height: 100%; overflow: hidden;
  border-radius: 6px; background: var(--comfy-input-bg, #222); cursor: ew-resize; touch-action: none; }
.distillery-compare img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain;
  pointer-events: none; user-select: none; }
.distillery-compare .line { position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px; background: #fff;
  box-shadow: 0 0 3px #000; pointer-events: none; }
.distillery-compare span { position: absolute; bottom: 6px; padding: 1px 6px; border-radius: 4px;
  background: rgba(0, 0, 0, .6); color: #fff; font: 11px Inter, system-ui, sans-serif; pointer-events: none; }
.distillery-compare p { position: absolute; inset: 0; display: grid; place-items: center; margin: 0; opacity: .6;
  color: var(--input-text, #ddd); font: 12px Inter, system-ui, sans-serif; text-align: center; }`

function element(tag, className, text) {
  const made = document.createElement(tag)
  if (className) made.className = className
  if (text !== undefined) made.textContent = text
  return made
}

/** A widget that only shows: it is never saved with the workflow, nor sent with it. */
function addDisplay(node, name, root, minHeight) {
  const widget = node.addDOMWidget(name, name, root, {
    serialize: false,
    hideOnZoom: false,
    getValue: () => '',
    setValue: () => {},
    getMinHeight: () => minHeight
  })
  widget.serialize = false
  // The canvas below zooms with the wheel; what can be scrolled keeps it.
  root.addEventListener('wheel', (event) => {
    const scrolled = root.firstElementChild
    if (scrolled && scrolled.scrollHeight > scrolled.clientHeight) event.stopPropagation()
  })
  return widget
}

function drawSummary(root, summary, empty) {
  if (!summary) return root.replaceChildren(element('p', '', empty))
  const list = element('dl')
  for (const { name, value, note, missing } of summary.rows) {
    const cell = element('dd')
    cell.append(element('div', 'text', value))
    if (note) cell.append(element('div', missing ? 'missing' : 'there', note))
    list.append(element('dt', '', name), cell)
  }
  root.replaceChildren(element('h4', '', summary.heading), list)
  if (summary.warnings.length) {
    const warnings = element('ul')
    warnings.append(...summary.warnings.map((text) => element('li', '', text)))
    root.append(warnings)
  }
}

function addSummary(node, minHeight, empty) {
  const root = element('div', 'distillery-summary')
  // Its own layer, so that a long text scrolls and does not make the node grow over its neighbours.
  const layer = root.appendChild(element('div'))
  addDisplay(node, SUMMARY, root, minHeight)
  const show = (summary) => drawSummary(layer, summary, empty)
  show(null)
  const executed = node.onExecuted
  node.onExecuted = function (output) {
    executed?.apply(this, arguments)
    const text = output?.[SUMMARY]?.[0]
    if (text) show(JSON.parse(text))
  }
  return show
}

/** Shows what the chosen image says as soon as it is chosen or uploaded, before anything runs. */
function recallOnChoice(node) {
  const widget = node.widgets?.find((w) => w.name === 'image')
  if (!widget) return
  const show = addSummary(node, 170, 'Upload an image to see how it was made.')
  let shown
  const look = async () => {
    const image = String(widget.value ?? '')
    if (!image || image === shown) return
    shown = image
    const response = await api.fetchApi(`/distillery/recall?image=${encodeURIComponent(image)}`)
    if (image !== shown) return // another one was chosen meanwhile
    show(response.ok ? await response.json() : null) // null: the node's own check says what is wrong
  }
  const chosen = widget.callback
  widget.callback = function () {
    const result = chosen?.apply(this, arguments)
    look()
    return result
  }
  const configured = node.onConfigure
  node.onConfigure = function () {
    const result = configured?.apply(this, arguments)
    look()
    return result
  }
  // Once the node has got the values of its workflow.
  requestAnimationFrame(look)
}

function addCompare(node) {
  const root = element('div', 'distillery-compare')
  const [after, before] = [element('img'), element('img')]
  const line = element('div', 'line')
  const [left, right] = [element('span', '', 'before'), element('span', '', 'after')]
  left.style.left = right.style.right = '6px'
  root.append(element('p', '', 'Run the workflow to compare.'))

  const place = (part) => {
    before.style.clipPath = `inset(0 ${100 - 100 * part}% 0 0)`
    line.style.left = `${100 * part}%`
  }
  root.addEventListener('pointermove', (event) => {
    const box = root.getBoundingClientRect()
    if (box.width) place(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)))
  })
  addDisplay(node, 'compare', root, 220)

  const url = (image) => api.apiURL(`/view?${new URLSearchParams(image)}`)
  const executed = node.onExecuted
  node.onExecuted = function (output) {
    executed?.apply(this, arguments)
    const [a, b] = [output?.distillery_before?.[0], output?.distillery_after?.[0]]
    if (!a || !b) return
    before.src = url(a)
    after.src = url(b)
    place(0.5)
    root.replaceChildren(after, before, line, left, right)
  }
}

const OUT_OF_MEMORY =
  'There is not enough memory for this. On HiRes Tiles choose custom tiling with a smaller tile, close other programs, or ' +
  'use a smaller image.'

/** The editor itself says only that a node threw an error; what to do about it stands in the details. */
function tellError({ detail }) {
  if (!app.graph?.nodes.some((node) => node.type === LOAD)) return
  const outOfMemory = /OutOfMemory/.test(detail.exception_type)
  // The errors of this pack are written for users; their classes come from its modules, others' have none or another.
  if (!outOfMemory && !(detail.node_type.startsWith('Distillery') && detail.exception_type.includes('.nodes.'))) return
  const node = app.graph.getNodeById(detail.node_id)
  app.extensionManager.toast.add({
    severity: 'error',
    summary: node?.title ?? detail.node_type,
    detail: outOfMemory ? OUT_OF_MEMORY : detail.exception_message.trim()
  })
}

app.registerExtension({
  name: 'Distillery.Upscale',
  setup() {
    document.head.append(element('style', '', CSS))
    api.addEventListener('execution_error', tellError)
  },
  nodeCreated(node) {
    const kind = node.constructor?.comfyClass
    if (kind === LOAD) recallOnChoice(node)
    if (kind === MODELS) addSummary(node, 90, 'What was loaded is shown here.')
    if (kind === SAVE) addSummary(node, 120, 'What the result was made with is shown here.')
    if (kind === COMPARE) addCompare(node)
  }
})

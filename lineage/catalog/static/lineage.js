// The lineage graph on the screen: drawn by Cytoscape, moved by mouse or keys, and told in words beside it.
"use strict";

const graph = readGraph(JSON.parse(document.getElementById("graph-data").textContent));
const canvas = document.getElementById("canvas");
const details = document.getElementById("details");
const status = document.getElementById("graph-status");
const listing = document.getElementById("graph-table");
const options = { depth: 1, decides: false };
const CLASSIFIED_RANK = 2;
let focus = { kind: "overview" };
let view = { cards: [], ways: [] };
let cursor = null;

const short = (name) => name.slice(name.lastIndexOf(".") + 1);
const fullName = (id) => `${graph.tables[graph.columns[id].table].name}.${graph.columns[id].name}`;
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

// ---- drawing ---- //

function colours() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`).trim();
}

function sheet() {
  const colour = colours();
  const tone = (node) => colour(layerTones.includes(node.data("layer")) ? node.data("layer") : "other");
  const sans = "Inter, system-ui, sans-serif";
  const mono = "JetBrains Mono, ui-monospace, monospace";
  const inside = { "text-halign": "right", "text-valign": "center", "text-wrap": "ellipsis", "text-max-width": (node) => node.data("width") - 28 };
  return [
    { selector: "node", style: { shape: "rectangle", "overlay-opacity": 0, "min-zoomed-font-size": 5, events: "no" } },
    { selector: ".card", style: {
      shape: "round-rectangle", "corner-radius": 7, width: "data(width)", height: "data(height)", "background-color": colour("panel"), "border-width": 1, "border-color": colour("line-strong"),
      label: "data(caption)", "font-family": sans, "font-size": 11, color: tone, "text-valign": "top", "text-halign": "right", "text-margin-x": (node) => -node.data("width"), "text-margin-y": -4,
    } },
    { selector: ".card.outside", style: { "border-style": "dashed", "background-color": colour("paper") } },
    { selector: ".card.focus", style: { "border-width": 1.5, "border-color": colour("accent") } },
    { selector: ".head", style: { ...inside, shape: "round-rectangle", "corner-radius": 7, width: (node) => node.data("width") - 2, height: CARD.head - 2, "background-opacity": 0, label: "data(label)", "font-family": mono, "font-size": 13, "font-weight": 600, color: colour("ink"), "text-margin-x": (node) => 14 - node.data("width"), events: "yes" } },
    { selector: ".column", style: { ...inside, shape: "round-rectangle", "corner-radius": 4, width: CARD.width - 10, height: CARD.row - 2, "background-color": colour("accent-soft"), "background-opacity": 0, label: "data(label)", "font-family": mono, "font-size": 12, color: colour("soft"), "text-margin-x": -(CARD.width - 18), events: "yes" } },
    { selector: ".column.confidential", style: { color: colour("warn") } },
    { selector: ".column.restricted", style: { color: colour("bad") } },
    { selector: ".column.focus", style: { "background-opacity": 1, color: colour("ink"), "font-weight": 700 } },
    { selector: ".hover", style: { "background-opacity": 1, "background-color": colour("accent-soft") } },
    { selector: ".cursor", style: { "border-width": 2, "border-color": colour("focus"), "border-opacity": 1 } },
    { selector: "edge", style: {
      width: 1.25, "line-color": colour("line-strong"), "target-arrow-color": colour("line-strong"), "target-arrow-shape": "triangle", "arrow-scale": 0.7,
      "curve-style": "unbundled-bezier", "edge-distances": "endpoints", "source-endpoint": "50% 0%", "target-endpoint": "-50% 0%",
      "control-point-distances": "data(distances)", "control-point-weights": "data(weights)", "overlay-opacity": 0, events: "no",
    } },
    { selector: "edge.back", style: { "target-endpoint": "50% 0%" } },
    { selector: "edge.decides", style: { "line-style": "dashed", "line-dash-pattern": [4, 4] } },
    { selector: "edge.told", style: { label: "data(how)", "font-family": sans, "font-size": 10, color: colour("faint"), "text-background-color": colour("paper"), "text-background-opacity": 1, "text-background-padding": 2 } },
    { selector: "edge.lit", style: { "line-color": colour("accent"), "target-arrow-color": colour("accent"), width: 1.75, "z-index": 2 } },
    { selector: ".dim", style: { opacity: 0.35 } },
  ];
}

const cy = cytoscape({
  container: canvas, elements: [], style: sheet(), layout: { name: "preset" },
  autoungrabify: true, autounselectify: true, boxSelectionEnabled: false, minZoom: 0.04, maxZoom: 2.5,
});

/** A curve that leaves to the right and arrives from the left, as Cytoscape wants its two control points. */
function curve(from, to) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = Math.hypot(dx, dy) || 1;
  const reach = dx * 0.34;
  const [weight, distance] = [(reach * dx) / (length * length), (reach * dy) / length];
  return { weights: [weight, 1 - weight], distances: [-distance, distance] };
}

/** Between two cards that stand above each other: out to the right, and back. */
function bow(from, to) {
  const out = -Math.sign(to.y - from.y) * (28 + Math.abs(to.y - from.y) * 0.12);
  return { weights: [0, 1], distances: [out, out] };
}

const MARKS = { 2: ["confidential", "  ◆"], 3: ["restricted", "  ◆◆"] };

function elementsOf() {
  const nodes = [];
  const middle = new Map();
  const node = (id, x, y, data, classes) => nodes.push({ group: "nodes", data: { id, ...data }, position: { x, y }, classes });
  for (const each of view.cards) {
    const { width } = each;
    const x = each.x + width / 2;
    const table = each.table === undefined ? null : graph.tables[each.table];
    const isFocus = focus.kind === "table" && each.table === focus.table;
    const layer = table ? table.layer : each.group.layer;
    const caption = table ? `${table.layer} · ${table.domain}` : each.group.layer;
    const label = table ? (table.layer === "source" ? table.name.split(":").pop() : short(table.name)) : `${each.group.domain}  ${each.group.size}`;
    node(`${each.key} card`, x, each.y + each.height / 2, { width, height: each.height, caption, layer }, `card${each.outside ? " outside" : ""}${isFocus ? " focus" : ""}`);
    node(each.key, x, each.y + CARD.head / 2, { label, layer, width }, "head");
    middle.set(each.key, { x, y: each.y + CARD.head / 2, half: width / 2 });
    each.columns.forEach((id, number) => {
      const y = each.y + CARD.head + (number + 0.5) * CARD.row;
      const [mark, sign] = MARKS[graph.columns[id].rank] || ["", ""];
      node(`column ${id}`, x, y, { label: graph.columns[id].name + sign, width }, `column ${mark}${focus.column === id ? " focus" : ""}`);
      middle.set(`column ${id}`, { x, y, half: width / 2 });
    });
  }
  const told = focus.kind === "column" && view.ways.length <= 48;
  const edges = view.ways.map(({ from, to, how, decides }, number) => {
    const [one, other] = [middle.get(from), middle.get(to)];
    const back = other.x <= one.x;
    const ends = back ? bow(one, other) : curve({ x: one.x + one.half, y: one.y }, { x: other.x - other.half, y: other.y });
    const classes = [decides && "decides", told && "told", back && "back"].filter(Boolean);
    return { group: "edges", data: { id: `way ${number}`, source: from, target: to, how, ...ends }, classes };
  });
  return nodes.concat(edges);
}

function draw() {
  view = viewOf(graph, focus, options);
  placeCards(view);
  cursor = null;
  cy.batch(() => {
    cy.elements().remove();
    cy.add(elementsOf());
  });
  frame();
}

const PADDING = 36;
const READABLE = 0.7;

/** The corners of all cards with their captions, without asking Cytoscape: it would measure every text. */
function extent() {
  const cards = view.cards;
  return {
    x1: Math.min(...cards.map((each) => each.x)), x2: Math.max(...cards.map((each) => each.x + each.width)),
    y1: Math.min(...cards.map((each) => each.y)) - 18, y2: Math.max(...cards.map((each) => each.y + each.height)),
  };
}

/** All of the view in the middle, at most as large as `most`. */
function fit(most = 2.5) {
  const { x1, x2, y1, y2 } = extent();
  const zoom = Math.min(most, (canvas.clientWidth - 2 * PADDING) / (x2 - x1), (canvas.clientHeight - 2 * PADDING) / (y2 - y1));
  const level = Math.max(zoom, cy.minZoom());
  cy.viewport({ zoom: level, pan: { x: (canvas.clientWidth - (x1 + x2) * level) / 2, y: (canvas.clientHeight - (y1 + y2) * level) / 2 } });
}

/** Shows all of the view if it can be read so, else the part around the focus, with no room left empty. */
function frame() {
  if (!view.cards.length || !canvas.clientWidth) return;
  cy.resize();
  fit(1);
  if (cy.zoom() >= READABLE || focus.kind === "overview") return;
  const { x1, x2, y1, y2 } = extent();
  const node = cy.getElementById(focusNode());
  const { x, y } = node.length ? node.position() : { x: (x1 + x2) / 2, y: (y1 + y2) / 2 };
  const pan = { x: canvas.clientWidth / 2 - x * READABLE, y: canvas.clientHeight / 2 - y * READABLE };
  pan.x += slack(x1 * READABLE + pan.x, x2 * READABLE + pan.x, canvas.clientWidth);
  pan.y += slack(y1 * READABLE + pan.y, y2 * READABLE + pan.y, canvas.clientHeight);
  cy.viewport({ zoom: READABLE, pan });
}

/** How far to move what lies from `low` to `high` so that it fills a length, or lies in its middle. */
function slack(low, high, length) {
  if (high - low <= length - 2 * PADDING) return (length - low - high) / 2;
  if (low > PADDING) return PADDING - low;
  return high < length - PADDING ? length - PADDING - high : 0;
}

function focusNode() {
  if (focus.kind === "column") return `column ${focus.column}`;
  return focus.kind === "table" ? `table ${focus.table}` : "";
}

// ---- following ---- //

function go(next) {
  const hash = writeFocus(graph, next);
  if (location.hash === hash || (hash === "#" && !location.hash)) return;
  location.hash = hash;
  follow();
}

function targetOf(node) {
  const id = node.id();
  if (id.startsWith("column ")) return { kind: "column", column: Number(id.slice(7)), table: graph.columns[Number(id.slice(7))].table };
  if (id.startsWith("table ")) return { kind: "table", table: Number(id.slice(6)) };
  return { kind: "domain", domain: view.cards.find((each) => each.key === id).group.domain };
}

let followed = null;

/** Shows what the address speaks of. The browser tells of a changed address later than a next key may come, so `go` does not wait. */
function follow() {
  if (location.hash === followed) return;
  followed = location.hash;
  const found = readFocus(graph, location.hash.slice(1));
  focus = found || { kind: "overview" };
  draw();
  tell();
  say(found ? summary() : `Nothing here is called ${decodeURIComponent(location.hash.slice(1))}. ${summary()}`);
}

function say(text) {
  status.textContent = text;
}

function summary() {
  const tables = view.cards.filter((each) => each.table !== undefined).length;
  const of = tables ? plural(tables, "table") : plural(view.cards.length, "group");
  return `${title()}: ${of}, ${plural(view.ways.length, "way")} shown.`;
}

function title() {
  if (focus.kind === "column") return fullName(focus.column);
  if (focus.kind === "table") return graph.tables[focus.table].name;
  return focus.kind === "domain" ? `Domain ${focus.domain}` : "All tables";
}

// ---- words beside the graph ---- //

function tell() {
  document.title = document.title.replace(/^.*?(?= · )/, () => (focus.kind === "overview" ? "Lineage" : title()));
  crumbs();
  details.replaceChildren(...detailsOf());
  document.getElementById("depth").closest("label").hidden = focus.kind !== "table";
  document.getElementById("decides").closest("label").hidden = focus.kind === "overview" || focus.kind === "domain";
  if (!listing.hidden) list();
}

function crumbs() {
  const steps = [["All tables", { kind: "overview" }]];
  const table = focus.table === undefined ? null : graph.tables[focus.table];
  const domain = table ? table.domain : focus.domain;
  if (domain) steps.push([domain, { kind: "domain", domain }]);
  if (table) steps.push([table.name, { kind: "table", table: table.id }]);
  if (focus.kind === "column") steps.push([graph.columns[focus.column].name, focus]);
  document.getElementById("graph-crumbs").replaceChildren(...steps.map(([label, where], number) => {
    const link = element("a", { href: writeFocus(graph, where) }, label);
    if (number === steps.length - 1) link.setAttribute("aria-current", "page");
    return element("li", {}, link);
  }));
}

function columnLink(id, how) {
  const { table, name } = graph.columns[id];
  const link = element("a", { class: "name", href: writeFocus(graph, { kind: "column", column: id, table }) }, `${graph.tables[table].name}.`, element("wbr"), name);
  return element("li", {}, link, " ", element("span", { class: "how" }, how));
}

function tableLink(id) {
  const table = graph.tables[id];
  return element("li", { class: "table" }, layerTag(table.layer), " ", element("a", { class: "name", href: writeFocus(graph, { kind: "table", table: id }) }, table.name));
}

function listOf(heading, items, nothing) {
  const title = element("h3", {}, `${heading} `, element("span", { class: "count" }, items.length ? String(items.length) : ""));
  return items.length ? [title, element("ul", { class: "ends" }, ...items)] : [title, element("p", { class: "none" }, nothing)];
}

function classTag(rank) {
  const name = graph.classes[rank];
  return element("span", { class: rank >= CLASSIFIED_RANK ? `class class-${name}` : "class" }, name);
}

function detailsOf() {
  if (focus.kind === "column") return columnDetails(graph.columns[focus.column]);
  if (focus.kind === "table") return tableDetails(graph.tables[focus.table]);
  const shown = focus.kind === "domain" ? graph.tables.filter((table) => table.domain === focus.domain) : graph.tables;
  const counts = layerTones.map((layer) => [layer, shown.filter((table) => table.layer === layer).length]).filter(([, count]) => count);
  const parts = [
    element("h2", {}, title()),
    element("ul", { class: "counts" }, ...counts.map(([layer, count]) => element("li", {}, layerTag(layer), " ", plural(count, "table")))),
  ];
  if (focus.kind === "domain") parts.push(...listOf("Tables", shown.filter((table) => ["silver", "gold", "export"].includes(table.layer)).reverse().map((table) => tableLink(table.id)), "None"));
  else parts.push(...listOf("Domains", [...new Set(graph.tables.map((table) => table.domain))].sort().map((domain) => element("li", {}, element("a", { href: writeFocus(graph, { kind: "domain", domain }) }, domain))), "None"));
  return parts;
}

function tableDetails(table) {
  const parts = [element("p", {}, layerTag(table.layer)), element("h2", { class: "name" }, table.name), element("p", { class: "told" }, table.told)];
  if (table.owner) parts.push(element("p", {}, element("small", {}, `Owner: ${table.owner}`)));
  if (table.page) parts.push(element("p", {}, element("a", { class: "button", href: table.page }, "Open its page")));
  parts.push(...listOf("Made from", table.sources.map(tableLink), "Nothing: here the data begins."));
  parts.push(...listOf("Feeds", table.readers.map(tableLink), "No table reads it."));
  parts.push(...listOf("Columns", table.columns.map((id) => columnLink(id, graph.columns[id].type)).map((item, number) => {
    item.querySelector("a").replaceChildren(graph.columns[table.columns[number]].name);
    return item;
  }), "None is known."));
  return parts;
}

function columnDetails(column) {
  const table = graph.tables[column.table];
  const facts = element("p", { class: "facts" }, element("span", { class: "type" }, column.type || "type not known"), " ", classTag(column.rank));
  const decided = table.decidedBy.filter(({ reached }) => !reached || reached.includes(column.id)).map(({ source, how }) => columnLink(source, how));
  const decides = table.decides.filter(({ source }) => source === column.id);
  const parts = [element("p", {}, layerTag(table.layer)), element("h2", { class: "name" }, element("small", {}, `${table.name}.`), element("wbr"), column.name), facts, element("p", { class: "told" }, column.told)];
  if (table.page) parts.push(element("p", {}, element("a", { class: "button", href: `${table.page}#${encodeURIComponent(`column-${column.name.replace(/\s/g, "_")}`)}` }, "Open its page")));
  parts.push(...listOf("Comes from", column.into.map(([id, how]) => columnLink(id, how)), "No column: here it begins, or it is computed of none."));
  parts.push(...listOf("Goes to", column.outOf.map(([id, how]) => columnLink(id, how)), "No column."));
  if (decided.length) parts.push(...listOf("Decided by", decided, ""));
  if (decides.length) parts.push(...listOf("Decides about", decides.map(({ table: id, how }) => { const item = tableLink(id); item.append(" ", element("span", { class: "how" }, how)); return item; }), ""));
  return parts;
}

/** The same ways as a table, for whoever reads better than sees. */
function list() {
  const named = (key) => {
    const [kind, number] = [key.slice(0, key.indexOf(" ")), key.slice(key.indexOf(" ") + 1)];
    if (kind === "group") return element("span", {}, number);
    const where = kind === "column" ? { kind, column: Number(number), table: graph.columns[number].table } : { kind, table: Number(number) };
    return element("a", { class: "name", href: writeFocus(graph, where) }, kind === "column" ? fullName(Number(number)) : graph.tables[number].name);
  };
  const cell = (child) => element("td", {}, child);
  const rows = view.ways.map(({ from, to, how, decides }) => element("tr", {}, cell(named(from)), cell(how ? (decides ? `decides: ${how}` : how) : "feeds"), cell(named(to))));
  listing.querySelector("caption").textContent = summary();
  listing.querySelector("tbody").replaceChildren(...rows);
}

// ---- mouse ---- //

cy.on("tap", "node", (event) => { go(targetOf(event.target)); canvas.focus({ preventScroll: true }); });
cy.on("mouseover", "node", (event) => {
  event.target.addClass("hover");
  event.target.connectedEdges().addClass("lit");
  canvas.style.cursor = "pointer";
});
cy.on("mouseout", "node", (event) => {
  event.target.removeClass("hover");
  event.target.connectedEdges().removeClass("lit");
  canvas.style.cursor = "";
});

const zoom = (factor) => cy.zoom({ level: cy.zoom() * factor, renderedPosition: { x: canvas.clientWidth / 2, y: canvas.clientHeight / 2 } });
document.getElementById("zoom-in").addEventListener("click", () => zoom(1.3));
document.getElementById("zoom-out").addEventListener("click", () => zoom(1 / 1.3));
document.getElementById("zoom-fit").addEventListener("click", () => fit());
document.getElementById("depth").addEventListener("change", (event) => { options.depth = Number(event.target.value) || Infinity; draw(); tell(); say(summary()); });
document.getElementById("decides").addEventListener("change", (event) => { options.decides = event.target.checked; draw(); tell(); say(summary()); });

function showAs(table) {
  listing.hidden = !table;
  canvas.hidden = table;
  document.getElementById("as-graph").setAttribute("aria-pressed", String(!table));
  document.getElementById("as-table").setAttribute("aria-pressed", String(table));
  document.querySelectorAll(".zoom button").forEach((button) => { button.disabled = table; });
  if (table) list();
  else frame();
}
document.getElementById("as-graph").addEventListener("click", () => showAs(false));
document.getElementById("as-table").addEventListener("click", () => showAs(true));

// ---- keys ---- //

const stops = () => cy.nodes(".head, .column");

function moveTo(node) {
  if (!node || !node.length) return;
  if (cursor) cursor.removeClass("cursor").connectedEdges().removeClass("lit");
  cursor = node;
  node.addClass("cursor").connectedEdges().addClass("lit");
  const { x, y } = node.renderedPosition();
  const margin = 90;
  const outside = x < margin || y < 40 || x > canvas.clientWidth - margin || y > canvas.clientHeight - 40;
  if (outside) cy.center(node);
  say(described(node));
}

function described(node) {
  const target = targetOf(node);
  if (target.kind === "domain") return `${node.data("layer")} of domain ${target.domain}`;
  if (target.kind === "table") return `${graph.tables[target.table].layer} table ${graph.tables[target.table].name}`;
  const column = graph.columns[target.column];
  return `Column ${column.name} of ${graph.tables[column.table].name}, ${column.type || "type not known"}, ${graph.classes[column.rank]}; comes from ${column.into.length}, goes to ${column.outOf.length}`;
}

/** The next stop in a direction: by a way if there is one, else the nearest in the column of cards beside. */
function beside(node, step) {
  const { x, y } = node.position();
  const tied = (step > 0 ? node.outgoers("node") : node.incomers("node"));
  const found = tied.length ? tied : stops().filter((other) => (other.position().x - x) * step > CARD.width / 2);
  const columns = tied.length ? found : found.filter((other) => Math.abs(other.position().x - x) < CARD.width + CARD.between + 1);
  return nearest(columns.length ? columns : found, y);
}

function nearest(nodes, y) {
  return nodes.length ? nodes.min((node) => Math.abs(node.position().y - y)).ele : null;
}

function along(node, step) {
  const { x, y } = node.position();
  const found = stops().filter((other) => Math.abs(other.position().x - x) < 2 && (other.position().y - y) * step > 1);
  return nearest(found, y);
}

function outward() {
  if (focus.kind === "column") return { kind: "table", table: focus.table };
  if (focus.kind === "table") return { kind: "domain", domain: graph.tables[focus.table].domain };
  return { kind: "overview" };
}

const KEYS = {
  ArrowLeft: () => moveTo(beside(cursor, -1)),
  ArrowRight: () => moveTo(beside(cursor, 1)),
  ArrowUp: () => moveTo(along(cursor, -1)),
  ArrowDown: () => moveTo(along(cursor, 1)),
  Enter: () => go(targetOf(cursor)),
  " ": () => go(targetOf(cursor)),
  Escape: () => go(outward()),
  "+": () => zoom(1.3),
  "=": () => zoom(1.3),
  "-": () => zoom(1 / 1.3),
  0: () => fit(),
  o: () => { const { kind, table } = targetOf(cursor); if (kind !== "domain" && graph.tables[table].page) location.href = graph.tables[table].page; },
};

canvas.addEventListener("keydown", (event) => {
  const act = KEYS[event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (!cursor && /^(Arrow|Enter| |o)/.test(event.key)) {
    const start = cy.getElementById(focusNode());
    moveTo(start.length ? start : stops().first());
    if (!/^Arrow/.test(event.key) || !start.length) return;
  }
  act();
});
canvas.addEventListener("focus", () => { if (!cursor && canvas.matches(":focus-visible")) { const start = cy.getElementById(focusNode()); moveTo(start.length ? start : stops().first()); } });

// ---- the page around ---- //

/** Here the search of the page's head leads to the graph. */
window.chooseInPage = (entry) => {
  const table = graph.byName.get(entry.table);
  const column = table && table.columns.find((id) => graph.columns[id].name === entry.columnName);
  if (!table) return false;
  go(column === undefined ? { kind: "table", table: table.id } : { kind: "column", table: table.id, column });
  canvas.focus({ preventScroll: true });
  return true;
};

const restyle = () => cy.style(sheet());
document.addEventListener("themechange", restyle);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
document.fonts.ready.then(restyle);
new ResizeObserver(() => cy.resize()).observe(canvas);
window.addEventListener("hashchange", follow);
follow();

// Search, filter and colours: what every page has. No library, no network; texts are set as text, never as HTML.
"use strict";

const root = document.body.dataset.root;
const layerTones = ["source", "bronze", "silver", "history", "gold", "export"];

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function layerTag(layer) {
  return element("span", { class: `layer layer-${layerTones.includes(layer) ? layer : "other"}` }, layer);
}

// ---- colours ---- //

const ICONS = {
  system: "M12 3a9 9 0 1 0 0 18V3z M12 3a9 9 0 0 1 0 18",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z M12 2v3 M12 19v3 M2 12h3 M19 12h3 M4.9 4.9 7 7 M17 17l2.1 2.1 M4.9 19.1 7 17 M17 7l2.1-2.1",
  dark: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z",
};
const SAID = { system: "as the system", light: "light", dark: "dark" };

function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === "system") localStorage.removeItem("medallion-theme");
    else localStorage.setItem("medallion-theme", theme);
  } catch {
    // Then the choice holds for this page alone.
  }
  showTheme(theme);
  document.dispatchEvent(new CustomEvent("themechange"));
}

function showTheme(theme) {
  const button = document.getElementById("theme");
  const label = `Colours: ${SAID[theme]}`;
  button.setAttribute("aria-label", label);
  button.title = label;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[theme]);
  path.setAttribute("fill", theme === "system" ? "currentColor" : "none");
  path.setAttribute("fill-opacity", ".35");
  path.setAttribute("stroke", "currentColor");
  path.setAttribute("stroke-width", "1.6");
  path.setAttribute("stroke-linecap", "round");
  svg.append(path);
  button.replaceChildren(svg);
}

const theme = () => document.documentElement.dataset.theme || "system";
showTheme(theme());
document.getElementById("theme").addEventListener("click", () => {
  const order = ["system", "light", "dark"];
  setTheme(order[(order.indexOf(theme()) + 1) % order.length]);
});

// ---- search ---- //

const MOST = 24;
let indexed = null;

/** The index, loaded when it is first wanted: it is the largest file of most pages. */
function loadIndex() {
  indexed ??= new Promise((resolve, reject) => {
    const script = element("script", { src: `${root}data/search.js` });
    script.onload = () => resolve(entriesOf(window.catalogIndex));
    script.onerror = reject;
    document.head.append(script);
  });
  return indexed;
}

function entriesOf(tables) {
  const entries = [];
  for (const [name, layer, page, told, owner, columns] of tables) {
    const short = name.slice(name.lastIndexOf(".") + 1).toLowerCase();
    entries.push({ name, layer, page, told, short, table: name, full: name.toLowerCase(), rest: `${told} ${owner}`.toLowerCase(), column: false });
    for (const [column, meaning] of columns) {
      const id = `column-${column.replace(/\s/g, "_")}`;
      entries.push({
        name: `${name}.${column}`, layer, page: `${page}#${encodeURIComponent(id)}`, told: meaning, table: name, columnName: column,
        short: column.toLowerCase(), full: `${name}.${column}`.toLowerCase(), rest: meaning.toLowerCase(), column: true,
      });
    }
  }
  return entries;
}

/** How well an entry answers all the words; 0 is not at all. A table comes before its columns. */
function score(entry, words, whole) {
  let total = 0;
  for (const word of words) {
    if (entry.short === word) total += 60;
    else if (entry.short.startsWith(word)) total += 40;
    else if (entry.short.includes(word)) total += 25;
    else if (entry.full.includes(word)) total += 12;
    else if (entry.rest.includes(word)) total += 4;
    else return 0;
  }
  return total + (entry.full === whole ? 200 : 0) + (entry.column ? 0 : 8);
}

function find(entries, text) {
  const whole = text.trim().toLowerCase();
  const words = whole.split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const scored = [];
  for (const entry of entries) {
    const points = score(entry, words, whole);
    if (points) scored.push([points, entry]);
  }
  scored.sort((a, b) => b[0] - a[0] || a[1].full.length - b[1].full.length || (a[1].full < b[1].full ? -1 : 1));
  return scored.map(([, entry]) => entry);
}

/** The text with the parts that were looked for marked. */
function marked(text, words) {
  const parts = [];
  let at = 0;
  const low = text.toLowerCase();
  while (at < text.length) {
    let next = -1;
    let length = 0;
    for (const word of words) {
      const found = low.indexOf(word, at);
      if (found >= 0 && (next < 0 || found < next)) [next, length] = [found, word.length];
    }
    if (next < 0) break;
    parts.push(text.slice(at, next), element("mark", {}, text.slice(next, next + length)));
    at = next + length;
  }
  return [...parts, text.slice(at)];
}

/** A combobox (ARIA 1.2): typing lists what `choose` may be given; arrows move, Enter chooses, Escape closes. */
function combobox(input, list, status, choose) {
  let selected = -1;
  let found = [];
  const close = () => {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    selected = -1;
  };
  const select = (number) => {
    selected = number;
    [...list.querySelectorAll("[role=option]")].forEach((option, at) => {
      option.setAttribute("aria-selected", String(at === number));
      if (at === number) option.scrollIntoView({ block: "nearest" });
    });
    if (number >= 0) input.setAttribute("aria-activedescendant", `${list.id}-${number}`);
    else input.removeAttribute("aria-activedescendant");
  };
  const show = async () => {
    const text = input.value;
    if (!text.trim()) return close();
    let entries;
    try {
      entries = await loadIndex();
    } catch {
      list.replaceChildren(element("div", { class: "nothing" }, "The search index cannot be read."));
      list.hidden = false;
      return;
    }
    if (input.value !== text) return;
    const words = text.trim().toLowerCase().split(/\s+/);
    const all = find(entries, text);
    found = all.slice(0, MOST);
    list.replaceChildren(...found.map((entry, number) => {
      const name = element("span", { class: "name" }, ...marked(entry.name, words));
      const option = element("div", { role: "option", id: `${list.id}-${number}`, "aria-selected": "false" }, layerTag(entry.layer), name);
      if (entry.told) option.append(element("small", {}, entry.told));
      option.addEventListener("mousedown", (event) => event.preventDefault());
      option.addEventListener("click", (event) => { choose(entry, event); close(); });
      return option;
    }));
    if (!found.length) list.append(element("div", { class: "nothing" }, `Nothing is called “${text.trim()}”.`));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    status.textContent = all.length > MOST ? `${MOST} of ${all.length} results` : `${all.length} result${all.length === 1 ? "" : "s"}`;
    select(found.length ? 0 : -1);
  };
  input.addEventListener("input", show);
  input.addEventListener("focus", () => { loadIndex().catch(() => {}); if (input.value) show(); });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { if (list.hidden) input.value = ""; close(); }
    else if (event.key === "Enter" && selected >= 0) { event.preventDefault(); choose(found[selected], event); close(); }
    else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && found.length) {
      event.preventDefault();
      if (list.hidden) show();
      else select((selected + (event.key === "ArrowDown" ? 1 : -1) + found.length) % found.length);
    }
  });
}

const search = document.getElementById("search");
combobox(search, document.getElementById("search-results"), document.getElementById("search-status"), (entry, event) => {
  if (window.chooseInPage && window.chooseInPage(entry)) search.value = "";
  else if (event.ctrlKey || event.metaKey) window.open(root + entry.page, "_blank", "noopener");
  else location.href = root + entry.page;
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    search.focus();
  }
});

// ---- lists that can be filtered ---- //

const filter = document.getElementById("filter");
if (filter) {
  // The words of a row's group (its table) count as the row's own.
  const rows = [...document.querySelectorAll("[data-filtered] tbody tr")].map((row) => [row, `${row.closest("[data-filtered]").dataset.filtered} ${row.textContent}`.toLowerCase()]);
  const status = document.getElementById("filter-status");
  const apply = () => {
    const words = filter.value.trim().toLowerCase().split(/\s+/);
    for (const [row, text] of rows) row.classList.toggle("out", !words.every((word) => text.includes(word)));
    for (const group of document.querySelectorAll(".group")) group.classList.toggle("out", !group.querySelector("tbody tr:not(.out)"));
    const shown = rows.filter(([row]) => row.offsetParent).length;
    status.textContent = `${shown} row${shown === 1 ? "" : "s"} shown`;
  };
  filter.addEventListener("input", apply);
  document.querySelectorAll("input[name=layer]").forEach((box) => box.addEventListener("change", apply));
  if (filter.value) apply();
}

// ---- links into folded parts ---- //

function unfold() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = target && target.closest("details:not([open])");
  if (folded) {
    folded.open = true;
    target.scrollIntoView();
  }
}
window.addEventListener("hashchange", unfold);
unfold();

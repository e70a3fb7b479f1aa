// The lineage graph without a screen: what belongs to a view, and where each card stands. Pure functions.
"use strict";

/** Tables and columns by number; `into` and `outOf` hold, for each column, [other column, how, decides]. */
function readGraph(data) {
  const tables = data.tables.map(([name, layer, domain, level, page, owner, told, columns], id) => ({
    id, name, layer, domain, level, page, owner, told, columns: [], rows: columns, sources: [], readers: [], decidedBy: [], decides: [],
  }));
  const columns = [];
  for (const table of tables) {
    for (const [name, type, rank, told] of table.rows) {
      const column = { id: columns.length, table: table.id, name, type, rank, told, into: [], outOf: [] };
      columns.push(column);
      table.columns.push(column.id);
    }
    delete table.rows;
  }
  const at = (table, column) => columns[tables[table].columns[column]];
  for (const [fromTable, from, toTable, to, how] of data.ways) {
    const [source, target] = [at(fromTable, from), at(toTable, to)];
    source.outOf.push([target.id, data.how[how]]);
    target.into.push([source.id, data.how[how]]);
  }
  for (const [fromTable, from, toTable, how, reached] of data.decides) {
    const decision = { source: at(fromTable, from).id, table: toTable, how: data.how[how], reached: reached && reached.map((column) => at(toTable, column).id) };
    tables[toTable].decidedBy.push(decision);
    tables[fromTable].decides.push(decision);
  }
  for (const [source, target] of data.inputs) {
    tables[target].sources.push(source);
    tables[source].readers.push(target);
  }
  const byName = new Map(tables.map((table) => [table.name, table]));
  return { tables, columns, byName, classes: data.classes };
}

/** What a fragment speaks of: `""`, `domain:sales`, `silver.sales.orders` or `silver.sales.orders/email`; null: nothing known. */
function readFocus(graph, fragment) {
  const [about, within] = fragment.split("/").map((part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  if (!about) return { kind: "overview" };
  const table = graph.byName.get(about);
  if (!table) {
    const domain = about.startsWith("domain:") ? about.slice("domain:".length) : null;
    return domain !== null && graph.tables.some((each) => each.domain === domain) ? { kind: "domain", domain } : null;
  }
  if (within === undefined) return { kind: "table", table: table.id };
  const column = table.columns.find((id) => graph.columns[id].name === within);
  return column === undefined ? null : { kind: "column", table: table.id, column };
}

function writeFocus(graph, focus) {
  if (focus.kind === "domain") return `#domain:${encodeURIComponent(focus.domain)}`;
  if (focus.kind === "table") return `#${encodeURIComponent(graph.tables[focus.table].name)}`;
  if (focus.kind === "column") {
    const { table, name } = graph.columns[focus.column];
    return `#${encodeURIComponent(graph.tables[table].name)}/${encodeURIComponent(name)}`;
  }
  return "#";
}

/** With more tables than this above each other, all tables are first shown as domains: smaller cards nobody could read. */
const MOST_ON_A_LEVEL = 24;

function isTall(graph) {
  const counts = new Map();
  for (const { level } of graph.tables) counts.set(level, (counts.get(level) || 0) + 1);
  return Math.max(...counts.values()) > MOST_ON_A_LEVEL;
}

/** The view of a focus: `cards` (a table with the columns shown, or a group of tables) and `ways` between them. */
function viewOf(graph, focus, options) {
  if (focus.kind === "overview") return isTall(graph) ? groups(graph) : bare(graph, graph.tables.map((table) => table.id));
  if (focus.kind === "domain") return domainView(graph, focus.domain);
  return columnsView(graph, focus, options);
}

/** Domains by stage, on a grid; history counts with the silver it belongs to. */
function groups(graph) {
  const cards = new Map();
  const stage = (table) => (table.layer === "history" ? "silver" : table.layer);
  const keyOf = (table) => `group ${stage(table)} ${table.domain}`;
  const domains = [...new Set(graph.tables.map((table) => table.domain))].sort();
  const stages = ["source", "bronze", "silver"].concat([...new Set(graph.tables.map(stage))].filter((each) => !["source", "bronze", "silver"].includes(each)));
  for (const table of graph.tables) {
    const key = keyOf(table);
    if (!cards.has(key)) {
      cards.set(key, {
        key, group: { domain: table.domain, layer: stage(table), size: 0 }, columns: [], width: GROUP.width,
        x: stages.indexOf(stage(table)) * (GROUP.width + GROUP.between), y: domains.indexOf(table.domain) * (CARD.head + CARD.gap),
      });
    }
    if (table.layer !== "history") cards.get(key).group.size += 1;
  }
  const counts = new Map();
  for (const table of graph.tables) {
    for (const reader of table.readers) {
      const pair = `${keyOf(table)}\n${keyOf(graph.tables[reader])}`;
      counts.set(pair, (counts.get(pair) || 0) + 1);
    }
  }
  const ways = [...counts].map(([pair, count]) => {
    const [from, to] = pair.split("\n");
    return { from, to, how: `${count} table${count === 1 ? "" : "s"}`, decides: false };
  }).filter(({ from, to }) => from !== to);
  return { cards: [...cards.values()], ways, placed: true };
}

function card(graph, id, columns = []) {
  const table = graph.tables[id];
  return { key: `table ${id}`, table: id, level: table.level, order: `${table.domain}.${table.name.slice(table.name.lastIndexOf(".") + 1)}`, columns };
}

function bare(graph, ids, outside = new Set()) {
  const shown = new Set(ids);
  const ways = [];
  for (const id of ids) {
    for (const reader of graph.tables[id].readers) {
      if (shown.has(reader) && !(outside.has(id) && outside.has(reader))) ways.push({ from: `table ${id}`, to: `table ${reader}`, how: "", decides: false });
    }
  }
  return { cards: ids.map((id) => ({ ...card(graph, id), outside: outside.has(id) })), ways };
}

function domainView(graph, domain) {
  const inside = graph.tables.filter((table) => table.domain === domain);
  const outside = new Set();
  for (const table of inside) {
    for (const other of [...table.sources, ...table.readers]) if (graph.tables[other].domain !== domain) outside.add(other);
  }
  return bare(graph, [...inside.map((table) => table.id), ...outside], outside);
}

/** Around a table: its columns with what they come from and go to, so many tables far. About a column: all of its way. */
function columnsView(graph, focus, { depth, decides }) {
  const far = focus.kind === "column" ? Infinity : depth;
  const starts = focus.kind === "column" ? [focus.column] : graph.tables[focus.table].columns;
  const shown = new Map();
  const show = (table, column) => {
    if (!shown.has(table)) shown.set(table, new Set());
    if (column !== undefined) shown.get(table).add(column);
  };
  const ways = new Map();
  const way = (from, to, how, isDecision) => ways.set(`${from}>${to}>${how}`, { from, to, how, decides: isDecision });
  show(focus.table);
  starts.forEach((id) => show(focus.table, id));
  for (const [ends, up] of [["into", true], ["outOf", false]]) {
    const seen = new Set(starts);
    let frontier = starts;
    for (let step = 0; frontier.length && step < far; step += 1) {
      const next = [];
      for (const id of frontier) {
        for (const [other, how] of graph.columns[id][ends]) {
          const [from, to] = up ? [other, id] : [id, other];
          way(`column ${from}`, `column ${to}`, how, false);
          show(graph.columns[other].table, other);
          if (!seen.has(other)) { seen.add(other); next.push(other); }
        }
      }
      frontier = next;
    }
  }
  if (decides) addDecisions(graph, focus, shown, show, way);
  if (focus.kind === "table") addBareNeighbours(graph, focus.table, shown, show, way);
  const cards = [...shown].map(([table, columns]) => card(graph, table, graph.tables[table].columns.filter((id) => columns.has(id))));
  return { cards, ways: [...ways.values()] };
}

/** The columns that decide about what is shown, one step far, and what a column in focus decides about. */
function addDecisions(graph, focus, shown, show, way) {
  const onWay = new Set([...shown.values()].flatMap((columns) => [...columns]));
  const around = focus.kind === "column" ? [...shown.keys()] : [focus.table];
  for (const table of around) {
    for (const { source, how, reached } of graph.tables[table].decidedBy) {
      const targets = reached ? reached.filter((id) => onWay.has(id)) : [null];
      for (const target of targets) {
        show(graph.columns[source].table, source);
        way(`column ${source}`, target === null ? `table ${table}` : `column ${target}`, how, true);
      }
    }
  }
  const own = focus.kind === "column" ? new Set([focus.column]) : new Set(graph.tables[focus.table].columns);
  for (const { source, table, how, reached } of graph.tables[focus.table].decides) {
    if (!own.has(source)) continue;
    show(table);
    for (const target of reached || [null]) {
      if (target !== null) show(table, target);
      way(`column ${source}`, target === null ? `table ${table}` : `column ${target}`, how, true);
    }
  }
}

/** Neighbours from which no value comes (COUNT(*), a join that only filters) are there all the same. */
function addBareNeighbours(graph, id, shown, show, way) {
  for (const source of graph.tables[id].sources) {
    if (!shown.has(source)) { show(source); way(`table ${source}`, `table ${id}`, "", false); }
  }
  for (const reader of graph.tables[id].readers) {
    if (!shown.has(reader)) { show(reader); way(`table ${id}`, `table ${reader}`, "", false); }
  }
}

// ---- places ---- //

const CARD = { width: 236, head: 34, row: 23, foot: 6, gap: 34, between: 104 };

/** A domain's tables of one layer: narrow, so that six layers can be read beside each other. */
const GROUP = { width: 168, between: 40 };

function cardHeight(columns) {
  return columns ? CARD.head + columns * CARD.row + CARD.foot : CARD.head;
}

/** Gives each card `x` and `y` (its upper left corner): levels from left to right, and near what it is tied to. */
function placeCards({ cards, ways, placed }) {
  const owner = new Map();
  for (const each of cards) {
    owner.set(each.key, each);
    each.columns.forEach((id) => owner.set(`column ${id}`, each));
    each.height = cardHeight(each.columns.length);
    each.width = each.width || CARD.width;
    each.tied = [];
  }
  if (placed) return;
  for (const { from, to } of ways) {
    const [one, other] = [owner.get(from), owner.get(to)];
    if (one !== other) { one.tied.push(other); other.tied.push(one); }
  }
  // Cards without columns have no words on the ways between them, and stand closer.
  const between = cards.some((each) => each.columns.length) ? CARD.between : CARD.between / 2;
  const levels = [...new Set(cards.map((each) => each.level))].sort((a, b) => a - b);
  const ranks = levels.map((level) => cards.filter((each) => each.level === level).sort((a, b) => (a.order < b.order ? -1 : a.order > b.order ? 1 : 0)));
  ranks.forEach((rank, number) => {
    pack(rank, rank.map((_, at) => at));
    rank.forEach((each) => { each.x = number * (CARD.width + between); });
  });
  for (let sweep = 0; sweep < 6; sweep += 1) {
    const order = sweep % 2 ? [...ranks].reverse() : ranks;
    for (const rank of order) {
      rank.forEach((each) => { each.wanted = wantedMiddle(each); });
      rank.sort((a, b) => a.wanted - b.wanted || (a.order < b.order ? -1 : 1));
      pack(rank);
    }
  }
}

/** The mean middle of what a card is tied to; its own where it is alone. */
function wantedMiddle(each) {
  if (!each.tied.length) return each.y + each.height / 2;
  return each.tied.reduce((sum, other) => sum + other.y + other.height / 2, 0) / each.tied.length;
}

/** Stacks a rank without overlap, each as near to where it wants to be as those above it leave room, then all moved to fit best. */
function pack(rank) {
  let bottom = -Infinity;
  let error = 0;
  for (const each of rank) {
    const wanted = (each.wanted ?? 0) - each.height / 2;
    each.y = Math.max(wanted, bottom === -Infinity ? wanted : bottom + CARD.gap);
    bottom = each.y + each.height;
    error += each.y - wanted;
  }
  const shift = rank.length ? error / rank.length : 0;
  rank.forEach((each) => { each.y -= shift; });
}

// Changes to the document. Values are set as text only: names and errors come from strangers.
// Nothing is touched that has not changed, so a selection or a focus survives each update.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function setText(element, value) {
  const text = String(value);
  if (element.textContent !== text) element.textContent = text;
}

export function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

// Give the parent exactly this many children, and pass each to `fill` with its item.
export function fillAll(parent, items, create, fill) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  while (parent.children.length < items.length) parent.append(create());
  items.forEach((item, index) => fill(parent.children[index], item));
}

export function create(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export function createSvg(name, attributes = {}) {
  const element = document.createElementNS(SVG, name);
  setAttributes(element, attributes);
  return element;
}

// A row of a table is a list of cells: text, or {text, className, code, share}.
// The first cell names the row.
export function fillTable(body, rows, emptyText) {
  const columns = body.parentElement.tHead.rows[0].cells;
  if (rows.length === 0) {
    if (body.dataset.empty !== "yes") body.replaceChildren(emptyRow(columns.length, emptyText));
    body.dataset.empty = "yes";
    return;
  }
  if (body.dataset.empty === "yes") body.replaceChildren();
  body.dataset.empty = "no";
  fillAll(body, rows, () => newRow(columns), (row, cells) => {
    cells.forEach((cell, index) => fillCell(row.cells[index], cell, columns[index].className));
  });
}

function emptyRow(columnCount, text) {
  const cell = create("td", "empty", text);
  cell.colSpan = columnCount;
  return create("tr", "", cell);
}

function newRow(columns) {
  const cells = Array.from(columns, (_, index) => create(index === 0 ? "th" : "td"));
  cells[0].scope = "row";
  return create("tr", "", ...cells);
}

function fillCell(element, cell, columnClass) {
  const content = typeof cell === "object" ? cell : { text: cell };
  const wanted = `${columnClass} ${content.className ?? ""}`.trim();
  if (element.className !== wanted) element.className = wanted;
  let holder = element;
  if (content.code) {
    if (element.firstElementChild === null) element.replaceChildren(create("code"));
    holder = element.firstElementChild;
  }
  setText(holder, content.text);
}

export function fillFacts(list, facts) {
  const shown = facts.filter((fact) => fact !== null);
  const make = () => create("div", "", create("dt"), create("dd"));
  fillAll(list, shown, make, (pair, [name, value, className]) => {
    setText(pair.firstElementChild, name);
    setText(pair.lastElementChild, value);
    setAttributes(pair, { class: className ?? "" });
  });
}

// A bar of 0 to 100 percent, beside a text that says the same.
export function fillBar(svg, share) {
  if (svg.children.length === 0) {
    svg.append(createSvg("rect", { class: "track", width: 100, height: 6, rx: 1 }));
    svg.append(createSvg("rect", { class: "fill", height: 6, rx: 1 }));
  }
  const percent = Math.min(100, Math.max(0, share * 100));
  setAttributes(svg.lastElementChild, { width: percent, class: percent > 90 ? "fill full" : "fill" });
}

// The program of the page of `nandu report`: figures, filters, details of a point, table, CSV.

const MOST_ROWS = 300; // of the table; the CSV file has all

const OPTIONS = { responsive: true, displayModeBar: false };

const $ = (id) => document.getElementById(id);
const content = JSON.parse($("content").textContent);
const figures = JSON.parse($("figures").textContent);
const byNumber = new Map(content.points.map((one) => [one.n, one]));
const wanted = {}; // parameter -> JSON text of the value that a filter keeps

function node(tag, text, parent) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

const shown = (value) =>
  typeof value === "number" ? String(Number(value.toPrecision(5))) :
  typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value);

// Filters

function kept(one) {
  if ($("only-good").checked && !one.ok) return false;
  // Python writes a space after "," and ":"; so both sides are read before they are compared.
  return Object.entries(wanted).every(([name, text]) => JSON.stringify(one.c[name]) === text);
}

function addFilters() {
  for (const [id, first] of [["x", content.axes[0]], ["y", content.axes[1]]]) {
    for (const name of content.numbers) node("option", name, $(id)).value = name;
    $(id).value = first;
    $(id).addEventListener("change", update);
  }
  $("only-good").addEventListener("change", update);
  for (const [name, values] of Object.entries(content.filters)) {
    const label = node("label", name + " ", $("filters"));
    const select = node("select", undefined, label);
    select.dataset.parameter = name;
    node("option", "any", select).value = "";
    for (const text of values) {
      const value = JSON.parse(text);
      node("option", shown(value), select).value = JSON.stringify(value);
    }
    select.addEventListener("change", () => {
      if (select.value === "") delete wanted[name];
      else wanted[name] = select.value;
      update();
    });
  }
}

// Figures

const originals = figures.pareto.data.map((trace) => ({ numbers: trace.customdata, of: trace.meta, text: trace.text }));

function update() {
  const [x, y] = [$("x").value, $("y").value];
  const traces = figures.pareto.data.map((trace, place) => {
    const { numbers, of, text } = originals[place];
    const source = of === "gpus" ? (n) => content.gpus[n] : (n) => byNumber.get(n);
    const keep = numbers.map((n) => of === "gpus" || kept(source(n)));
    const chosen = numbers.filter((_, i) => keep[i]);
    return {
      ...trace,
      x: chosen.map((n) => source(n).v[x]),
      y: chosen.map((n) => source(n).v[y]),
      customdata: chosen,
      text: text.filter((_, i) => keep[i]),
    };
  });
  figures.pareto.layout.xaxis.title = { text: x };
  figures.pareto.layout.yaxis.title = { text: y };
  Plotly.react("pareto", traces, { ...figures.pareto.layout }, OPTIONS);
  fillTable();
}

function draw() {
  for (const [name, figure] of Object.entries(figures)) {
    if (name === "pareto") continue;
    Plotly.newPlot(name, figure.data, figure.layout, OPTIONS);
  }
  update();
  for (const name of ["pareto", "roofline"]) {
    $(name).on("plotly_click", (event) => {
      const { customdata, data } = event.points[0];
      if (customdata === undefined) return;
      choose(data.meta === "gpus" ? content.gpus[customdata] : byNumber.get(customdata));
    });
  }
}

for (const button of document.querySelectorAll("[data-save]")) {
  button.addEventListener("click", () => {
    const name = button.dataset.save;
    Plotly.downloadImage(name, { format: button.dataset.as, filename: name, scale: button.dataset.as === "png" ? 2 : 1 });
  });
}

// A point

function choose(one) {
  $("chosen").textContent = one.error ? `${one.label}: ${one.error}` :
    `${one.label}${one.best ? ", on the front" : ""}; limited by ${one.limit}`;
  const parts = $("parts");
  parts.replaceChildren();
  addTable(parts, "Configuration", one.c);
  if (one.v) addTable(parts, "Numbers", one.v);
  if (one.breakdown) addTable(parts, "Time of a step, ms", one.breakdown, true);
  if (one.energy) addTable(parts, "Energy of a token, J", one.energy, true);
  if (one.why) addTable(parts, "10 % faster: a step is shorter by, %",
    Object.fromEntries(Object.entries(one.why).map(([name, gains]) => [name, 100 * (gains.tpot ?? gains.ttft)])));
  if (one.resources) addTable(parts, "Our blocks would take", one.resources);
  $("command").hidden = !one.command;
  $("command").textContent = one.command;
}

function addTable(parent, title, entries, bars = false) {
  const box = node("div", undefined, parent);
  node("h3", title, box);
  const table = node("table", undefined, box);
  const most = Math.max(...Object.values(entries).map(Number));
  for (const [name, value] of Object.entries(entries)) {
    const row = node("tr", undefined, table);
    node("td", name, row);
    node("td", shown(value), row);
    if (bars) node("span", undefined, node("td", undefined, row)).style.cssText = `width:${90 * value / most || 0}px`;
    if (bars) row.lastChild.firstChild.className = "bar";
  }
}

// The table

const names = [...content.parameters, ...content.numbers];
const cell = (one, name) => (name in one.c ? one.c[name] : one.v?.[name]);

function ordered() {
  const [name, way] = Object.entries(content.objectives)[0];
  const sign = way === "max" ? -1 : 1;
  const key = (one) => (one.v && one.v[name] !== undefined ? sign * one.v[name] : Infinity);
  return content.points.filter(kept).sort((a, b) => (b.best ? 1 : 0) - (a.best ? 1 : 0) || key(a) - key(b) || a.n - b.n);
}

function fillTable() {
  const found = ordered();
  $("shown").textContent = `${found.length} points, the first ${Math.min(found.length, MOST_ROWS)} below`;
  $("rows").replaceChildren();
  for (const one of found.slice(0, MOST_ROWS)) {
    const row = node("tr", undefined, $("rows"));
    if (one.best) row.className = "best";
    node("td", one.n, row);
    for (const name of names) node("td", shown(cell(one, name)), row);
    node("td", one.error ?? "", row);
    row.addEventListener("click", () => { choose(one); $("details").scrollIntoView({ behavior: "smooth" }); });
  }
}

// A spreadsheet runs a field that begins so; a quote before it keeps it a text.
const quoted = (text) => `"${(/^[=+@\t\r]|^-(?!\d)/.test(text) ? "'" + text : text).replaceAll('"', '""')}"`;

function csv() {
  const lines = [["point", "front", "feasible", ...names, "error", "command"]];
  for (const one of ordered()) {
    lines.push([one.n, Boolean(one.best), Boolean(one.ok), ...names.map((name) => cell(one, name)), one.error, one.command]);
  }
  const text = (value) => typeof value === "number" || typeof value === "boolean" ? String(value) : quoted(shown(value));
  return lines.map((line) => line.map(text).join(",")).join("\r\n") + "\r\n";
}

$("csv").addEventListener("click", () => {
  const link = node("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "points.csv";
  link.click();
});

for (const name of ["point", ...names, "error"]) node("th", name, $("head"));
addFilters();
draw();
if (content.points.some((one) => one.best)) choose(ordered()[0]);

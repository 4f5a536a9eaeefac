"use strict";
(() => {
  // Tables: a button in each head sorts by its column.
  const collator = new Intl.Collator(undefined, { numeric: true });

  const sortBy = (table, heads, column) => {
    const head = heads[column];
    const numeric = head.classList.contains("n");
    const first = numeric ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    const sign = order === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const keyed = Array.from(body.rows, (row) => {
      const cell = row.cells[column];
      return { row, key: numeric ? (cell.dataset.v === undefined ? null : Number(cell.dataset.v)) : cell.textContent };
    });
    keyed.sort((x, y) => {
      if (x.key === null || y.key === null) return (x.key === null) - (y.key === null);
      return sign * (numeric ? x.key - y.key : collator.compare(x.key, y.key));
    });
    body.append(...keyed.map((one) => one.row));
    heads.forEach((one) => one.setAttribute("aria-sort", one === head ? order : "none"));
  };

  for (const table of document.querySelectorAll("table")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sortBy(table, heads, column));
    });
  }

  // One class along N.
  const home = document.getElementById("explorer");
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  if (!home || !data || !data.methods.length) return;

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const drawn = (tag, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const whole = (value) => value.toLocaleString("en");
  const fixed = (value, digits = 2) => value.toFixed(digits).replace("-", "\u2212");
  const signed = (value) => (value > 0 ? "+" : "") + fixed(value);
  const isolated = (name) => element("bdi", {}, name);
  const share = (count, items) => (items ? (100 * count) / items : null);
  const known = (count, items) =>
    items ? `${whole(count)} of ${whole(items)} (${fixed(share(count, items))}\u00a0%)` : "no items";

  const select = element("select", { id: "explorer-class" });
  const swept = Array.from(new Set(data.methods.flatMap((method) => method.rows.map((row) => row.k)))).sort((x, y) => x - y);
  for (const k of swept) select.append(element("option", { value: k, dir: "auto" }, data.classes[k]));
  const radios = data.methods.map((method, i) => {
    const radio = element("input", { type: "radio", name: "explorer-method", value: i });
    radio.checked = i === 0;
    return radio;
  });
  const slider = element("input", { type: "range", id: "explorer-n", min: 0, step: 1 });
  const rule = element("button", { type: "button" }, "Go to the N of the rule");
  const reading = element("p", { id: "explorer-reading" });
  const picture = drawn("svg", { viewBox: "0 0 360 246", role: "img" });
  const facts = element("dl");
  const hit = element("ul");

  home.append(
    element("div", { class: "controls" },
      element("label", {}, "Forget class", select),
      element("fieldset", {}, element("legend", {}, "Method"),
        ...radios.map((radio, i) => element("label", {}, radio, data.methods[i].title))),
      rule),
    element("label", { for: "explorer-n" }, "N, how far the method goes"),
    slider,
    reading,
    element("div", { class: "views" },
      element("div", {},
        element("ul", { class: "legend" },
          legend("curve a", "its training items still known"),
          legend("curve a dashes", "its test items still known"),
          legend("curve b", "test items of all other classes right")),
        picture),
      element("div", {}, facts, element("h3", {}, "The class that loses most, along N"), hit)));

  function legend(style, text) {
    const symbol = drawn("svg", { class: "symbol", viewBox: "0 0 24 12", "aria-hidden": "true" });
    symbol.append(drawn("line", { x1: 1, y1: 6, x2: 23, y2: 6, class: style }));
    return element("li", {}, symbol, text);
  }

  const method = () => data.methods[radios.findIndex((radio) => radio.checked)];
  const chosen = () => method().rows.find((row) => row.k === Number(select.value));
  const x = (value) => 40 + 3.08 * value;
  const y = (value) => 208 - 2 * value;

  const series = (row) => {
    const items = [data.train[row.k], data.test[row.k], data.others[row.k]];
    return [
      ["curve a", row.train.map((count) => share(count, items[0]))],
      ["curve a dashes", row.test.map((count) => share(count, items[1]))],
      ["curve b", row.change.map((count) => share(row.right + count, items[2]))],
    ].filter(([, values]) => values.every((value) => value !== null));
  };

  const redraw = () => {
    const row = chosen();
    picture.replaceChildren();
    hit.replaceChildren();
    rule.disabled = !row || row.rule === null;
    slider.disabled = !row;
    if (!row) return;
    slider.max = row.n.length - 1;
    slider.value = row.rule === null ? row.n.length - 1 : row.rule;
    for (let tick = 0; tick <= 100; tick += 20) {
      picture.append(
        drawn("line", { x1: x(tick), y1: 8, x2: x(tick), y2: 208, class: tick ? "grid" : "zero" }),
        drawn("text", { x: x(tick), y: 222, "text-anchor": "middle" }, tick),
        drawn("line", { x1: 40, y1: y(tick), x2: 348, y2: y(tick), class: "grid" }),
        drawn("text", { x: 34, y: y(tick) + 4, "text-anchor": "end" }, tick));
    }
    picture.append(drawn("text", { x: 194, y: 238, "text-anchor": "middle" }, `N in % of the ${method().of}`));
    for (const [style, values] of series(row)) {
      const points = values.map((value, i) => `${x((100 * row.n[i]) / row.most).toFixed(1)},${y(value).toFixed(1)}`);
      picture.append(drawn("polyline", { class: style, points: points.join(" ") }));
    }
    picture.append(drawn("g", {}));
    stretches(row);
    move();
  };

  const ofItems = (lost, k) => `${whole(Math.round((lost * data.test[k]) / 10000))} of its ${whole(data.test[k])} test items`;

  // Which class loses most, from which N to which.
  const stretches = (row) => {
    let start = 0;
    for (let i = 1; i <= row.n.length; i += 1) {
      if (i < row.n.length && row.worst[i] === row.worst[start]) continue;
      const worst = row.worst[start];
      const most = Math.max(...row.damage.slice(start, i));
      if (worst !== null && most > 0) {
        const from = whole(row.n[start]);
        const to = whole(row.n[i - 1]);
        hit.append(element("li", {}, isolated(data.classes[worst]),
          `: N = ${from === to ? from : `${from} to ${to}`}, up to ${fixed(most / 100)} points (${ofItems(most, worst)})`));
      }
      start = i;
    }
    if (!hit.childElementCount) hit.append(element("li", {}, "no class loses test accuracy at any N"));
  };

  const fact = (term, ...text) => element("div", {}, element("dt", {}, term), element("dd", {}, ...text));

  const move = () => {
    const row = chosen();
    if (!row) return;
    const i = Number(slider.value);
    const [train, test, others] = [data.train[row.k], data.test[row.k], data.others[row.k]];
    const at = (100 * row.n[i]) / row.most;
    const where = `N = ${whole(row.n[i])} of ${whole(row.most)} ${method().of} (${fixed(at, 1)}\u00a0%)`;
    reading.textContent = where + (i === row.rule ? ": the N of the rule" : "");
    const retain = share(row.right + row.change[i], others);
    facts.replaceChildren(
      fact("Training items still known", known(row.train[i], train)),
      fact("Test items still known", known(row.test[i], test)),
      fact("All other classes", others
        ? `${fixed(retain)}\u00a0% of test items right, ${signed(share(row.change[i], others))} points (${whole(row.change[i]).replace("-", "\u2212")} items)`
        : "no items"));
    if (row.hit) {
      const lines = row.hit[i].map(([k, was, now]) => element("li", {}, isolated(data.classes[k]),
        `: ${whole(now)} of ${whole(data.test[k])} right, before ${whole(was)} (${signed(share(now - was, data.test[k]))} points)`));
      facts.append(fact("Hit hardest", lines.length ? element("ul", {}, ...lines) : "no other class lost a test item"));
    } else if (row.worst[i] !== null && row.damage[i] > 0) {
      const more = "; only the worst is counted here, `dkvb query ROOT collateral` counts every class";
      facts.append(fact("Hit hardest", isolated(data.classes[row.worst[i]]),
        `, ${fixed(row.damage[i] / 100)} points (${ofItems(row.damage[i], row.worst[i])})${more}`));
    }
    if (data.alike[row.k]) {
      const names = data.alike[row.k].flatMap(([k, percent], place) =>
        [place ? ", " : "", isolated(data.classes[k]), ` ${percent}\u00a0%`]);
      facts.append(fact("Shares most activations with", ...names));
    }
    slider.setAttribute("aria-valuetext", `${where}, ${known(row.train[i], train)} training items still known`);
    picture.setAttribute("aria-label",
      `${data.classes[row.k]}, ${method().title}: at ${where} ${known(row.train[i], train)} of its training items and ` +
      `${known(row.test[i], test)} of its test items are still known; ${retain === null ? "there are no others" : `${fixed(retain)}\u00a0% of the others' test items are right`}`);
    const cursor = drawn("g", {});
    cursor.append(drawn("line", { x1: x(at), y1: 8, x2: x(at), y2: 208, class: "cursor" }));
    for (const [style, values] of series(row)) {
      cursor.append(drawn("circle", { cx: x(at), cy: y(values[i]), r: 4, class: `ring ${style.split(" ")[1]}` }));
    }
    picture.replaceChild(cursor, picture.lastChild);
  };

  select.addEventListener("change", redraw);
  radios.forEach((radio) => radio.addEventListener("change", redraw));
  slider.addEventListener("input", move);
  rule.addEventListener("click", () => { slider.value = chosen().rule; move(); });
  home.hidden = false;
  redraw();
})();

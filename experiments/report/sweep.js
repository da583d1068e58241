"use strict";
// Designs of a sweep as lines over parallel axes, and those that no other beats under limits that the reader moves.
(() => {
  const section = document.getElementById("designs");
  if (section === null) return;
  const { axes, points } = JSON.parse(document.getElementById("designs-data").textContent);
  const figures = axes.map((axis, place) => ({ ...axis, place })).filter((axis) => axis.better);
  const TOP = 58, HEIGHT = 260, GAP = 128, SIDE = 64;
  const shown = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });
  const rounded = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
  const text = (value) => (typeof value === "number" ? shown.format(value) : value === null ? "–" : String(value));
  const make = (name, attributes, parent, words) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (words !== undefined) element.textContent = words;
    return parent.appendChild(element);
  };

  // Where a value stands on its axis, from 0 at the bottom to 1 at the top; of figures the better the higher.
  const scaled = axes.map((axis, place) => {
    const values = [...new Set(points.map((point) => point[place]))];
    const numeric = values.every((value) => typeof value === "number");
    values.sort((a, b) => (numeric ? a - b : 0));
    const few = !axis.better && (values.length <= 12 || !numeric);
    const low = values[0], high = values[values.length - 1];
    const log = !few && low > 0 && high / low > 20;
    const on = (value) => (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
    const share = (value) => {
      if (low === high) return 0.5;
      const part = few ? values.indexOf(value) / (values.length - 1) : on(value);
      return axis.better === "min" ? 1 - part : part;
    };
    const tick = (part) => (log ? low * (high / low) ** part : low + (high - low) * part);
    const ticks = few ? values : low === high ? [low] : [0, 0.25, 0.5, 0.75, 1].map(tick);
    return { values, share, ticks: ticks.map((value) => ({ value, words: few ? text(value) : rounded.format(value) })) };
  });
  const height = (place, value) => TOP + HEIGHT * (1 - scaled[place].share(value));

  // The picture: a line a design, an axis a key or figure.
  const svg = document.querySelector("#designs svg");
  const width = 2 * SIDE + GAP * (axes.length - 1);
  svg.setAttribute("viewBox", `0 0 ${width} ${TOP + HEIGHT + 16}`);
  svg.style.minWidth = `${width * 0.82}px`;
  const x = (place) => SIDE + GAP * place;
  const metric = figures[0].place;
  const drawn = make("g", {}, svg);
  const lines = points.map((point) => {
    const path = point.map((value, place) => `${place ? "L" : "M"}${x(place)},${height(place, value).toFixed(1)}`);
    const line = make("path", { d: path.join("") }, drawn);
    const better = Math.round(100 * scaled[metric].share(point[metric]));
    line.style.setProperty("--colour", `color-mix(in srgb, var(--accent) ${better}%, var(--warm))`);
    make("title", {}, line, axes.map((axis, place) => `${axis.title}: ${text(point[place])}`).join("\n"));
    return line;
  });

  const brushes = new Map();
  axes.forEach((axis, place) => {
    const group = make("g", { class: "axis", transform: `translate(${x(place)},0)` }, svg);
    const words = axis.title.split(" ").reduce((rows, word) => {
      const last = rows[rows.length - 1];
      if (last !== undefined && `${last} ${word}`.length <= 17) rows[rows.length - 1] = `${last} ${word}`;
      else rows.push(word);
      return rows;
    }, []);
    words.forEach((row, number) => make("text", { y: TOP - 12 - 13 * (words.length - 1 - number), class: "title" }, group, row));
    make("line", { y1: TOP, y2: TOP + HEIGHT }, group);
    for (const { value, words } of scaled[place].ticks) make("text", { x: 6, y: height(place, value) + 4 }, group, words);
    const brush = make("rect", { x: -9, width: 18, class: "brush", visibility: "hidden" }, group);
    const hit = make("rect", { x: -22, width: 44, y: TOP - 8, height: HEIGHT + 16, class: "hit" }, group);
    const at = (event) => {
      const box = svg.getBoundingClientRect();
      return ((event.clientY - box.top) * (TOP + HEIGHT + 16)) / box.height;
    };
    let start = null;
    hit.addEventListener("pointerdown", (event) => {
      start = at(event);
      hit.setPointerCapture(event.pointerId);
    });
    hit.addEventListener("pointermove", (event) => start !== null && set(start, at(event)));
    hit.addEventListener("pointerup", (event) => {
      if (start !== null && Math.abs(at(event) - start) < 3) clear();
      start = null;
    });
    const set = (one, other) => {
      const range = [Math.min(one, other), Math.max(one, other)];
      brushes.set(place, { range, clear });
      brush.setAttribute("y", range[0]);
      brush.setAttribute("height", range[1] - range[0]);
      brush.setAttribute("visibility", "visible");
      update();
    };
    const clear = () => {
      brushes.delete(place);
      brush.setAttribute("visibility", "hidden");
      update();
    };
  });

  // A slider goes through the values that there are; the number beside it can be any.
  const controls = document.getElementById("design-limits");
  const limits = figures.map((figure) => {
    const { values } = scaled[figure.place];
    const most = figure.better === "min";
    const free = most ? values.length - 1 : 0;
    const label = controls.appendChild(document.createElement("label"));
    const name = `${figure.title} at ${most ? "most" : "least"}`;
    label.append(Object.assign(document.createElement("span"), { textContent: name }));
    const slider = Object.assign(document.createElement("input"), { type: "range", min: 0, max: values.length - 1, value: free });
    const box = Object.assign(document.createElement("input"), { type: "number", step: "any" });
    const say = (value) => (box.value = Number(value.toPrecision(6)));
    const limit = { figure, most, value: null };
    slider.setAttribute("aria-label", name);
    box.setAttribute("aria-label", `${name}, as a number`);
    label.append(slider, box);
    slider.addEventListener("input", () => {
      const value = values[slider.value];
      limit.value = Number(slider.value) === free ? null : value;
      say(value);
      update();
    });
    box.addEventListener("input", () => {
      if (box.value === "") return limit.reset();
      limit.value = Number(box.value);
      const nearest = values.reduce((best, value, place) => (Math.abs(value - limit.value) < Math.abs(values[best] - limit.value) ? place : best), 0);
      slider.value = nearest;
      update();
    });
    limit.reset = () => {
      limit.value = null;
      slider.value = free;
      say(values[free]);
      update();
    };
    say(values[free]);
    return limit;
  });
  const onlyBest = document.getElementById("only-best");
  onlyBest.addEventListener("change", () => update());
  document.getElementById("no-limits").addEventListener("click", () => {
    for (const brush of [...brushes.values()]) brush.clear();
    limits.forEach((limit) => limit.reset());
  });

  const within = (point) =>
    limits.every(({ figure, most, value }) => value === null || (most ? point[figure.place] <= value : point[figure.place] >= value)) &&
    [...brushes].every(([place, { range }]) => {
      const y = height(place, point[place]);
      return y >= range[0] && y <= range[1];
    });
  const costs = points.map((point) => figures.map(({ better, place }) => (better === "min" ? point[place] : -point[place])));
  const beats = (a, b) => a.every((cost, i) => cost <= b[i]) && a.some((cost, i) => cost < b[i]);
  const best = (numbers) => {
    const front = [];
    const order = [...numbers].sort((a, b) => costs[a].reduce((found, cost, i) => found || cost - costs[b][i], 0));
    for (const number of order) if (!front.some((other) => beats(costs[other], costs[number]))) front.push(number);
    return front;
  };

  const MOST = 200;
  const body = document.querySelector("#designs tbody");
  const count = document.getElementById("designs-count");
  function update() {
    const inside = points.map((_, number) => number).filter((number) => within(points[number]));
    const front = best(inside);
    const [isInside, isBest] = [new Set(inside), new Set(front)];
    lines.forEach((line, number) => {
      line.setAttribute("class", isBest.has(number) ? "best" : isInside.has(number) ? "inside" : "outside");
    });
    drawn.append(...inside.map((number) => lines[number]), ...front.map((number) => lines[number]));
    const order = onlyBest.checked ? front : [...front, ...inside.filter((number) => !isBest.has(number))];
    body.replaceChildren(
      ...order.slice(0, MOST).map((number) => {
        const row = document.createElement("tr");
        row.append(...points[number].map((value) => Object.assign(document.createElement("td"), { textContent: text(value) })));
        return row;
      }),
    );
    document.querySelectorAll("#designs th").forEach((header) => header.removeAttribute("aria-sort"));
    const many = (n) => `${n} design${n === 1 ? "" : "s"}`;
    count.textContent =
      inside.length === 0
        ? `None of ${many(points.length)} lies within these limits.`
        : `${inside.length} of ${many(points.length)} within the limits, ${front.length} of them beaten by no other.` +
          (order.length > MOST ? ` The table has the first ${MOST}.` : "");
  }

  section.hidden = false;
  document.querySelectorAll("nav a[hidden]").forEach((link) => (link.hidden = false));
  update();
})();

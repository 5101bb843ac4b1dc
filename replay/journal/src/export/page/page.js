// The page of a journal, or of two beside each other. Everything that a journal says is put into the page as text, never as
// markup: elements are made by `make` alone.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (name === "onclick") element.addEventListener("click", value);
      else element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  function list(pairs) {
    const known = pairs.filter(([, text]) => text !== null && text !== undefined && text !== "");
    return known.flatMap(([name, text]) => [make("dt", null, name), make("dd", null, String(text))]);
  }

  const figure = (number) => (number === null ? "too large" : String(Number(number.toPrecision(6))));

  // What a view of one journal and a view of two have in common: items in order, each of one run.
  const view = data.kind === "diff" ? pairs() : lanes();
  const state = { run: 0, shown: [], chosen: null };

  function lanes() {
    const runs = new Map(data.runs.map((run) => [run.run, run]));
    const lane = (item) => runs.get(item.run).mediators[item.lane];
    const digests = new Map();
    for (const item of data.items) {
      for (const tensor of item.tensors) {
        digests.set(tensor.digest, [...(digests.get(tensor.digest) ?? []), item]);
      }
    }
    return {
      id: (item) => String(item.index),
      run: (item) => item.run,
      event: (item) => item.event,
      words: (item) => [item.event, lane(item).name, item.asked, item.at, item.result, item.fault].join(" "),
      sameLane: (a, b) => a.lane === b.lane,
      related: (item) => item.tensors.flatMap((tensor) => digests.get(tensor.digest)),
      details: (item) => [
        make("h2", null, `${item.index} ${item.event}`),
        make("dl", null, ...list(fields(item, lane(item).name))),
        ...item.tensors.flatMap((tensor) => tensorDetails(tensor, data.tensors[tensor.digest])),
        item.more_tensors ? make("p", { class: "hint" }, `and ${item.more_tensors} more tensors`) : null,
      ],
      draw(items, elements) {
        const mediators = runs.get(state.run)?.mediators ?? [];
        const cells = mediators.map((mediator) =>
          make("th", { title: mediator.title }, mediator.name));
        const head = make("tr", null, make("th", null, "site, as passed"), ...cells);
        const body = siteRows(items).map(({ site, marks }) => {
          const columns = mediators.map(() => make("td"));
          for (const item of marks) {
            const mark = make("button", {
              type: "button", tabindex: "-1", class: `mark ${item.event} ${item.result}`,
              title: `${item.index} ${item.event} ${item.asked ?? ""} ${item.result}`, onclick: () => choose(item),
            }, `${item.index} ${item.event}`);
            elements.set(item, mark);
            columns[item.lane].append(mark);
          }
          return make("tr", null, make("th", null, site ?? "(outside the model)"), ...columns);
        });
        return make("table", { class: "lanes" }, make("thead", null, head), make("tbody", null, ...body));
      },
    };
  }

  // A row for each site, in the order in which the model passed them; what happens at none has rows between.
  function siteRows(items) {
    const rows = [];
    const known = new Map();
    for (const item of items) {
      let row = item.at === null ? rows.at(-1) : known.get(item.at);
      if (!row || row.site !== item.at) {
        row = { site: item.at, marks: [] };
        rows.push(row);
        if (item.at !== null) known.set(item.at, row);
      }
      row.marks.push(item);
    }
    return rows;
  }

  function fields(item, mediator) {
    return [
      ["sequence", item.index], ["run", item.run], ["event", item.event], ["mediator", mediator],
      ["site asked", item.asked], ["site at hand", item.at], ["phase", item.phase], ["outcome", item.result], ["fault", item.fault],
      ["value", item.value], ["source", item.origin],
    ];
  }

  function tensorDetails(tensor, statistics) {
    const pairs = [["type", tensor.dtype], ["shape", `[${tensor.shape.join(", ")}]`], ["digest", tensor.digest]];
    const title = make("h3", null, `tensor ${tensor.place}`.trim());
    if (!statistics) {
      return [title, make("dl", null, ...list(pairs)), make("p", { class: "hint" }, "The journal does not keep its elements.")];
    }
    pairs.push(["elements", statistics.elements]);
    if (statistics.not_finite > 0) pairs.push(["not finite", `${statistics.not_finite}, of these ${statistics.nan} NaN`]);
    if (statistics.histogram === null) return [title, make("dl", null, ...list(pairs))];
    for (const name of ["min", "max", "mean", "norm"]) pairs.push([name, figure(statistics[name])]);
    const ends = [figure(statistics.min), figure(statistics.max)].map((text) => make("span", null, text));
    return [title, make("dl", null, ...list(pairs)), bars(statistics.histogram), make("div", { class: "ends" }, ...ends)];
  }

  function bars(counts) {
    const space = "http://www.w3.org/2000/svg";
    const chart = document.createElementNS(space, "svg");
    chart.setAttribute("viewBox", `0 0 ${counts.length} 1`);
    chart.setAttribute("preserveAspectRatio", "none");
    const most = Math.max(...counts);
    counts.forEach((count, position) => {
      const bar = document.createElementNS(space, "rect");
      const height = count / most;
      const box = { x: position + 0.06, y: 1 - height, width: 0.88, height };
      for (const [name, value] of Object.entries(box)) bar.setAttribute(name, value);
      const title = document.createElementNS(space, "title");
      title.textContent = `${count} elements`;
      bar.append(title);
      chart.append(bar);
    });
    return chart;
  }

  function pairs() {
    const some = (item) => item.first ?? item.second;
    const signs = { equal: "=", other: "≠", first: "<", second: ">" };
    const isDivergence = (item) => data.divergence !== null && data.items[data.divergence] === item;
    return {
      id: (item) => (item.first ? `a${item.first.index}` : `b${item.second.index}`),
      run: (item) => some(item).run,
      event: (item) => some(item).event,
      words: (item) => {
        const one = some(item);
        return [one.event, one.mediator, one.asked, one.at, one.result, item.is].join(" ");
      },
      sameLane: (a, b) => a.is !== "equal" && b.is !== "equal",
      related: () => [],
      details(item) {
        const sides = [item.first, item.second].map((side) => (side ? fields(side, side.mediator) : []));
        const parts = sides.flatMap((side, position) => {
          const title = make("h3", null, data.names[position]);
          if (side.length === 0) return [title, make("p", { class: "hint" }, "nothing here")];
          const texts = list(side.filter(([name]) => name !== "source"));
          mark(texts, sides[1 - position]);
          const tensors = [item.first, item.second][position].tensors.flatMap((tensor) =>
            tensorDetails(tensor, data.tensors[position][tensor.digest]));
          return [title, make("dl", null, ...texts), ...tensors];
        });
        const heading = isDivergence(item) ? "The first divergence" : view.words(item).split(" ")[0];
        return [make("h2", null, heading), ...parts];
      },
      draw(items, elements) {
        const head = ["", "A", "B", "event", "mediator", "site", `A: ${data.names[0]}`, `B: ${data.names[1]}`];
        const body = items.map((item) => {
          const one = some(item);
          const cells = [
            make("td", null, signs[item.is]),
            make("td", { class: "number" }, String(item.first?.index ?? "")),
            make("td", { class: "number" }, String(item.second?.index ?? "")),
            make("td", null, make("span", { class: `mark ${one.event} ${one.result}` }, one.event)),
            make("td", null, one.mediator), make("td", null, one.asked ?? one.at ?? ""),
            ...[item.first, item.second].map((side) => make("td", null, side ? outcome(side) : "")),
          ];
          const style = `${item.is}${isDivergence(item) ? " divergence" : ""}`;
          const row = make("tr", { class: style, onclick: () => choose(item) }, ...cells);
          elements.set(item, row);
          return row;
        });
        const heads = head.map((text, position) => make("th", position === 1 || position === 2 ? { class: "number" } : null, text));
        return make("table", { class: "pairs" }, make("thead", null, make("tr", null, ...heads)), make("tbody", null, ...body));
      },
    };
  }

  const outcome = (side) => [side.result === "served" ? "" : side.result, side.fault, side.value].filter((text) => text).join("  ");

  // Marks the texts that the other side does not have in the same field.
  function mark(texts, others) {
    for (let position = 0; others.length > 0 && position < texts.length; position += 2) {
      const other = others.find(([name]) => name === texts[position].textContent)?.[1];
      if (String(other ?? "") !== texts[position + 1].textContent) texts[position + 1].classList.add("different");
    }
  }

  let elements = new Map();

  function draw() {
    const words = at("filter").value.toLowerCase().split(/\s+/).filter((word) => word);
    const ofRun = data.items.filter((item) => view.run(item) === state.run);
    state.shown = ofRun.filter((item) => {
      const text = view.words(item).toLowerCase();
      return words.every((word) => text.includes(word));
    });
    elements = new Map();
    at("table").replaceChildren(view.draw(state.shown, elements));
    at("count").textContent = `${state.shown.length} of ${ofRun.length} exchanges of this run`;
    events(ofRun);
    highlight();
  }

  function events(items) {
    const counts = new Map();
    for (const item of items) counts.set(view.event(item), (counts.get(view.event(item)) ?? 0) + 1);
    const buttons = [...counts].map(([event, count]) => make("button", {
      type: "button", class: `mark ${event}`, title: `show ${event} only`,
      onclick: () => filter(at("filter").value.toUpperCase() === event ? "" : event.toLowerCase()),
    }, `${event} ${count}`));
    at("events").replaceChildren(...buttons);
  }

  function filter(text) {
    at("filter").value = text;
    draw();
  }

  function goToRun(run) {
    state.run = run;
    at("run").value = String(run);
    draw();
  }

  function choose(item) {
    if (!item) return;
    state.chosen = item;
    if (view.run(item) !== state.run) goToRun(view.run(item));
    else highlight();
    at("details").replaceChildren(...view.details(item).filter((part) => part));
    history.replaceState(null, "", `#${view.id(item)}`);
  }

  function highlight() {
    for (const element of at("table").querySelectorAll(".chosen, .same")) element.classList.remove("chosen", "same");
    if (!state.chosen) return;
    for (const item of view.related(state.chosen)) elements.get(item)?.classList.add("same");
    const element = elements.get(state.chosen);
    element?.classList.add("chosen");
    element?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  // Goes on by one in either direction, into the next run where this one ends.
  function step(way, isWanted = () => true) {
    const items = state.shown;
    let position = items.indexOf(state.chosen);
    if (position < 0) return choose(items.at(way > 0 ? 0 : -1));
    do position += way;
    while (items[position] && !isWanted(items[position]));
    if (items[position]) return choose(items[position]);
    if (stepRun(way)) choose(state.shown.at(way > 0 ? 0 : -1));
  }

  function stepRun(way) {
    const runs = data.runs.map((run) => run.run);
    const next = runs[runs.indexOf(state.run) + way];
    if (next === undefined) return false;
    goToRun(next);
    return true;
  }

  const keys = [
    ["→ n", "next", () => step(1)],
    ["← p", "previous", () => step(-1)],
    ["↓ j", data.kind === "diff" ? "next difference" : "next of the mediator", () => stepLane(1)],
    ["↑ k", data.kind === "diff" ? "previous difference" : "previous of the mediator", () => stepLane(-1)],
    ["Home", "first of the run", () => choose(state.shown[0])],
    ["End", "last of the run", () => choose(state.shown.at(-1))],
    ["]", "next run", () => stepRun(1)],
    ["[", "run before", () => stepRun(-1)],
    ["d", "first divergence", () => choose(data.items[data.divergence])],
    ["/", "filter", () => at("filter").focus()],
    ["Escape", "no filter", () => filter("")],
  ].filter(([key]) => key !== "d" || (data.divergence ?? null) !== null);

  function stepLane(way) {
    const chosen = state.chosen;
    if (data.kind === "diff") step(way, (item) => item.is !== "equal");
    else step(way, (item) => !chosen || view.sameLane(item, chosen));
  }

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    if (event.target.tagName === "INPUT") {
      if (event.key === "Escape" || event.key === "Enter") {
        if (event.key === "Escape") filter("");
        at("table").focus();
      }
      return;
    }
    const arrows = { ArrowRight: "→", ArrowLeft: "←", ArrowDown: "↓", ArrowUp: "↑" };
    const name = arrows[event.key] ?? event.key;
    const found = keys.find(([key]) => key.split(" ").includes(name));
    if (!found) return;
    event.preventDefault();
    found[2]();
  }

  function start() {
    at("title").textContent = data.title;
    const facts = data.facts.map((fact) => make("div", null, ...list([fact])));
    at("facts").replaceChildren(...facts);
    if (data.left_out) {
      at("left-out").hidden = false;
      at("left-out").textContent = data.left_out;
    }
    if (data.report) {
      at("report").hidden = false;
      at("report").classList.toggle("equal", Boolean(data.is_equal));
      at("report").querySelector("summary").textContent = data.report.summary;
      at("report").querySelector("pre").textContent = data.report.text;
    }
    at("run").replaceChildren(...data.runs.map((run) => make("option", { value: String(run.run) }, run.title)));
    at("run").addEventListener("change", () => goToRun(Number(at("run").value)));
    at("filter").addEventListener("input", draw);
    at("keys").textContent = keys.map(([key, text]) => `${key}: ${text}`).join("  ·  ");
    at("divergence").hidden = (data.divergence ?? null) === null;
    at("divergence").addEventListener("click", () => choose(data.items[data.divergence]));
    document.addEventListener("keydown", press);
    const linked = data.items.find((item) => `#${view.id(item)}` === location.hash);
    const first = linked ?? data.items[data.divergence ?? -1];
    goToRun(first ? view.run(first) : data.runs[0]?.run ?? 0);
    if (first) choose(first);
    document.body.dataset.ready = "yes";
  }

  start();
})();

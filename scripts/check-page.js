// What scripts/check-page asks of a page in the browser. It is put at the end of a copy of the page, tries things out as a user
// would, and writes what is wrong into the page, where the script finds it.
"use strict";
(() => {
  const wrong = [];
  const check = (isRight, what) => isRight || wrong.push(what);
  const at = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const data = JSON.parse(at("data").textContent);
  const isDiff = data.kind === "diff";
  const shown = () => all(isDiff ? ".pairs tbody tr" : ".lanes tbody .mark");
  const count = () => Number(at("count").textContent.split(" ")[0]);
  const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const filter = (text) => {
    at("filter").value = text;
    at("filter").dispatchEvent(new Event("input"));
  };

  function layout() {
    const root = document.documentElement;
    check(root.scrollWidth <= innerWidth, `the page is ${root.scrollWidth} wide in a window of ${innerWidth}`);
    check(root.scrollHeight <= innerHeight, `the page is ${root.scrollHeight} high in a window of ${innerHeight}`);
    for (const id of ["table", "details"]) {
      const box = at(id).getBoundingClientRect();
      check(box.width > 200 && box.height > 100, `#${id} is ${box.width} by ${box.height}`);
      check(box.right <= innerWidth + 1 && box.bottom <= innerHeight + 1, `#${id} is partly off screen`);
    }
    if (isDiff) {
      const table = at("table");
      check(table.scrollWidth <= table.clientWidth, `two journals need ${table.scrollWidth} of ${table.clientWidth}: B is partly off screen`);
      for (const cell of all(".pairs thead th")) {
        check(cell.scrollWidth <= cell.clientWidth + 1, `the head ${JSON.stringify(cell.textContent)} is cut`);
      }
    }
  }

  function clicks() {
    const [first, last] = [shown()[0], shown().at(-1)];
    for (const element of [first, last]) {
      element.click();
      check(element.classList.contains("chosen"), "a click does not choose");
      check(all(".chosen").length === 1, `${all(".chosen").length} are chosen`);
      check(at("details").querySelector("h2") !== null, "a click shows no details");
    }
    const before = location.hash;
    press("Home");
    check(shown()[0].classList.contains("chosen"), "Home does not go to the first");
    check(shown().length < 2 || location.hash !== before, "the address does not follow");
    press("ArrowRight");
    check(shown().length < 2 || shown()[1].classList.contains("chosen") || !isDiff, "the arrow does not go on");
  }

  function filters() {
    const rows = count();
    check(rows > 0 && rows === shown().length, `${shown().length} of ${rows} are shown`);
    filter("no such thing anywhere");
    check(count() === 0 && shown().length === 0, "a filter that nothing fits shows something");
    press("Escape");
    check(count() === rows, "Escape does not take the filter away");
    const event = all("#events button")[0];
    const name = event.textContent.split(" ")[0];
    event.click();
    check(count() > 0 && count() <= rows, `${name} shows ${count()} of ${rows}`);
    check(shown().every((element) => element.textContent.includes(name)), `${name} shows others`);
    filter("");
  }

  function runs() {
    const select = at("run");
    check(select.options.length === data.runs.length, "not every run can be chosen");
    for (const option of select.options) {
      select.value = option.value;
      select.dispatchEvent(new Event("change"));
      check(shown().length === count(), `run ${option.value} does not show what it counts`);
    }
  }

  function divergence() {
    if (!isDiff || data.divergence === null) return;
    at("divergence").click();
    check(all("tr.divergence.chosen").length === 1, "the first divergence is not gone to");
    check(at("details").querySelectorAll("h3").length >= 2, "the first divergence does not show both sides");
    const box = all("tr.divergence")[0].getBoundingClientRect();
    const table = at("table").getBoundingClientRect();
    check(box.top >= table.top - 1 && box.bottom <= table.bottom + 1, "the first divergence is not on screen");
  }

  try {
    check(document.body.dataset.ready === "yes", "the script of the page has failed");
    for (const part of [layout, clicks, filters, runs, divergence, layout]) part();
  } catch (error) {
    wrong.push(String(error));
  }
  document.body.dataset.check = wrong.length === 0 ? "good" : wrong.join("; ");
})();

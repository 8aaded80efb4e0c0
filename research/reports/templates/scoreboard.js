"use strict";
function key(body, column, numeric) {
  const cell = body.querySelector("tr.numbers").children[column];
  const value = cell.getAttribute("data-sort");
  if (!numeric) return value.toLowerCase();
  return value === "" ? NaN : Number(value);
}
function sort(table, th) {
  const heads = [...th.parentNode.children], column = heads.indexOf(th);
  const numeric = th.dataset.type === "number";
  const was = th.getAttribute("aria-sort");
  const sign = (was === null ? numeric : was === "ascending") ? -1 : 1;
  heads.forEach(h => h.removeAttribute("aria-sort"));
  th.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  const rows = [...table.tBodies].map((body, i) => [key(body, column, numeric), i, body]);
  rows.sort(([a, i], [b, j]) => {
    if (numeric) {
      const x = Number.isNaN(a), y = Number.isNaN(b);
      return x || y ? x - y || i - j : sign * (a - b) || i - j;   // no number: always last
    }
    return sign * (a < b ? -1 : a > b ? 1 : 0) || i - j;
  });
  rows.forEach(r => table.append(r[2]));
}
function filter() {
  const wanted = [...document.querySelectorAll(".filters select")].filter(s => s.value);
  const words = document.querySelector("#find").value.toLowerCase();
  let shown = 0;
  document.querySelectorAll(".board tbody").forEach(body => {
    const fits = wanted.every(s => body.dataset[s.name] === s.value)
      && body.textContent.toLowerCase().includes(words);
    body.hidden = !fits;
    shown += fits;
  });
  document.querySelectorAll(".board").forEach(board => {
    board.querySelector(".empty").hidden = !!board.querySelector("tbody:not([hidden])");
  });
  document.querySelector("#shown").textContent = shown + " shown";
}
document.querySelectorAll(".board th").forEach(th =>
  th.firstElementChild.addEventListener("click", () => sort(th.closest("table"), th)));
document.querySelectorAll(".filters select, .filters input").forEach(e =>
  e.addEventListener("input", filter));
filter();

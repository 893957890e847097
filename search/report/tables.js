"use strict";
// Tables of class "sortable": a click on a header sorts; with data-filter, a text box and check boxes choose rows.
// A cell sorts by its data-value, else by its text; the check boxes are the values of the column data-choices.
(() => {
  const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const isMissing = text => text === "" || text === "-";

  function compare(one, other) {
    const [a, b] = [Number(one), Number(other)];
    return Number.isNaN(a) || Number.isNaN(b) ? one.localeCompare(other, undefined, { numeric: true }) : a - b;
  }

  function sort(table, column) {
    const header = table.tHead.rows[0].cells[column], body = table.tBodies[0];
    const turned = header.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
    for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", turned);
    const sign = turned === "ascending" ? 1 : -1;
    const rows = [...body.rows].map(row => [value(row, column), row]);
    rows.sort(([a], [b]) => isMissing(a) - isMissing(b) || (isMissing(a) ? 0 : sign * compare(a, b)));
    body.append(...rows.map(([, row]) => row));
  }

  function element(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  function addFilters(table) {
    const rows = [...table.tBodies[0].rows], column = Number(table.dataset.choices ?? -1);
    const texts = new Map(rows.map(row => [row, row.textContent.toLowerCase()]));
    const search = element("input", { type: "search", placeholder: "Filter rows" });
    search.setAttribute("aria-label", table.dataset.filter + ": only rows with this text");
    const found = column < 0 ? [] : [...new Set(rows.map(row => value(row, column)))];
    const boxes = found.map(text => element("input", { type: "checkbox", checked: true, value: text }));
    const count = element("span", { className: "dim" });
    count.setAttribute("aria-live", "polite");
    const apply = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const chosen = new Set(boxes.filter(box => box.checked).map(box => box.value));
      for (const row of rows)
        row.hidden = !words.every(word => texts.get(row).includes(word)) || (column >= 0 && !chosen.has(value(row, column)));
      count.textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length}`;
    };
    const labels = boxes.map(box => element("label", {}, box, " " + box.value));
    const form = element("form", { className: "filters" }, search, ...labels, count);
    form.addEventListener("input", apply);
    form.addEventListener("submit", event => event.preventDefault());
    table.parentElement.before(form);
    apply();
  }

  document.querySelector("nav details").open = matchMedia("(min-width: 70rem)").matches;
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      const button = element("button", { type: "button" }, ...cell.childNodes);
      button.addEventListener("click", () => sort(table, column));
      cell.append(button);
    });
    if (table.dataset.filter && table.tBodies[0].rows.length > 7) addFilters(table);
  }
})();

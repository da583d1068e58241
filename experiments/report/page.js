"use strict";
// On paper nothing is folded.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));

// Headers of tables become buttons that sort: numbers as numbers where a column has one unit, text else.
(() => {
  const SUPERSCRIPT = "⁻⁰¹²³⁴⁵⁶⁷⁸⁹", PLAIN = "-0123456789";
  const NUMBER = /^([+-]?(?:\d+(?:\.\d+)?|inf))(?: × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?\s*([^\s\d(;,:]*)/;

  // Text, number and unit of a cell; null: nothing is there. data-sort is a number that stands for the cell.
  const read = (cell) => {
    if (cell === undefined) return null;
    const text = cell.textContent.trim().replace(/\s+/g, " ");
    if (cell.dataset.sort !== undefined) return { text, number: Number(cell.dataset.sort), unit: "" };
    if (text === "" || text === "–" || text === "nan") return null;
    const found = NUMBER.exec(text.replace(/−/g, "-").replace(/(\d),(?=\d{3})/g, "$1"));
    if (found === null) return { text };
    const power = [...(found[2] ?? "⁰")].map((digit) => PLAIN[SUPERSCRIPT.indexOf(digit)]).join("");
    return { text, number: Number(found[1].replace("inf", "Infinity") + (found[2] ? `e${power}` : "")), unit: found[3] };
  };

  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, value: read(row.cells[column]) }));
    const values = rows.map(({ value }) => value).filter((value) => value !== null);
    const numeric = values.every(({ number, unit }) => number !== undefined && unit === values[0].unit);
    const compare = (a, b) => (numeric ? Math.sign(a.number - b.number) || 0 : a.text.localeCompare(b.text, "en", { numeric: true }));
    rows.sort((a, b) => {
      if (a.value === null || b.value === null) return Number(a.value === null) - Number(b.value === null);
      return direction * compare(a.value, b.value);
    });
    body.append(...rows.map(({ row }) => row));
  };

  for (const table of document.querySelectorAll("table")) {
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort by this column";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        const rising = header.getAttribute("aria-sort") !== "ascending";
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", rising ? "ascending" : "descending");
        sort(table, column, rising ? 1 : -1);
      });
    });
  }
})();

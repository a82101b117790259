"use strict";
// Puts the pictures where they belong, sorts tables, and shows the pictures of a cell of the matrix.
const data = JSON.parse(document.getElementById("page-data").textContent);

function fill(image) {
  image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth <= 48), { once: true });
  image.src = data.pictures[image.dataset.number];
}
document.querySelectorAll("img[data-number]").forEach(fill);

function compare(one, other) {
  const [a, b] = [one, other].map((text) => (text.trim() === "" ? NaN : Number(text.replace("%", ""))));
  if (Number.isNaN(a) || Number.isNaN(b)) return one.localeCompare(other);
  return a - b;
}
document.querySelectorAll("table.sortable th button").forEach((button) => {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = button.closest("table").tBodies[0];
    const rising = head.getAttribute("aria-sort") !== "ascending";
    head.parentNode.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const cell = (row) => row.cells[head.cellIndex].textContent;
    const rows = [...body.rows].sort((one, other) => compare(cell(one), cell(other)));
    body.append(...(rising ? rows : rows.reverse()));
  });
});

const shown = document.getElementById("cell");
document.querySelectorAll(".matrix button").forEach((button) => {
  button.addEventListener("click", () => {
    document.querySelectorAll(".matrix td.chosen").forEach((other) => other.classList.remove("chosen"));
    button.parentNode.classList.add("chosen");
    const figures = data.cells[button.dataset.cell].map(([number, path, text]) => {
      const figure = document.createElement("figure"), caption = document.createElement("figcaption");
      caption.innerHTML = text; // the names in it are escaped
      const lacks = number === null || number < 0;
      const picture = document.createElement(lacks ? "div" : "img");
      if (lacks) {
        picture.className = "gone";
        picture.textContent = "not shown";
      } else {
        picture.dataset.number = number;
        picture.alt = caption.textContent;
        fill(picture);
      }
      figure.title = path;
      figure.append(picture, caption);
      return figure;
    });
    shown.replaceChildren(...figures);
    document.getElementById("cell-title").textContent = button.title;
  });
});

if (window.latency) document.getElementById("latency").textContent = window.latency;

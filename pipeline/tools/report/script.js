const table = document.getElementById("classes");
const body = table.tBodies[0];
const search = document.getElementById("search");
const split = document.getElementById("split");
const shown = document.getElementById("shown");
const rows = [...body.rows];

function filter() {
  const words = search.value.normalize("NFC").toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const text = row.dataset.text;
    const matches = words.every(word => text.includes(word)) && (!split.value || row.dataset.split === split.value);
    row.hidden = !matches;
    count += matches;
  }
  shown.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} classes`;
}

function sort(header) {
  const column = header.cellIndex;
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  rows.sort((a, b) => value(a).localeCompare(value(b), "en", {numeric: true}) * (down ? -1 : 1));
  body.append(...rows);
}

search.addEventListener("input", filter);
split.addEventListener("change", filter);
table.tHead.addEventListener("click", event => event.target.closest("button") && sort(event.target.closest("th")));
body.addEventListener("click", event => {
  const sheet = event.target.closest(".sheet");
  if (sheet) sheet.setAttribute("aria-expanded", sheet.getAttribute("aria-expanded") !== "true");
});
document.addEventListener("keydown", event => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !/INPUT|SELECT/.test(document.activeElement.tagName)) {
    event.preventDefault();
    search.focus();
  } else if (event.key === "Escape" && document.activeElement === search) {
    search.value = "";
    filter();
  }
});
filter();

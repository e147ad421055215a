// Sorting of the class table, and the start of everything.

function sortBy(table, column, descending) {
  const body = table.tBodies[0];
  const value = (row) => Number(row.cells[column].dataset.value);
  const rows = [...body.rows].sort((a, b) => (descending ? value(b) - value(a) : value(a) - value(b)));
  body.append(...rows);
  [...table.tHead.rows[0].cells].forEach((cell, index) => {
    if (index === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
}

function startTable() {
  const table = document.getElementById("class-table");
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    cell.querySelector("button").onclick = () => {
      const current = cell.getAttribute("aria-sort");
      sortBy(table, column, current ? current === "ascending" : column > 0);
    };
  });
  sortBy(table, 0, false);
}

dialog.onclick = (event) => {
  if (event.target === dialog) dialog.close(); // a click beside it
};
startTable();
drawScale();
startMatrix();
startGallery();

{
  // Sorting: a figure goes by its data-v, text by its words; what has no figure stays last either way.
  const words = new Intl.Collator("en", { numeric: true });
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v !== undefined ? Number(cell.dataset.v) : cell.classList.contains("n") ? null : nameIn(cell);
  };
  const compare = (a, b) => (typeof a === "number" ? a - b : words.compare(a, b));
  const nameIn = (cell) => cell.dataset.name ?? cell.textContent.trim();
  const titleOf = (head) => head.dataset.title;

  for (const table of document.querySelectorAll("table:not(.plain)")) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0], asMade = [...body.rows];
    const key = `${table.id}.sort`;
    const sort = () => {
      const [title, order] = (state.get(key)[0] ?? "").split("~");
      const column = heads.findIndex((head) => titleOf(head) === title), sign = order === "down" ? -1 : 1;
      for (const head of heads) head.removeAttribute("aria-sort");
      if (column < 0) {
        if ([...body.rows].some((row, i) => row !== asMade[i])) body.append(...asMade);
        return;
      }
      const rows = asMade.map((row) => [keyOf(row, column), row]);
      rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
      body.append(...rows.map(([, row]) => row));
      heads[column].setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    };
    for (const head of heads) {
      head.querySelector("button").addEventListener("click", () => {
        state.set(key, [`${titleOf(head)}~${head.getAttribute("aria-sort") === "ascending" ? "down" : "up"}`]);
        sort();
      });
    }
    state.follow(sort);

    // The name of what is under the pointer: its row and column may be far away.
    body.addEventListener("mousemove", (event) => {
      const cell = event.target.closest("td");
      if (cell) tip.show(`${nameIn(cell.parentElement.cells[0])}, ${titleOf(heads[cell.cellIndex])}`, at(event));
      else tip.hide();
    });
    body.addEventListener("mouseleave", tip.hide);
  }

  for (const form of document.querySelectorAll(".filter")) {
    const table = byId(form.dataset.table), rows = [...table.tBodies[0].rows];
    const heads = [...table.tHead.rows[0].cells];
    const search = form.querySelector("input[type=search]"), count = form.querySelector("output");
    const boxes = (name) => [...form.querySelectorAll(`input[name=${name}]`)];
    const keys = { q: `${table.id}.q`, family: `${table.id}.family`, hide: `${table.id}.hide` };

    const show = () => {
      const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const families = boxes("family").filter((box) => box.checked).map((box) => box.value);
      let shown = 0;
      for (const row of rows) {
        const group = row.dataset.group ?? "", text = `${nameIn(row.cells[0])} ${group}`.toLowerCase();
        row.hidden = !(wanted.every((word) => text.includes(word)) && (!families.length || families.includes(group)));
        shown += !row.hidden;
      }
      for (const box of boxes("column")) {
        const column = heads.findIndex((head) => titleOf(head) === box.value);
        for (const row of [table.tHead.rows[0], ...rows]) row.cells[column].hidden = !box.checked;
      }
      count.textContent = `${shown} of ${rows.length} rows`;
    };
    form.addEventListener("input", () => {
      state.set(keys.q, search.value ? [search.value] : []);
      state.set(keys.family, boxes("family").filter((box) => box.checked).map((box) => box.value));
      state.set(keys.hide, boxes("column").filter((box) => !box.checked).map((box) => box.value));
      show();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      for (const key of Object.values(keys)) state.set(key, []);
      apply();
    });
    const apply = () => {
      search.value = state.get(keys.q)[0] ?? "";
      for (const box of boxes("family")) box.checked = state.get(keys.family).includes(box.value);
      for (const box of boxes("column")) box.checked = !state.get(keys.hide).includes(box.value);
      show();
    };
    form.hidden = false;
    state.follow(apply);
  }
}

{
  // Taking things along: names and commands to the clipboard, figures as files.
  const copied = async (content, button) => {
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(content);
    } catch {
      const area = make("textarea", { readonly: "" }); // no clipboard for this page: select it, as one would by hand
      area.value = content;
      button.after(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = "copied";
    setTimeout(() => (button.textContent = before), 1500);
  };
  const button = (label, what, content) => {
    const made = make("button", { type: "button", class: "copy", "aria-label": `Copy ${what}` }, label);
    made.addEventListener("click", () => copied(content(), made));
    return made;
  };
  for (const pre of document.querySelectorAll("pre")) pre.before(button("Copy", "the command", () => pre.textContent.trim()));
  for (const head of document.querySelectorAll("#all tbody th")) {
    head.append(button("copy", head.dataset.name, () => head.dataset.name));
  }

  const save = (name, type, content) => {
    const address = URL.createObjectURL(new Blob([content], { type }));
    make("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  };
  const quoted = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  // Figures as numbers, in bytes, seconds and shares of 1; what stands beside a figure has a column of its own.
  const csv = () => {
    const table = byId("all"), shown = [...table.tHead.rows[0].cells].filter((head) => !head.hidden);
    const rows = [...table.tBodies[0].rows];
    const aside = ({ cellIndex }, row) => row.cells[cellIndex].querySelector(".aside")?.textContent.trim() ?? "";
    const beside = new Set(shown.filter((head) => rows.some((row) => aside(head, row))));
    const lines = [shown.flatMap((head) => [head.dataset.title, ...(beside.has(head) ? [`${head.dataset.title}, uncertainty`] : [])])];
    for (const row of rows) {
      if (row.hidden) continue;
      lines.push(shown.flatMap((head) => {
        const cell = row.cells[head.cellIndex];
        const figure = cell.dataset.v ?? cell.dataset.name ?? cell.textContent.trim().replace(/^–$/, "");
        return [figure, ...(beside.has(head) ? [aside(head, row)] : [])];
      }));
    }
    return lines.map((line) => line.map(quoted).join(",") + "\n").join("");
  };
  byId("save-csv")?.addEventListener("click", () => save("files.csv", "text/csv", csv()));
  byId("save-json")?.addEventListener("click", () => save("windows.json", "application/json", `${JSON.stringify(DATA, null, 1)}\n`));
  for (const part of document.querySelectorAll(".needs-script")) part.hidden = false;

  // On paper nothing is folded, and afterwards what was folded is again.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => opened.forEach((details) => (details.open = false)));
}

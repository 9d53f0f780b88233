{
  // Points of plots have their names as labels. One of a plot takes the keyboard's focus; arrow keys go to the others.
  for (const plot of document.querySelectorAll(".plot svg")) {
    const points = [...plot.querySelectorAll(".point")];
    const name = (point) => tip.show(point.getAttribute("aria-label"), point.getBoundingClientRect());
    points.forEach((point, i) => {
      point.setAttribute("tabindex", i ? -1 : 0);
      point.addEventListener("mouseenter", () => name(point));
      point.addEventListener("mouseleave", tip.hide);
      point.addEventListener("blur", tip.hide);
      point.addEventListener("focus", () => name(point));
      point.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const next = points[(i + step + points.length) % points.length];
        point.setAttribute("tabindex", -1);
        next.setAttribute("tabindex", 0);
        next.focus();
        name(next); // scrolling to it has closed the tip
      });
    });
  }

  // Maps: the cell under the pointer, or the one that arrow keys have reached.
  for (const map of document.querySelectorAll(".map svg")) {
    const { width: layers, height } = map.viewBox.baseVal, rows = map.dataset.rows.split(" ");
    const types = rows.map(() => []);
    for (const path of map.querySelectorAll("path")) {
      for (const [, x, y, n] of path.getAttribute("d").matchAll(/M(\d+) (\d+)h(\d+)/g)) {
        for (let i = 0; i < Number(n); i++) types[y][Number(x) + i] = path.dataset.type;
      }
    }
    const cell = { x: 0, y: 0 };
    const name = (place) => tip.show(`${rows[cell.y]}, layer ${cell.x}: ${types[cell.y][cell.x] ?? "no such tensor"}`, place);
    map.addEventListener("mousemove", (event) => {
      const box = map.getBoundingClientRect();
      cell.x = Math.min(layers - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * layers)));
      cell.y = Math.min(height - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * height)));
      name(at(event));
    });
    const atCell = () => {
      const box = map.getBoundingClientRect(), w = box.width / layers, h = box.height / height;
      const left = box.left + cell.x * w, top = box.top + cell.y * h;
      return { left, right: left + w, top, bottom: top + h };
    };
    map.addEventListener("mouseleave", tip.hide);
    map.addEventListener("blur", tip.hide);
    map.addEventListener("focus", () => name(atCell()));
    map.addEventListener("keydown", (event) => {
      const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
      if (!step) return;
      event.preventDefault();
      cell.x = Math.min(layers - 1, Math.max(0, cell.x + step[0]));
      cell.y = Math.min(height - 1, Math.max(0, cell.y + step[1]));
      name(atCell());
    });
  }
}

if (DATA && byId("choose")) {
  const measured = DATA.files.filter((file) => file.nll);
  const named = new Map(measured.map((file) => [file.name, file]));
  const list = (names) => (names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names[0]);

  // The best file up to a size: the least divergence from the reference, or perplexity where that was not measured.
  // Left out: the reference, files that it cannot judge, and controls, which are made to be beaten.
  const budget = byId("budget"), best = byId("best");
  const able = measured.filter((file) => file.name !== DATA.reference && !file.untold && !file.control);
  const byKl = able.some((file) => file.kl), loss = byKl ? "kl" : "nll";
  const judged = able.filter((file) => file[loss]); // one with another vocabulary has no divergence
  const without = able.length > judged.length ? "; files without a divergence are left out" : "";
  byId("judged-by").textContent = (byKl ? "KL divergence from the reference" : "perplexity") + without;
  const changes = new Map(); // a slider asks for the same pair many times
  const change = (before, after, of) => {
    const pair = JSON.stringify([before.name, after.name, of]);
    if (!changes.has(pair)) changes.set(pair, (byKl ? statistics.divergence : statistics.perplexity)(before, after, of));
    return changes.get(pair);
  };
  const told = (file) => {
    const value = statistics.total(file[loss]);
    return `${file.name} (${file.size}, ${byKl ? `KL ${text.divergence(value)}` : `PPL ${Math.exp(value).toFixed(2)}`})`;
  };
  const recommend = () => {
    const limit = Number(budget.value) * 1e6;
    byId("budget-text").textContent = limit < 1e9 ? `${(limit / 1e6).toFixed(1)} MB` : `${(limit / 1e9).toFixed(2)} GB`;
    const fitting = judged.filter((file) => file.bytes <= limit).sort((a, b) => statistics.total(a[loss]) - statistics.total(b[loss]));
    if (!fitting.length) {
      best.replaceChildren("No file that can be judged is that small.");
      return;
    }
    const [first, ...others] = fitting, parts = [];
    const rest = others.filter((file) => statistics.excludes(change(first, file, others.length), 0) !== true);
    const fewWindows = others.length && statistics.excludes(change(first, others[0], 1), 0) === null;
    parts.push(make("strong", {}, told(first)), ` has the lowest ${byKl ? "divergence" : "perplexity"} of the ${fitting.length} files up to this size.`);
    if (fitting.length === 1) parts.splice(1, 1, " is the only file up to this size that can be judged.");
    else if (fewWindows) parts.push(" The run has too few windows to say whether the others are really worse.");
    else if (!rest.length) parts.push(" All others are shown to be worse (paired, 95 % for all together).");
    else {
      parts.push(` No difference is shown from ${list(rest.map((file) => file.name))}`);
      const smallest = rest.reduce((a, b) => (b.bytes < a.bytes ? b : a));
      parts.push(smallest.bytes < first.bytes ? `; the smallest of these is ${smallest.name} (${smallest.size}).` : ".");
    }
    best.replaceChildren(...parts);
  };
  if (judged.length) {
    const sizes = judged.map((file) => file.bytes / 1e6);
    budget.min = Math.floor(Math.min(...sizes));
    budget.max = Math.ceil(Math.max(...sizes));
    const middle = [...sizes].sort((a, b) => a - b)[sizes.length >> 1], start = Math.ceil(10 * middle) / 10; // it fits
    budget.addEventListener("input", () => {
      state.set("budget", [budget.value]);
      recommend();
    });
    state.follow(() => {
      budget.value = state.get("budget")[0] ?? start.toFixed(1);
      recommend();
    });
  } else byId("best-file").hidden = true;

  // Two files, paired window by window.
  const [before, after] = [byId("pair-before"), byId("pair-after")], rows = byId("pair").tBodies[0];
  const figure = (value) => {
    const [main, ...interval] = value.split(" [");
    return make("td", { class: "n" }, main, ...interval.map((rest) => make("span", { class: "aside" }, ` [${rest}`)));
  };
  const compare = () => {
    const a = named.get(before.value), b = named.get(after.value), kl = statistics.divergence(a, b);
    const perplexity = statistics.perplexity(a, b), time = DATA.times && statistics.time(a, b);
    const untold = [a, b].filter((file) => file.untold), cannot = "cannot be told †";
    const say = (verdict) => (a === b ? "the same file" : untold.length ? cannot : verdict);
    const told = [
      ["Size", text.percent(b.bytes / a.bytes - 1), b.bytes === a.bytes ? "equal" : b.bytes < a.bytes ? "smaller" : "larger"],
      ["Perplexity", text.withInterval(perplexity, text.percent), say(statistics.verdict(perplexity))],
      ["KL divergence (nats)", kl ? text.withInterval(kl, text.divergenceChange) : "–", kl ? say(statistics.verdict(kl)) : "not measured of both"],
    ];
    if (time) told.push(["Time for one window, ratio", text.withInterval(time, (x) => x.toFixed(3)), a === b ? "the same file" : statistics.timeVerdict(time)]);
    rows.replaceChildren(
      ...told.map(([what, value, verdict]) =>
        make("tr", {}, make("th", { scope: "row" }, what), figure(value), make("td", {}, verdict)),
      ),
    );
    const over = a.windows;
    byId("pair-said").textContent =
      `${b.name} against ${a.name}, paired over the ${over} windows of the run. These verdicts are about this one comparison; those of the tables hold for a table as a whole.` +
      (untold.length ? ` † ${DATA.untold}.` : "");
  };
  if (measured.length > 1) {
    for (const select of [before, after]) {
      offer(select, measured);
      select.addEventListener("input", () => {
        state.set("pair", [before.value, after.value]);
        compare();
      });
    }
    const usual = DATA.pair ?? [measured[0].name, measured[1].name];
    state.follow(() => {
      const [a, b] = state.get("pair");
      before.value = named.has(a) ? a : usual[0];
      after.value = named.has(b) ? b : usual[1];
      compare();
    });
  } else byId("two-files").hidden = true;
  if (judged.length || measured.length > 1) byId("choose").hidden = false;
  else document.querySelector('nav a[href="#choose"]').parentElement.remove();
}

if (DATA?.text) {
  // A window's scored tokens, coloured and underlined by their divergence in one file. Arrow keys go from token to token.
  const { pieces, files, limits } = DATA.text;
  const kinds = DATA.text.kinds.flatMap(([kind, n]) => Array(n).fill(kind));
  const view = byId("token-text"), choice = byId("token-file"), count = byId("token-count");
  const spans = pieces.map((piece) => make("span", {}, piece.replaceAll("\n", "↵\n") || "▯"));
  view.append(...spans);

  // a byte a token: 0 for less than the least that is told, then a step each
  const unpack = (packed) =>
    Array.from(atob(packed), (c) => (c.charCodeAt(0) ? DATA.text.least * DATA.text.step ** (c.charCodeAt(0) - 1) : 0));
  const level = (kl) => limits.filter((limit) => kl >= limit).length;
  let values = [], current = 0;
  const show = () => {
    const file = choice.value;
    values = unpack(files[file]);
    const counts = Array(limits.length + 1).fill(0);
    values.forEach((kl, i) => {
      spans[i].className = `d${level(kl)}`;
      counts[level(kl)]++;
    });
    for (const [i, item] of [...byId("token-legend").children].entries()) item.querySelector("output").textContent = counts[i];
    count.textContent = `${file}: ${values.length} tokens, values rounded to steps of 6 %.`;
  };
  const shown = (value) => (value >= 0.001 ? `about ${value.toPrecision(2)}` : "below 0.001");
  const name = (i) => tip.show(`${JSON.stringify(pieces[i])}: KL ${shown(values[i])} nats (${kinds[i]})`, spans[i].getClientRects()[0]);
  const go = (i) => {
    spans[current].classList.remove("here");
    current = Math.min(Math.max(i, 0), spans.length - 1);
    spans[current].classList.add("here");
    spans[current].scrollIntoView({ block: "nearest" });
    requestAnimationFrame(() => requestAnimationFrame(() => name(current))); // after the scrolling, which closes the tip
  };
  view.addEventListener("mousemove", (event) => {
    const i = spans.indexOf(event.target);
    if (i < 0) tip.hide();
    else name(i);
  });
  view.addEventListener("mouseleave", tip.hide);
  view.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10 }[event.key];
    if (!step) return;
    event.preventDefault();
    go(view.dataset.begun ? current + step : 0);
    view.dataset.begun = "yes";
  });
  view.addEventListener("blur", () => {
    spans[current].classList.remove("here");
    tip.hide();
  });
  offer(choice, DATA.files.filter((file) => files[file.name]));
  choice.addEventListener("input", () => {
    state.set("tokens", [choice.value]);
    show();
  });
  byId("tokens").hidden = false;
  state.follow(() => {
    const asked = state.get("tokens")[0];
    choice.value = files[asked] ? asked : DATA.text.first;
    show();
  });
}

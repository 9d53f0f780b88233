"use strict";
// What all scripts of a page use. The files in this folder are put into a page one after the other (report.py): each but
// this one keeps its names to itself in a block.
const byId = (id) => document.getElementById(id);

const make = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
};

// Fill a select with the names of files, under their families.
const offer = (select, files) => {
  for (const family of new Set(files.map((file) => file.family))) {
    const options = files.filter((file) => file.family === family).map((file) => make("option", {}, file.name));
    select.append(make("optgroup", { label: family }, ...options));
  }
};

// What is computed with: the values of every window of every file (data.py). Null in a page without it.
const DATA = JSON.parse(byId("run-data")?.textContent ?? "null");

// What a reader has chosen. It stands behind a "?" in the hash of the address, so that a link shows the same:
// #files-all?all.sort=PPL~down&all.family=Standard
const state = (() => {
  const applied = [];
  const read = () => {
    const [anchor, query] = location.hash.slice(1).split("?");
    return { anchor, chosen: query === undefined ? null : new URLSearchParams(query) };
  };
  let { anchor, chosen } = read();
  const linked = chosen !== null;
  chosen ??= new URLSearchParams();
  const write = () => {
    const query = String(chosen);
    history.replaceState(null, "", `#${anchor}${query ? `?${query}` : ""}`);
  };
  // browsers refuse an address that changes with every step of a slider
  let later;
  const writeSoon = () => {
    clearTimeout(later);
    later = setTimeout(write, 200);
  };
  const arrive = () => {
    for (const apply of applied) apply();
    byId(anchor)?.scrollIntoView();
  };
  addEventListener("hashchange", () => {
    const found = read();
    anchor = found.anchor;
    if (found.chosen) {
      chosen = found.chosen;
      arrive();
    } else write(); // a link within the page: what was chosen stays
  });
  addEventListener("load", () => linked && arrive());
  return {
    get: (key) => chosen.getAll(key),
    set: (key, values) => {
      chosen.delete(key);
      for (const value of values) chosen.append(key, value);
      writeSoon();
    },
    // apply: shows what is chosen; called now and whenever the address says something else
    follow: (apply) => {
      applied.push(apply);
      apply();
    },
  };
})();

// One small box that names what is under the pointer or has the focus. Escape closes it.
const tip = (() => {
  const box = make("div", { id: "tip", role: "status", hidden: "" });
  document.querySelector("main").append(box);
  const hide = () => (box.hidden = true);
  addEventListener("keydown", (event) => event.key === "Escape" && hide());
  addEventListener("scroll", hide, { capture: true, passive: true });
  return {
    hide,
    // place: {left, right, top, bottom} in the window
    show: (text, place) => {
      box.textContent = text;
      box.hidden = false;
      const { width, height } = box.getBoundingClientRect();
      const x = Math.min(Math.max(4, (place.left + place.right - width) / 2), innerWidth - width - 4);
      const above = place.top - height - 8;
      box.style.left = `${x}px`;
      box.style.top = `${above > 4 ? above : place.bottom + 8}px`;
    },
  };
})();

const at = (event) => ({ left: event.clientX, right: event.clientX, top: event.clientY, bottom: event.clientY });

"use strict";
(() => {
  const one = (id) => document.getElementById(id);
  const all = (query, within = document) => [...within.querySelectorAll(query)];
  const main = one("notes"), status = one("status");
  const notes = all("article", main), errors = all("li[data-e]", main), marks = all("span[data-k]", main);
  const errorOf = new Map(errors.map((error) => [error.dataset.e, error]));
  const marksOf = new Map(errors.map((error) => [error.dataset.e, []]));
  for (const mark of marks) if (mark.dataset.e) marksOf.get(mark.dataset.e).push(mark);
  let list = [], current = null, lit = [];  // the errors shown, the last one stepped to, what is lit

  const relist = () => { list = all("article:not([hidden]) li[data-e]:not([hidden])", main); };
  const tell = (text) => { status.textContent = text; };
  const words = (element) => element.textContent.replace(/\s+/g, " ").trim();

  const light = (elements) => {
    for (const element of lit) element.classList.remove("now");
    lit = elements;
    for (const element of lit) element.classList.add("now");
  };

  const choose = (error) => {
    current = error;
    light([error, ...marksOf.get(error.dataset.e)]);
    const note = words(error.closest("article").querySelector("h2"));
    tell(`Error ${list.indexOf(error) + 1} of ${list.length}, ${note}: ${words(error)}`);
  };

  const step = (direction, focus) => {
    if (!list.length) return tell("No errors to step through");
    const side = direction > 0 ? Node.DOCUMENT_POSITION_FOLLOWING : Node.DOCUMENT_POSITION_PRECEDING;
    const ordered = direction > 0 ? list : [...list].reverse();
    choose((current && ordered.find((error) => current.compareDocumentPosition(error) & side)) || ordered[0]);
    const target = one(`m${current.dataset.e}`) || current;
    if (focus) target.focus({ preventScroll: true });
    target.scrollIntoView({ block: "center" });
  };

  const filter = () => {
    const label = one("label").value, only = one("only").checked;
    const kinds = new Set(all("#kinds input:checked").map((box) => box.value));
    const fits = ({ dataset }) => kinds.has(dataset.k) && (!label || dataset.l.split(" ").includes(label));
    for (const mark of marks) mark.classList.toggle("off", !fits(mark));
    for (const error of errors) error.hidden = !fits(error);
    for (const note of notes) note.hidden = only && !note.querySelector("li[data-e]:not([hidden])");
    if (current && (current.hidden || current.closest("article").hidden)) light([]);
    relist();
    const count = list.length, shown = notes.filter((note) => !note.hidden).length;
    tell(`${count.toLocaleString("en")} ${count === 1 ? "error" : "errors"} in ${shown} ${shown === 1 ? "note" : "notes"}`);
  };

  const order = () => {
    const key = one("order").value;
    main.append(...notes.sort((a, b) => a.dataset[key] - b.dataset[key]));
    relist();
  };

  const steps = new Map([["n", 1], ["j", 1], ["p", -1], ["k", -1]]);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest && event.target.closest("select");
    const direction = steps.get(event.key);
    if (!direction || typing || !one("keys").checked || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    step(direction, true);
  });
  one("next").addEventListener("click", () => step(1, false));
  one("previous").addEventListener("click", () => step(-1, false));
  main.addEventListener("click", (event) => {
    const hit = event.target.closest("[data-e]");
    const error = hit && errorOf.get(hit.dataset.e);
    if (error && !error.hidden) choose(error);
  });
  for (const id of ["label", "kinds", "only"]) one(id).addEventListener("change", filter);
  one("order").addEventListener("change", order);
  for (const element of all("[data-script]")) element.hidden = false;
  order();
  filter();
})();

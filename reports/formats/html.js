/* Filter and search; without it everything is there, too. */
"use strict";
(() => {
  const findings = [...document.querySelectorAll(".finding")];
  const filter = document.querySelector(".filter");
  const query = filter.querySelector("input[type=search]");
  const module = filter.querySelector("select");
  const kinds = [...filter.querySelectorAll("input[type=checkbox]")];
  const shown = filter.querySelector("output");
  const words = new Map(findings.map((f) => [f, f.textContent.toLowerCase()]));

  function apply() {
    const wanted = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const some = new Set(kinds.filter((box) => box.checked).map((box) => box.value));
    let n = 0;
    for (const f of findings) {
      const fits = some.has(f.dataset.kind) && (!module.value || f.dataset.module === module.value)
        && wanted.every((word) => words.get(f).includes(word));
      f.hidden = !fits;
      n += fits;
    }
    shown.textContent = n === findings.length ? `${n} findings` : `${n} of ${findings.length}`;
  }

  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.classList.contains("finding")) {
      if (target.hidden) {
        query.value = module.value = "";
        kinds.forEach((box) => { box.checked = true; });
        apply();
      }
      target.open = true;
      target.scrollIntoView();
    }
  }

  filter.addEventListener("input", apply);
  filter.querySelector("button").addEventListener("click", () => {
    const open = findings.some((f) => !f.hidden && !f.open);
    findings.forEach((f) => { f.open = open && !f.hidden; });
  });
  document.querySelectorAll("a[data-kind]").forEach((a) => a.addEventListener("click", (event) => {
    event.preventDefault();
    module.value = a.dataset.module;
    kinds.forEach((box) => { box.checked = !a.dataset.kind || box.value === a.dataset.kind; });
    apply();
    document.getElementById("findings").scrollIntoView();
  }));
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((d) => { d.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((d) => { d.open = false; }));
  addEventListener("hashchange", reveal);
  filter.hidden = false;
  apply();
  reveal();
})();

// Travelling through a stream: the slider goes where it is left, the arrow keys one message back and one on.
"use strict";

document.addEventListener("change", ({target}) => {
  if (target.matches?.("[data-travel]")) location.assign(target.dataset.travel + target.value);
});

// On a phone there are more rooms than fit: the one that somebody is in is among those that are seen.
document.addEventListener("DOMContentLoaded", () => {
  const bar = document.querySelector("nav.bar"), here = bar?.querySelector("[aria-current]");
  if (here && bar.scrollWidth > bar.clientWidth) bar.scrollLeft = here.offsetLeft - (bar.clientWidth - here.offsetWidth) / 2;
});

// Where a browser lets nobody copy, what is to be copied is marked.
document.addEventListener("click", async ({target}) => {
  if (!target.matches?.("[data-copy]")) return;
  const text = document.getElementById(target.dataset.copy);
  getSelection().selectAllChildren(text);
  if (navigator.clipboard) await navigator.clipboard.writeText(text.textContent).then(() => target.textContent = "Copied", () => {});
});

document.addEventListener("keydown", (event) => {
  if (event.target !== document.body) return;
  const label = {ArrowLeft: "One message back", ArrowRight: "One message on"}[event.key];
  if (label) document.querySelector(`#travel a[aria-label="${label}"]:not([aria-disabled])`)?.click();
  if (event.key === "/") {
    event.preventDefault();
    document.querySelector("[role=search] input")?.focus();
  }
});

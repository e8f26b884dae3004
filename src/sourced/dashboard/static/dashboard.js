// Travelling through a stream: the slider goes where it is left, the arrow keys one message back and one on.
"use strict";

document.addEventListener("change", ({target}) => {
  if (target.matches?.("[data-travel]")) location.assign(target.dataset.travel + target.value);
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

// Dragging items to another place, and travelling through a list's history.
"use strict";

let dragged = null;
const itemAt = (event) => event.target.closest?.("[data-sortable] > li[draggable]");

document.addEventListener("dragstart", (event) => {
  dragged = itemAt(event);
  if (!dragged) return;
  event.dataTransfer.effectAllowed = "move";
  dragged.classList.add("dragged");
});

document.addEventListener("dragover", (event) => {
  const over = dragged && itemAt(event);
  if (!over || over.parentNode !== dragged.parentNode) return;
  event.preventDefault();
  for (const each of over.parentNode.children) each.classList.toggle("target", each === over && each !== dragged);
});

document.addEventListener("drop", (event) => {
  const over = dragged && itemAt(event);
  if (!over || over === dragged) return;
  event.preventDefault();
  const list = over.parentNode;
  const values = {
    type: "todos.move_item", stream: list.dataset.sortable, item_id: dragged.dataset.item,
    to: [...list.children].indexOf(over),
  };
  const form = list.querySelector("form");
  htmx.ajax("POST", form.getAttribute("hx-post"), {source: list, values, swap: "none"});
});

document.addEventListener("dragend", () => {
  for (const each of document.querySelectorAll(".dragged, .target")) each.classList.remove("dragged", "target");
  dragged = null;
});

// The slider goes where it is left; the arrow keys go one version back and one on.
document.addEventListener("change", ({target}) => {
  if (target.matches?.("[data-travel]")) location.assign(target.dataset.travel + target.value);
});

document.addEventListener("keydown", (event) => {
  if (event.target !== document.body) return;
  const label = {ArrowLeft: "One version back", ArrowRight: "One version on"}[event.key];
  document.querySelector(`#travel a[aria-label="${label}"]:not([aria-disabled])`)?.click();
});

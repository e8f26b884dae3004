// What pages need beyond htmx: fields that keep what is being typed, a modal, times as people read them.
"use strict";

Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, field) =>
  !(name === "value" && field === document.activeElement && field.value !== field.defaultValue);

const sent = new WeakMap();

// A field with data-inline is text until somebody types: leaving it or Enter sends it, Escape takes it back.
document.addEventListener("focusout", ({target}) => {
  if (!target.matches?.("[data-inline]") || target.value === target.defaultValue) return;
  if (target.value.trim() === "") target.value = target.defaultValue;
  else if (sent.get(target) !== target.value) target.form.requestSubmit();
});

document.addEventListener("keydown", (event) => {
  const {target, key} = event;
  if (!target.matches?.("[data-inline]")) return;
  if (key === "Enter" && target.matches("textarea")) {
    event.preventDefault();
    if (target.value.trim() !== "") target.form.requestSubmit();
  }
  if (key !== "Escape") return;
  target.value = target.defaultValue;
  target.blur();
});

document.addEventListener("submit", ({target}) => {
  for (const field of target.querySelectorAll("[data-inline]")) sent.set(field, field.value);
}, true);

// What was accepted is cleared away: the field for the next one, and complaints about the last.
document.addEventListener("htmx:afterRequest", ({target, detail}) => {
  if (!target.matches?.("form") || detail.xhr?.status !== 204) return;
  for (const complaint of target.querySelectorAll(".complaint")) complaint.textContent = "";
  if (target.matches("[data-reset]")) target.reset();
});

document.addEventListener("htmx:afterSwap", ({target, detail}) => {
  tell(target);
  const modal = document.getElementById("modal");
  if (detail.target === modal && !modal.open) modal.showModal();
});

document.addEventListener("click", (event) => {
  const modal = document.getElementById("modal");
  if (!modal.open || (event.target !== modal && !event.target.closest?.("[data-close]"))) return;
  event.preventDefault();
  modal.close();
});

const read = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "medium"});
const tell = (root) => {
  for (const time of root.querySelectorAll("time:not([title])")) {
    time.title = time.textContent;
    time.textContent = read.format(new Date(time.dateTime));
  }
};
document.addEventListener("DOMContentLoaded", () => tell(document));

// Whether the page is live is shown, and pages can style it.
const live = (is) => document.documentElement.toggleAttribute("data-live", is);
document.addEventListener("htmx:sseOpen", () => live(true));
document.addEventListener("htmx:sseError", () => live(false));
document.addEventListener("htmx:sseClose", () => live(false));

// What pages need beyond htmx: fields that keep what is being typed, a modal, times as people read them.
"use strict";

// What comes from the server leaves alone what somebody is typing, and what they opened to read it.
Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) =>
  !(name === "value" && element === document.activeElement && element.value !== element.defaultValue) &&
  !(name === "open" && element.matches("details"));

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

// Whoever travels through a history sees where in it they are.
document.addEventListener("DOMContentLoaded", () => {
  const here = document.querySelector(".history [aria-current]"), list = here?.closest(".history");
  if (list) list.scrollTop = here.offsetTop - list.offsetTop - (list.clientHeight - here.offsetHeight) / 2;
});

// Nobody is left with a button that does nothing: what was not answered, or not accepted, is said.
const place = Object.assign(document.createElement("div"), {id: "trouble", role: "alert"});
const trouble = (said) => {
  const modal = document.getElementById("modal");
  place.replaceChildren(`${said} `, Object.assign(document.createElement("a"), {href: "", textContent: "Load the page anew"}));
  (modal.open ? modal : document.body).append(place);  // what is beneath a modal is neither seen nor heard
};
document.addEventListener("htmx:beforeRequest", () => place.remove());
document.addEventListener("htmx:sendError", () => trouble("The server cannot be reached. Try again in a moment."));
document.addEventListener("htmx:responseError", ({detail: {xhr}}) => trouble(
  xhr.getResponseHeader("content-type")?.startsWith("text/plain") ? xhr.responseText : `The server could not do that (${xhr.status}).`));

// Whether the page is live is shown, and pages can style it.
const live = (is) => {
  document.documentElement.toggleAttribute("data-live", is);
  const sign = document.getElementById("live");
  if (sign) sign.textContent = is ? "live" : "not live";
};
document.addEventListener("htmx:sseOpen", () => live(true));
document.addEventListener("htmx:sseError", () => live(false));
document.addEventListener("htmx:sseClose", () => live(false));

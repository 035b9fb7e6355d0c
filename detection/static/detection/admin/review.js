// Keys for the links, buttons and the note of the page. Each element names its keys in
// aria-keyshortcuts. A letter is a place on the keyboard, so that Cyrillic and Greek keyboards have
// it too. The form works without this script.

import { fetchEvidence, noteBroken } from "./review_images.js";
import { zoomTogether } from "./review_zoom.js";

// A key that is pressed twice must not decide about a picture before it was visible.
const PAUSE = 300; // milliseconds
const NAMES = { "+": "Plus", "=": "Plus", "_": "-" };

let busy = true; // for a moment after loading, and while leaving the page

function keysOf(event) {
  const place = event.code || `Key${event.key.toUpperCase()}`; // some on-screen keyboards have no code
  const [, letter] = /^Key([A-Z])$/.exec(place) ?? [];
  const [, digit] = /^Digit(\d)$/.exec(place) ?? [];
  return letter ? [letter] : [NAMES[event.key] ?? event.key, digit];
}

function elementOf(event) {
  return keysOf(event)
    .map((key) => key && document.querySelector(`[aria-keyshortcuts~="${CSS.escape(key)}"]`))
    .find(Boolean);
}

function showLetters(layout) {
  for (const key of document.querySelectorAll("kbd")) {
    key.textContent = layout.get(`Key${key.textContent}`)?.toUpperCase() ?? key.textContent;
  }
}

function isTyping(target) {
  return target.matches("textarea, input, select, [contenteditable]");
}

document.addEventListener("keydown", (event) => {
  const isModified = event.ctrlKey || event.metaKey || event.altKey;
  if (isModified || event.getModifierState("AltGraph") || event.isComposing) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const element = elementOf(event);
  const moves = event.shiftKey && event.key.startsWith("Arrow"); // the picture, not the queue
  if (!element || moves) return;
  event.preventDefault();
  if (element.matches("textarea")) {
    element.focus();
    element.setSelectionRange(element.value.length, element.value.length);
  } else if (element.matches("[data-zoom]")) {
    element.click(); // repeats while the key is held
  } else if (!busy && !event.repeat) {
    element.click();
  }
});

function leave(event) {
  // A second click would send the same decision again, which would be stale.
  if (document.body.classList.contains("busy")) event.preventDefault();
  busy = true;
  document.body.classList.add("busy");
}

for (const form of document.querySelectorAll("form.decision, form.last-decision")) {
  form.addEventListener("submit", leave);
}

// A page from the browser's back-forward cache is ready.
window.addEventListener("pageshow", () => {
  document.body.classList.remove("busy");
  delete document.body.dataset.keys;
  setTimeout(() => {
    busy = false;
    document.body.dataset.keys = "on";
  }, PAUSE);
});

// Only in secure contexts of some browsers
navigator.keyboard?.getLayoutMap?.().then(showLetters);

const pictures = document.querySelector(".pictures");
if (pictures) {
  noteBroken(pictures);
  zoomTogether(pictures);
  fetchEvidence(pictures.querySelector("[data-evidence]"));
}

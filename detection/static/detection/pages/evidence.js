// The button that switches a card between its picture and the evidence map.

import { sentenceOf } from "./upload.js";

const LOST = "The evidence map cannot be loaded. Check your network.";
const maps = new WeakMap(); // button → address of its map

document.documentElement.classList.add("scripted");
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.evidence");
  if (button && button.getAttribute("aria-busy") !== "true") toggle(button);
});

async function toggle(button) {
  const card = button.closest(".card");
  if (button.getAttribute("aria-pressed") === "true") {
    show(card, button, null);
    return;
  }
  if (!maps.has(button)) await fetchMap(card, button);
  if (maps.has(button)) show(card, button, maps.get(button));
}

async function fetchMap(card, button) {
  button.setAttribute("aria-busy", "true");
  const problem = card.querySelector(".evidence-problem");
  problem.hidden = true;
  try {
    const response = await fetch(button.dataset.src, { headers: { Accept: "image/jpeg, application/json" } });
    if (response.ok) maps.set(button, URL.createObjectURL(await response.blob()));
    else problem.textContent = sentenceOf(await response.text());
  } catch {
    problem.textContent = LOST;
  }
  problem.hidden = maps.has(button);
  button.removeAttribute("aria-busy");
}

function show(card, button, map) {
  const picture = card.querySelector(".picture");
  picture.dataset.verdict ??= picture.getAttribute("src");
  picture.src = map ?? picture.dataset.verdict;
  picture.alt = map ? picture.dataset.evidenceAlt : picture.dataset.verdictAlt;
  card.querySelector(".legend").hidden = !map;
  button.setAttribute("aria-pressed", String(Boolean(map)));
}

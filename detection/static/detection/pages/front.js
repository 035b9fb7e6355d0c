// The front page: a card for each image from the picker, a drop or the clipboard.

import { Item } from "./item.js";
import { Queue } from "./queue.js";
import "./evidence.js";

const form = document.getElementById("picker");
const input = document.getElementById("image");
const cards = document.getElementById("cards");
const results = document.getElementById("results");
const tally = document.getElementById("tally");
const announcer = document.getElementById("announcer");
const dropSign = document.getElementById("drop-sign");

const items = [];
const queue = new Queue();

function announce(words) {
  announcer.textContent = words;
}

function count() {
  const ended = items.filter((item) => item.ended).length;
  tally.textContent = items.length > 1 ? `${ended} of ${items.length} done` : "";
}

function addFiles(files) {
  const images = [...files];
  if (!images.length) {
    announce("There is no file to judge. Save the image, then choose or drop the file.");
    return;
  }
  const added = images.map((file) => new Item(file, { form, queue, announce, changed: count }));
  items.push(...added);
  results.hidden = false;
  cards.prepend(...added.map((item) => item.element)); // newest first
  announce(images.length > 1 ? `${images.length} images are being sent.` : `${images[0].name} is being sent.`);
  count();
  added.forEach((item) => item.start());
}

function addPicked() {
  addFiles(input.files);
  input.value = ""; // so that the same file can be chosen again
}

// Nested elements fire dragenter and dragleave too; only the outermost pair counts.
let depth = 0;

function showDropSign(event, change) {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  depth = Math.max(0, depth + change);
  dropSign.hidden = depth === 0;
}

document.addEventListener("dragenter", (event) => showDropSign(event, 1));
document.addEventListener("dragover", (event) => showDropSign(event, 0));
document.addEventListener("dragleave", (event) => showDropSign(event, -1));
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer) return;
  event.preventDefault(); // else the browser opens the file instead of the page
  depth = 0;
  dropSign.hidden = true;
  addFiles(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) addFiles(event.clipboardData.files);
});
input.addEventListener("change", addPicked);

input.multiple = true;
input.required = false;
if (input.files.length) addPicked(); // chosen before this script was loaded

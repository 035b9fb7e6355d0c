// One file: queued, sent, and shown as a card or an error.

import { send } from "./upload.js";

const template = document.getElementById("waiting");

export class Item {
  ended = false;

  constructor(file, { form, queue, announce, changed }) {
    Object.assign(this, { file, form, queue, announce, changed });
    this.element = template.content.firstElementChild.cloneNode(true);
    this.find(".file").textContent = file.name;
    this.find("progress").setAttribute("aria-label", `Upload of ${file.name}`);
    this.find(".again").addEventListener("click", () => this.startAgain());
    this.preview();
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  // Types that the browser cannot show (TIFF, mostly HEIC) have no preview.
  preview() {
    const image = this.find("img");
    const url = URL.createObjectURL(this.file);
    image.addEventListener("load", () => URL.revokeObjectURL(url));
    image.addEventListener("error", () => this.find(".card-waiting .card-picture")?.remove());
    image.src = url;
  }

  start() {
    this.ended = false;
    this.show("Queued", 0);
    this.queue.add(() => this.run());
  }

  startAgain() {
    this.find(".again").hidden = true;
    this.find(".problem")?.remove();
    this.find(".card").classList.remove("card-problem");
    this.find(".file").focus(); // its button is hidden now
    this.start();
    this.changed();
  }

  show(words, share) {
    this.find(".state").textContent = words;
    const progress = this.find("progress");
    progress.hidden = false;
    if (share < 1) progress.value = 100 * share;
    else progress.removeAttribute("value"); // the duration of judging is unknown
  }

  async run() {
    this.show("Sending", 0);
    const { card, sentence, again, wait } = await send(this.file, this.form, (share) =>
      this.show(share < 1 ? "Sending" : "Judging", share),
    );
    if (card) this.showCard(card);
    else this.showProblem(sentence, again);
    if (wait) this.queue.pause(wait);
    this.ended = true;
    this.changed();
  }

  showCard(card) {
    const hadFocus = this.element.contains(document.activeElement);
    this.element.replaceChildren(card);
    if (hadFocus) this.find(".file").focus();
    this.announce(`${this.file.name}: ${this.find(".verdict").textContent}`);
  }

  showProblem(sentence, again) {
    const problem = document.createElement("p");
    problem.className = "problem";
    problem.textContent = sentence;
    this.find(".state").textContent = "Not judged";
    this.find("progress").hidden = true;
    this.find(".problem-place").replaceChildren(problem);
    this.find(".card").classList.add("card-problem");
    this.find(".again").hidden = !again;
    this.announce(`${this.file.name}: not judged. ${sentence}`);
  }
}

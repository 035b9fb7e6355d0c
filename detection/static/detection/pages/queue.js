// At most two requests at a time, and none while the server asks for a pause.

const MAX_RUNNING = 2;

export class Queue {
  #waiting = [];
  #running = 0;
  #pausedUntil = 0;

  add(job) {
    this.#waiting.push(job);
    this.#next();
  }

  pause(seconds) {
    this.#pausedUntil = Math.max(this.#pausedUntil, Date.now() + 1000 * seconds);
    setTimeout(() => this.#next(), this.#pausedUntil - Date.now());
  }

  #next() {
    while (this.#waiting.length && this.#running < MAX_RUNNING && Date.now() >= this.#pausedUntil) {
      this.#running += 1;
      this.#waiting.shift()().finally(() => {
        this.#running -= 1;
        this.#next();
      });
    }
  }
}

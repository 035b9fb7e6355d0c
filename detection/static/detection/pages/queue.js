// At most two requests at a time; all wait when the server asks for a pause.

const MOST = 2;

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
    while (this.#waiting.length && this.#running < MOST && Date.now() >= this.#pausedUntil) {
      this.#running += 1;
      this.#waiting.shift()().finally(() => {
        this.#running -= 1;
        this.#next();
      });
    }
  }
}

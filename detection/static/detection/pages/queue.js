// Runs at most two requests at a time, and none while the server asks for a pause.

const MAX_RUNNING = 2;

export class Queue {
  #waiting = [];
  #running = 0;
  #pauses = 0;

  add(job) {
    this.#waiting.push(job);
    this.#next();
  }

  pause(seconds) {
    this.#pauses += 1;
    setTimeout(() => {
      this.#pauses -= 1;
      this.#next();
    }, 1000 * seconds);
  }

  #next() {
    while (this.#waiting.length && this.#running < MAX_RUNNING && !this.#pauses) {
      this.#running += 1;
      this.#waiting.shift()().finally(() => {
        this.#running -= 1;
        this.#next();
      });
    }
  }
}

// What is done with one thing happens one after the other; with different things, at the same time.

export class Turns<Key> {
  readonly #last = new Map<Key, Promise<unknown>>();

  /** Does something when all has ended that was begun for this key before. */
  take<T>(key: Key, action: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key);
    const running = before === undefined ? action() : before.then(action, action);
    this.#last.set(key, running);
    const end = () => {
      if (this.#last.get(key) === running) this.#last.delete(key);
    };
    running.then(end, end);
    return running;
  }

  /** Resolves when all has ended, well or not, that was begun before. */
  async allTaken(): Promise<void> {
    await Promise.allSettled(this.#last.values());
  }
}

// Something slow that serves all who wait for it: who comes while it runs waits for the run after it, since the present one
// may have begun before what he did.

interface Running {
  done: Promise<void>;
  next?: Promise<void>;
}

export class SharedRuns<Key> {
  readonly #action: (key: Key) => Promise<void>;
  readonly #running = new Map<Key, Running>();

  constructor(action: (key: Key) => Promise<void>) {
    this.#action = action;
  }

  /** Resolves when a run for this key has ended that began after the call. */
  run(key: Key): Promise<void> {
    const running = this.#running.get(key);
    if (running === undefined) return this.#start(key);
    const start = () => this.#start(key);
    // Whether the one before it failed is its own waiters' concern.
    running.next ??= running.done.then(start, start);
    return running.next;
  }

  #start(key: Key): Promise<void> {
    const running: Running = { done: this.#action(key) };
    this.#running.set(key, running);
    const end = () => {
      if (this.#running.get(key) === running) this.#running.delete(key);
    };
    running.done.then(end, end);
    return running.done;
  }
}

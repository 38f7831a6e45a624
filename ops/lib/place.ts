// Where a long walk is, kept in a file (`--resume FILE`): whoever was stopped, or killed, goes on from there.
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { Failure, usage } from './failure.ts';

export class Place<T extends object> {
  readonly #path: string | undefined;
  /** What is walked through. A place in another walk is of no use. */
  readonly #walk: string;
  readonly #found: T | undefined;

  /**
   * @param path undefined: nothing is kept
   * @param walk the options that say what is walked through, in any form that JSON can hold
   */
  constructor(path: string | undefined, walk: object) {
    this.#path = path;
    this.#walk = JSON.stringify(walk);
    this.#found = path === undefined ? undefined : this.#read(path);
  }

  /** What was kept last, if a walk was broken off. */
  get found(): T | undefined {
    return this.#found;
  }

  /** Keeps the place; a crash leaves this one or the one before. */
  keep(place: T): void {
    if (this.#path === undefined) return;
    const temporary = `${this.#path}.${process.pid}.tmp`;
    writeFileSync(temporary, JSON.stringify({ walk: this.#walk, place }), { mode: 0o600 });
    renameSync(temporary, this.#path);
  }

  /** The walk has come to its end. */
  forget(): void {
    if (this.#path !== undefined) rmSync(this.#path, { force: true });
  }

  #read(path: string): T | undefined {
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    let kept: { walk?: string; place?: T };
    try {
      kept = JSON.parse(text) as typeof kept;
    } catch {
      throw usage(`'${path}' is not a file that --resume made`, 'name another one, or remove it');
    }
    if (kept.walk !== this.#walk || kept.place === undefined) {
      throw new Failure(`'${path}' belongs to a run with other options`, {
        todo: 'give the same options again, or remove the file to begin anew',
        exit: 2,
      });
    }
    return kept.place;
  }
}

// Several actors on the same few keys. What each of them was told, and when, is kept: afterwards it must be possible to
// put it all in one order for each key.
import { createHash } from 'node:crypto';
import { waitFor } from '../support/wait.ts';
import { isLinearizable, type Step, type Value } from './linear.ts';
import type { Random } from './random.ts';
import { type Asked, fileUrl, type World } from './world.ts';

/** Few, so that the racers meet. */
const KEYS = 2;
/** After so many steps the race goes on with other keys: the judge's work grows faster than a history. */
const STEPS = 1_000;
const LOOKS = 3;

export class Race {
  readonly histories = new Map<string, Step[]>();
  #steps = 0;
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** One racer, until `signal` is aborted. */
  async run(by: string, random: Random, signal: AbortSignal): Promise<void> {
    let last: string | undefined;
    while (!signal.aborted && this.#world.violations.length === 0) {
      const key = `hot/${Math.floor(this.#steps / STEPS)}-${random.between(1, KEYS)}`;
      const verb = random.weighted({ read: 30, write: 12, exclusive: 24, match: 12, delete: 22 });
      this.#world.count(`race ${verb}`);
      if (verb === 'read') last = (await this.read(key, random, by)) ?? last;
      else if (verb === 'delete') {
        await this.#write({ method: 'DELETE', path: fileUrl(key) }, key, random, {
          value: null,
          if: 'any',
          by,
        });
      } else {
        const body = random.bytes(random.between(8, 5_000));
        const value = createHash('sha256').update(body).digest('hex');
        const condition: { if?: Value; headers?: Record<string, string> } =
          verb === 'exclusive'
            ? { if: null, headers: { 'if-none-match': '*' } }
            : verb === 'match' && last !== undefined
              ? { if: last, headers: { 'if-match': `"${last}"` } }
              : {};
        const { headers = {}, ...conditional } = condition;
        await this.#write({ method: 'PUT', path: fileUrl(key), headers, body }, key, random, {
          value,
          ...conditional,
          by,
        });
      }
    }
  }

  /** Reads a key and notes what it holds: null if nothing. Undefined if that could not be seen. */
  async read(key: string, random: Random, by: string): Promise<string | null | undefined> {
    const begin = performance.now();
    const outcome = await this.#world.ask(random, { method: 'GET', path: fileUrl(key) });
    if (outcome.kind !== 'answered') return undefined;
    const { status, body } = outcome.answer;
    const value = status === 200 ? createHash('sha256').update(body).digest('hex') : null;
    this.#note(key, { kind: 'read', begin, end: performance.now(), value, by });
    return value;
  }

  async #write(
    asked: Asked,
    key: string,
    random: Random,
    step: Pick<Step, 'value' | 'if' | 'by'>,
  ): Promise<void> {
    const begin = performance.now();
    const outcome = await this.#world.ask(random, asked);
    const end = performance.now();
    const note = (more: Pick<Step, 'end' | 'done'>) =>
      this.#note(key, { kind: 'write', begin, ...step, ...more });
    if (outcome.kind === 'unchanged') return;
    if (outcome.kind === 'lost') {
      await outcome.settled();
      return note({ end: performance.now() });
    }
    const { status } = outcome.answer;
    const refused = status === 412 || (status === 404 && asked.method === 'DELETE');
    if (status >= 300 && !refused) this.#world.violation(`${asked.method} ${key} was answered ${status}`);
    note({ end, done: !refused });
  }

  #note(key: string, step: Step): void {
    this.#steps++;
    const history = this.histories.get(key);
    if (history === undefined) this.histories.set(key, [step]);
    else history.push(step);
  }

  /** Looks at every key a few times more, and then judges the histories. Answers with what the keys hold. */
  async judge(random: Random): Promise<Map<string, string>> {
    const left = new Map<string, string>();
    for (const [key, history] of this.histories) {
      for (let looks = 0; looks < LOOKS; looks++) {
        // A look that is refused, since the database comes back just now, is none.
        const seen = async () => {
          const value = await this.read(key, random, 'the last look');
          return value === undefined ? undefined : { value };
        };
        const { value } = await waitFor(seen, { what: `a look at ${key}` });
        if (value !== null) left.set(key, value);
      }
      if (!isLinearizable(history)) {
        const told = history.map((step) => JSON.stringify(step)).join('\n  ');
        this.#world.violation(`the history of '${key}' is not linearizable:\n  ${told}`);
      }
    }
    return left;
  }
}

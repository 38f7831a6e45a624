// Somebody at work on a live site: uploads, replaces and deletes files of their own by one head, asks for derivatives, and
// looks at once what another head shows.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import type { Head } from './head.ts';
import { publicPath } from './site.ts';
import { operate } from './switching.ts';

/** Somebody who writes files of their own by one head, and looks at once what the other one shows. */
export class Editor {
  /** What was acknowledged last: text, or null if it was deleted. */
  readonly files = new Map<string, string | null>();
  readonly errors: string[] = [];
  /** Whether the head they use is being killed: what then fails is tried again. */
  tolerant = false;
  operations = 0;
  /** Whether files are deleted too. */
  deletes = true;
  /** The head whose pages they look at. */
  other: Head;
  readonly head: Head;
  readonly #name: string;

  constructor(name: string, head: Head, other: Head) {
    this.#name = name;
    this.head = head;
    this.other = other;
  }

  async work(until: () => boolean): Promise<void> {
    for (let i = 0; !until(); i++) {
      const uri = `public://load/${this.#name}-${i % 12}.csv`;
      const gone = this.deletes && this.files.get(uri) != null && i % 4 === 3;
      const data = gone ? null : `${this.#name} wrote ${i}`;
      await this.#write(uri, data);
      await this.#look(uri, data);
      if (i % 6 === 0) await this.#derivative(i);
    }
  }

  async #write(uri: string, data: string | null): Promise<void> {
    for (;;) {
      const tolerant = this.tolerant;
      const { status, result } = await (data === null
        ? operate(this.head, 'delete', uri)
        : operate(this.head, 'put', uri, { data })
      ).catch((error) => ({ status: 0, result: String(error) }));
      this.operations++;
      if (status === 200) break;
      if (!tolerant && !this.tolerant) {
        this.errors.push(`${data === null ? 'delete' : 'put'} ${uri}: ${status} ${result}`);
        return;
      }
      await sleep(100);
    }
    this.files.set(uri, data);
  }

  async #look(uri: string, data: string | null): Promise<void> {
    const tolerant = this.tolerant;
    const seen = await shown(this.other, uri).catch(() => 0);
    if (seen !== data && !tolerant && !this.tolerant) {
      this.errors.push(`the other head shows ${seen} of ${uri}, not ${data}`);
    }
  }

  async #derivative(i: number): Promise<void> {
    const uri = `public://load/${this.#name}-${i}.png`;
    const tolerant = this.tolerant;
    const made = await operate(this.head, 'image', uri, { data: String(i) }).catch(() => undefined);
    if (made?.status !== 200) {
      if (!tolerant && !this.tolerant) this.errors.push(`image ${uri}: ${made?.status} ${made?.result}`);
      return;
    }
    const style = String((await operate(this.head, 'style', uri)).result);
    const status = await this.#status(style);
    if (status !== 200 && !tolerant && !this.tolerant) this.errors.push(`derivative ${style}: ${status}`);
  }

  async #status(path: string): Promise<number> {
    try {
      const answer = await fetch(this.other.url('nginx') + path);
      await answer.arrayBuffer();
      return answer.status;
    } catch {
      return 0;
    }
  }

  /** After the work: each of these heads shows what was acknowledged last. */
  async check(heads: Head[]): Promise<void> {
    expect(this.operations).toBeGreaterThan(20);
    for (const [uri, text] of this.files) {
      for (const head of heads) expect([uri, await shown(head, uri)]).toEqual([uri, text]);
    }
  }
}

/** What a visitor of a head sees of a file; null if there is none, the status if that cannot be told. */
export async function shown(head: Head, uri: string): Promise<string | number | null> {
  const answer = await fetch(head.url('nginx') + publicPath(uri));
  const text = await answer.text();
  return answer.status === 200 ? text : answer.status === 404 ? null : answer.status;
}

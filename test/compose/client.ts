// A client of the gateway that writes and reads without a pause, and remembers every request that failed.
import { randomUUID } from 'node:crypto';

export class Client {
  readonly failures: string[] = [];
  /** What was acknowledged: key -> content. */
  readonly written = new Map<string, string>();
  #running: Promise<void> | undefined;
  #stopped = false;
  readonly #base: string;
  readonly #token: string;

  constructor(gateway: string, token: string) {
    this.#base = `${gateway}/v1/domains/demo/files/`;
    this.#token = token;
  }

  async put(key: string, content: string): Promise<number> {
    const headers = { authorization: `Bearer ${this.#token}`, 'idempotency-key': randomUUID() };
    const answer = await fetch(this.#base + key, { method: 'PUT', headers, body: content });
    const text = await answer.text();
    if (answer.ok) this.written.set(key, content);
    else this.failures.push(`PUT ${key}: ${answer.status} ${text}`);
    return answer.status;
  }

  async get(key: string): Promise<string> {
    const answer = await fetch(this.#base + key, { headers: { authorization: `Bearer ${this.#token}` } });
    const text = await answer.text();
    if (!answer.ok) this.failures.push(`GET ${key}: ${answer.status} ${text}`);
    return text;
  }

  start(): void {
    this.#stopped = false;
    this.#running = Promise.all([this.#work('a'), this.#work('b')]).then(() => {});
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #work(name: string): Promise<void> {
    for (let n = 0; !this.#stopped; n++) {
      const key = `load/${name}-${randomUUID()}.txt`;
      const content = `${name} ${n} `.repeat(1 + (n % 2_000));
      await this.put(key, content).catch((error) => this.failures.push(`PUT ${key}: ${error}`));
      if (!this.written.has(key)) continue;
      const read = await this.get(key).catch((error) => String(this.failures.push(`GET ${key}: ${error}`)));
      if (read !== content) this.failures.push(`GET ${key}: other content than was written`);
    }
  }

  /** Reads again all that was acknowledged. */
  async lost(): Promise<string[]> {
    const lost: string[] = [];
    for (const [key, content] of this.written) if ((await this.get(key)) !== content) lost.push(key);
    return lost;
  }
}

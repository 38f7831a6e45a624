// A client of the gateway that writes and reads all the time, and remembers every request that failed.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

export class Client {
  readonly failures: string[] = [];
  /** What was acknowledged: key -> content. */
  readonly written = new Map<string, string>();
  /** For how many milliseconds a request is repeated that could not be done at the moment. */
  patience = 0;
  /** How often that was. */
  waited = 0;
  #running: Promise<void> | undefined;
  #stopped = false;
  readonly #base: string;
  readonly #token: string;

  constructor(gateway: string, token: string) {
    this.#base = `${gateway}/v1/domains/demo/files/`;
    this.#token = token;
  }

  /** Answers with the status. */
  async put(key: string, content: string): Promise<number> {
    const answer = await this.#ask('PUT', key, content);
    if (answer.ok) this.written.set(key, content);
    return answer.status;
  }

  async get(key: string): Promise<string> {
    return (await this.#ask('GET', key)).text;
  }

  /** Answers with the status. */
  async remove(key: string): Promise<number> {
    const answer = await this.#ask('DELETE', key);
    if (answer.ok) this.written.delete(key);
    return answer.status;
  }

  /** One request, repeated while nobody answers, or the answer says to come again later. */
  async #ask(method: string, key: string, body?: string) {
    const headers = { authorization: `Bearer ${this.#token}`, 'idempotency-key': randomUUID() };
    const end = Date.now() + this.patience;
    for (;;) {
      const attempt = async () => {
        const answer = await fetch(this.#base + key, { method, headers, ...(body && { body }) });
        return { ok: answer.ok, status: answer.status, text: await answer.text() };
      };
      const answer = await attempt().catch((error) => ({ ok: false, status: 0, text: String(error) }));
      if (!answer.ok && [0, 502, 503].includes(answer.status) && Date.now() < end) {
        this.waited++;
        await sleep(250);
        continue;
      }
      if (!answer.ok) this.failures.push(`${method} ${key}: ${answer.status} ${answer.text}`);
      return answer;
    }
  }

  /** As at first, but for what was written. */
  forget(): void {
    this.failures.length = 0;
    this.patience = 0;
    this.waited = 0;
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
      // Others want the machine too.
      await sleep(10);
      const key = `load/${name}-${randomUUID()}.txt`;
      const content = `${name} ${n} `.repeat(1 + (n % 2_000));
      await this.put(key, content);
      if (!this.written.has(key)) continue;
      if ((await this.get(key)) !== content) this.failures.push(`GET ${key}: other content than was written`);
    }
  }

  /** Reads again all that was acknowledged. Returns what came instead, by key. */
  async lost(): Promise<[key: string, answer: string][]> {
    const lost: [string, string][] = [];
    for (const [key, content] of this.written) {
      const answer = await this.get(key);
      if (answer !== content) lost.push([key, answer.slice(0, 500)]);
    }
    return lost;
  }
}

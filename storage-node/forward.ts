// The next link of a chain of replicas: the same bytes, sent on while they come in. A next node that fails or stands
// still is cut off; the receipt then lacks its part, and the tracker sees to the missing copy.
import { PassThrough } from 'node:stream';
import { type Dispatcher, request } from 'undici';
import { ReceiptSchema } from '../services/protocol.ts';
import { matches } from '../services/schemas.ts';
import type { Receipt, ReceiptPart } from '../services/tickets.ts';

export class Forward {
  readonly #body = new PassThrough({ highWaterMark: 256 * 1024 });
  readonly #answer: Promise<Receipt>;

  /**
   * @param url where the next node takes the blob, with its ticket
   * @param dispatcher bounds how long the next node may stand still
   */
  constructor(url: string, headers: Record<string, string>, dispatcher: Dispatcher) {
    // undici destroys the body when the request fails; that is met through #answer.
    this.#body.on('error', () => {});
    this.#answer = this.#send(url, headers, dispatcher);
    this.#answer.catch(() => this.#body.destroy());
  }

  async #send(url: string, headers: Record<string, string>, dispatcher: Dispatcher): Promise<Receipt> {
    const answer = await request(url, { method: 'PUT', headers, body: this.#body, dispatcher });
    const body = await answer.body.json();
    if (answer.statusCode !== 200 && answer.statusCode !== 201) {
      throw new Error(`it answered ${answer.statusCode} ${(body as { detail?: string }).detail ?? ''}`);
    }
    if (!matches(ReceiptSchema, body)) throw new Error('its receipt is malformed');
    return body;
  }

  /** Sends a chunk; waits while the next node is the slower one. Does nothing once it has failed. */
  write(chunk: Buffer): void | Promise<void> {
    if (this.#body.destroyed || this.#body.write(chunk)) return;
    return new Promise((resolve) => {
      const go = () => {
        this.#body.off('drain', go).off('close', go);
        resolve();
      };
      this.#body.once('drain', go).once('close', go);
    });
  }

  end(): void {
    this.#body.end();
  }

  /** Ends the request without its last byte, so that the next node keeps nothing. */
  abort(): void {
    this.#body.destroy(new Error('the upload was given up'));
  }

  /**
   * What the next nodes hold, for a receipt that says the same as `ours`.
   * @throws Error that says why there is nothing
   */
  async parts(ours: Omit<Receipt, 'parts'>): Promise<ReceiptPart[]> {
    const theirs = await this.#answer;
    for (const field of ['fid', 'size', 'sha256', 'domain', 'key', 'class'] as const) {
      if (theirs[field] !== ours[field]) throw new Error(`its receipt names another ${field}`);
    }
    return theirs.parts;
  }
}

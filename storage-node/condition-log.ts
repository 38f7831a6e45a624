// Logs when a device's condition changes, once each.
import type { Logger } from '../services/logging.ts';
import type { State } from './inspection.ts';

export class ConditionLog {
  readonly #log: Logger;
  readonly #device: { device: number; path: string };
  #last = '';

  constructor(log: Logger, device: { device: number; path: string }) {
    this.#log = log;
    this.#device = device;
  }

  /** True if the condition, or the reason for it, is another one than before. */
  note({ condition, why }: State): boolean {
    // Numbers in the reason may change from one look to the next; that is no news.
    const now = `${condition} ${why?.replaceAll(/\d+/g, '')}`;
    if (now === this.#last) return false;
    this.#last = now;
    const fields = { ...this.#device, condition, ...(why === undefined ? {} : { why }) };
    if (condition === 'ok') this.#log.info(fields, 'device is in order');
    else this.#log.error(fields, `device is ${condition === 'out' ? 'out of service' : 'read-only'}`);
    return true;
  }
}

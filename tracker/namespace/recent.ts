// Names that were looked up lately, for reading while no primary of the database answers: a bounded memory, and never
// one that this tracker knows, or must suspect, to have been changed since.
import { LRUCache } from 'lru-cache';
import type { Found, FoundFile } from './types.ts';

interface Remembered {
  /** Undefined: the key was written to, or names no file. */
  file: FoundFile | undefined;
  /** When it was looked up or written to, in the order of this tracker's look-ups and writes. */
  order: number;
}

/** Keys, or all that a domain has. */
export type Changed = readonly string[] | 'all';

/** A write that is under way is newer than every look-up. */
const UNDER_WAY = Number.MAX_SAFE_INTEGER;

/** What an entry takes besides its texts, in bytes: about the mean of 100,000 on the heap. */
const ENTRY_BYTES = 650;

export class RecentNames {
  readonly #names: LRUCache<string, Remembered>;
  /** For each domain, when many of its names were changed at once. */
  readonly #changes = new Map<number, number>();
  #order = 0;

  /** @param bytes about how much memory it may take */
  constructor(bytes: number) {
    this.#names = new LRUCache({ maxSize: bytes, sizeCalculation: sizeOf });
  }

  /** To be called before a look-up; `remember` wants the answer. */
  lookUp(): number {
    this.#order += 1;
    return this.#order;
  }

  /** What a look-up found. It counts unless the key was written to, or looked up again, after it began. */
  remember(domainId: number, key: string, found: Found | undefined, order: number): void {
    const id = idOf(domainId, key);
    const former = this.#names.peek(id);
    if (former !== undefined && former.order > order) return;
    this.#names.set(id, { file: found?.kind === 'file' ? found : undefined, order });
  }

  /**
   * Does `work`, which changes what these keys name, or any of the domain's keys: it may find that out later, and
   * calls its argument then.
   */
  async forget<T>(domainId: number, keys: Changed, work: (all: () => void) => Promise<T>): Promise<T> {
    const scopes: Changed[] = [keys];
    const change = (scope: Changed, order: number) => this.#changed(domainId, scope, order);
    const all = () => {
      scopes.push('all');
      change('all', UNDER_WAY);
    };
    change(keys, UNDER_WAY);
    try {
      return await work(all);
    } finally {
      const order = this.lookUp();
      for (const scope of scopes) change(scope, order);
    }
  }

  /** The file that a key named when it was looked up last. */
  recall(domainId: number, key: string): FoundFile | undefined {
    const remembered = this.#names.get(idOf(domainId, key));
    if (remembered === undefined || remembered.order < (this.#changes.get(domainId) ?? 0)) return undefined;
    return remembered.file;
  }

  #changed(domainId: number, keys: Changed, order: number): void {
    if (keys === 'all') this.#changes.set(domainId, order);
    else for (const key of keys) this.#names.set(idOf(domainId, key), { file: undefined, order });
  }
}

function idOf(domainId: number, key: string): string {
  return `${domainId}/${key}`;
}

function sizeOf({ file }: Remembered, id: string): number {
  if (file === undefined) return ENTRY_BYTES + id.length;
  const meta = Object.keys(file.meta).length === 0 ? 0 : JSON.stringify(file.meta).length;
  return ENTRY_BYTES + 2 * id.length + file.contentType.length + meta;
}

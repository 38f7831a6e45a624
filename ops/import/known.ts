// What the site itself says it has: a list of URIs or paths, such as its table file_managed tells. With it, a file that
// is only on some of the web servers can be told from one that was deleted.
import { readFileSync } from 'node:fs';

export class KnownFiles {
  readonly #keys = new Set<string>();
  /** Those that were met. */
  readonly #met = new Set<string>();

  /**
   * Reads a list: a path below the imported directory, or a URI (`public://a/b.jpg`) a line; empty lines are passed over.
   * @param prefix the keys' prefix. URIs of another scheme than its first segment (public, private) are not of interest
   */
  constructor(file: string, prefix: string) {
    const scheme = /^(public|private|temporary|assets)\b/.exec(prefix)?.[0];
    for (const line of readFileSync(file, 'utf8').split(/\r?\n/)) {
      const [, lineScheme, path = line] = /^([a-z][\w+.-]*):\/\/(.*)$/i.exec(line) ?? [];
      if (path === '' || (scheme !== undefined && lineScheme !== undefined && lineScheme !== scheme))
        continue;
      this.#keys.add(path.replace(/^\/+/, ''));
    }
  }

  has(path: string): boolean {
    const known = this.#keys.has(path);
    if (known) this.#met.add(path);
    return known;
  }

  /** What the site says it has, and no directory did. */
  *missing(): Generator<string> {
    for (const key of this.#keys) if (!this.#met.has(key)) yield key;
  }
}

// The web server configurations that come with the PHP package, filled in as their first lines say.
import { readFileSync } from 'node:fs';

/**
 * A file of `client-php-shim/web` with its words in capitals replaced. A line that names a word with several values
 * is repeated for each.
 */
export function webConfiguration(file: string, words: Record<string, string | string[]>): string {
  const url = new URL(`../../client-php-shim/web/${file}`, import.meta.url);
  const lines = readFileSync(url, 'utf8').split('\n');
  return lines
    .filter((line) => !line.trimStart().startsWith('#'))
    .flatMap((line) => fill(line, Object.entries(words)))
    .join('\n');
}

function fill(line: string, words: [string, string | string[]][]): string[] {
  return words
    .reduce(
      (filled, [word, values]) =>
        filled.flatMap((text) => [values].flat().map((value) => text.replaceAll(word, value))),
      [line],
    )
    .filter((text, i, all) => all.indexOf(text) === i);
}

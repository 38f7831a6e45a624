// The parts of a Markdown page that tests read: sections, and fenced blocks.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');

/**
 * The part of a page below a heading, up to the next heading of the same or a higher level.
 * @throws Error if the page has no such heading
 */
export function section(page: string, heading: string): string {
  const lines = readFileSync(join(root, page), 'utf8').split('\n');
  const start = lines.findIndex((line) => line.startsWith('#') && line.replace(/^#+ /, '') === heading);
  if (start < 0) throw new Error(`${page} has no heading '${heading}'`);
  const level = (lines[start] as string).indexOf(' ');
  const rest = lines.slice(start + 1);
  const end = rest.findIndex((line) => /^#+ /.test(line) && line.indexOf(' ') <= level);
  return rest.slice(0, end < 0 ? undefined : end).join('\n');
}

export interface Block {
  /** The word behind the opening fence; '' if there is none. */
  language: string;
  /** With the newline at its end, and without the indentation of the fence. */
  text: string;
}

/** The fenced blocks of a text, in their order. */
export function blocks(text: string): Block[] {
  return [...text.matchAll(/^( *)```(\w*)\n(.*?)^ *```$/gms)].map(
    ([, indent = '', language = '', inner = '']) => ({
      language,
      text: inner.replace(new RegExp(`^${indent}`, 'gm'), ''),
    }),
  );
}

/**
 * The first block of a page in this language, with this text in it.
 * @throws Error if there is none
 */
export function blockOf(page: string, language: string, contains = ''): string {
  const all = blocks(readFileSync(join(root, page), 'utf8'));
  const found = all.find((block) => block.language === language && block.text.includes(contains));
  if (found === undefined) throw new Error(`${page} has no block '${language}' with '${contains}'`);
  return found.text;
}

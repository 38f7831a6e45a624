// Reads the rows of a database dump, line by line: of mysqldump, of pg_dump (COPY or INSERT), or of SQLite's .dump. Only
// as much of SQL as they write.
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';

export interface Row {
  table: string;
  columns: string[];
  /** As bytes in latin1, since some are no text; null for NULL. See `textOf` and `hexOf`. */
  values: (string | null)[];
}

const CREATE = /^CREATE TABLE (?:IF NOT EXISTS )?(\S+?) ?\(/i;
const INSERT = /^INSERT INTO (\S+?) ?(?:\(([^)]*)\) ?)?VALUES ?/i;
const COPY = /^COPY (\S+) \(([^)]*)\) FROM stdin;$/i;
/** What begins a line of a table's definition that is no column. */
const NO_COLUMN = /^(primary|unique|key|index|constraint|check|foreign|fulltext)$/i;

/** All rows of these tables, in the order of the file. */
export async function* rowsOf(file: string, tables: ReadonlySet<string>): AsyncGenerator<Row> {
  const input = createReadStream(file, 'latin1');
  const defined = new Map<string, string[]>();
  let definition: string | undefined;
  let copying: Pick<Row, 'table' | 'columns'> | undefined;
  for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (copying !== undefined) {
      if (line === '\\.') copying = undefined;
      else if (tables.has(copying.table)) yield { ...copying, values: line.split('\t').map(copied) };
      continue;
    }
    if (definition !== undefined || CREATE.test(line)) {
      definition = `${definition ?? ''}${line}\n`;
      if (!line.endsWith(';')) continue;
      const [, table = ''] = CREATE.exec(definition) ?? [];
      defined.set(bare(table), columnsOf(definition));
      definition = undefined;
      continue;
    }
    const [, target, names] = COPY.exec(line) ?? [];
    if (target !== undefined && names !== undefined) {
      copying = { table: bare(target), columns: names.split(',').map(bare) };
      continue;
    }
    const insert = INSERT.exec(line);
    const table = bare(insert?.[1] ?? '');
    if (insert === null || !tables.has(table)) continue;
    const columns = insert[2]?.split(',').map(bare) ?? defined.get(table) ?? [];
    // Only MySQL quotes names so, and only its strings have backslashes that mean something.
    const escapes = insert[1]?.startsWith('`') ?? false;
    for (const values of tuples(line, insert[0].length, escapes)) yield { table, columns, values };
  }
}

export const textOf = (value: string | null | undefined): string =>
  Buffer.from(value ?? '', 'latin1').toString();

/** Of binary columns: PostgreSQL writes them in hex. */
export const hexOf = (value: string): string =>
  value.startsWith('\\x') ? value.slice(2) : Buffer.from(value, 'latin1').toString('hex');

/** A name without quotes and schema. */
function bare(name: string): string {
  return name
    .trim()
    .replace(/^.*\./, '')
    .replace(/[`"[\]]/g, '');
}

function columnsOf(definition: string): string[] {
  const inner = definition.slice(definition.indexOf('(') + 1, definition.lastIndexOf(')'));
  const columns: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= inner.length; i++) {
    if (inner[i] === '(') depth++;
    else if (inner[i] === ')') depth--;
    else if (i === inner.length || (inner[i] === ',' && depth === 0)) {
      const [name = ''] = inner.slice(start, i).trim().split(/[\s(]/);
      if (name !== '' && !NO_COLUMN.test(name)) columns.push(bare(name));
      start = i + 1;
    }
  }
  return columns;
}

/** One column of a line that COPY wrote. */
function copied(text: string): string | null {
  if (text === '\\N') return null;
  return text.replace(/\\(.)/g, (_, letter: string) => COPIED[letter] ?? letter);
}
const COPIED: Record<string, string> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };
const ESCAPED: Record<string, string> = { 0: '\0', b: '\b', n: '\n', r: '\r', t: '\t', Z: '\x1a' };

/** The parenthesized rows of a statement. */
function* tuples(line: string, from: number, escapes: boolean): Generator<(string | null)[]> {
  let values: (string | null)[] = [];
  for (let i = from; i < line.length; i++) {
    const char = line[i];
    if (char === '(') values = [];
    else if (char === ')') yield values;
    else if (char === ';') return;
    else if (char !== ',' && char !== ' ') {
      const [value, end] = literal(line, i, escapes);
      values.push(value);
      i = end - 1;
    }
  }
}

/** The value that begins at `at`, and where it ends. */
function literal(line: string, at: number, escapes: boolean): [string | null, number] {
  const [prefix = ''] = /^(?:_binary |[xXbB](?='))?/.exec(line.slice(at, at + 9)) ?? [];
  if (line[at + prefix.length] !== "'") {
    const [word = ''] = /^[^,) ]+/.exec(line.slice(at, at + 600)) ?? [];
    const end = at + word.length;
    if (word === 'NULL') return [null, end];
    return [word.startsWith('0x') ? Buffer.from(word.slice(2), 'hex').toString('latin1') : word, end];
  }
  let value = '';
  for (let i = at + prefix.length + 1; i < line.length; i++) {
    const char = line[i] as string;
    if (char === '\\' && escapes) {
      const letter = line[++i] as string;
      value += ESCAPED[letter] ?? letter;
    } else if (char !== "'") value += char;
    else if (line[i + 1] === "'") {
      value += char;
      i++;
    } else return [/^[xX]$/.test(prefix) ? Buffer.from(value, 'hex').toString('latin1') : value, i + 1];
  }
  return [value, line.length];
}

// What a command prints. On a terminal: tables, colours, names with their control characters escaped. In a pipe: one
// item a line, columns separated by tabs, names as they are. With --json: one JSON object a line.
import { once } from 'node:events';
import Table from 'cli-table3';
import pc from 'picocolors';
import { escapeControls } from './format.ts';

export type Colors = ReturnType<typeof pc.createColors>;

/** The part of a stream that printing needs; process.stdout is one. */
export interface Sink {
  isTTY?: boolean;
  write(text: string): boolean;
}

export class Output {
  readonly json: boolean;
  readonly terminal: boolean;
  readonly color: Colors;
  readonly #stdout: Sink & NodeJS.EventEmitter;
  readonly #stderr: Sink;

  constructor(
    json: boolean,
    streams: { stdout: Sink & NodeJS.EventEmitter; stderr: Sink } = process,
    env: NodeJS.ProcessEnv = process.env,
  ) {
    this.json = json;
    this.#stdout = streams.stdout;
    this.#stderr = streams.stderr;
    this.terminal = streams.stdout.isTTY === true;
    this.color = pc.createColors(this.terminal && !env.NO_COLOR && env.TERM !== 'dumb');
  }

  /** Prints a line, and waits while the reader of a pipe is behind. */
  async line(text: string): Promise<void> {
    if (!this.#stdout.write(`${text}\n`)) await once(this.#stdout, 'drain');
  }

  /** One result: the object with --json, else the text. */
  async item(object: unknown, text: () => string): Promise<void> {
    await this.line(this.json ? JSON.stringify(object) : text());
  }

  /**
   * A list of results: a line of JSON each, or a table with a head, or lines of tabs. Cells are escaped here, so their
   * colours are not theirs to bring.
   */
  async list<T>(items: T[], columns: Column<T>[]): Promise<void> {
    if (this.json) {
      for (const item of items) await this.line(JSON.stringify(item));
    } else if (!this.terminal) {
      // A tab or line end within a cell would shift columns; the last column is a name and stays as it is.
      for (const item of items) await this.line(columns.map((column) => column.cell(item)).join('\t'));
    } else if (items.length > 0) {
      const table = new Table({
        head: columns.map((column) => this.color.bold(column.head)),
        colAligns: columns.map((column) => (column.right ? 'right' : 'left')),
        chars: borderless,
        style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
      });
      for (const item of items) {
        table.push(
          columns.map(({ cell, paint }) => {
            const text = escapeControls(cell(item));
            return paint === undefined ? text : paint(item)(text);
          }),
        );
      }
      await this.line(table.toString().replace(/ +$/gm, ''));
    }
  }

  /** A name or another text from outside: safe on a terminal, exact in a pipe. */
  name(text: string): string {
    return this.terminal ? escapeControls(text) : text;
  }

  /** A remark on stderr, not part of the result. */
  note(text: string): void {
    // A progress bar may stand on the line.
    const clear = this.#stderr.isTTY ? '\r\u001b[K' : '';
    this.#stderr.write(`${clear}${escapeControls(text)}\n`);
  }
}

/** A column of a list. `paint` chooses the colour of a cell. */
export interface Column<T> {
  head: string;
  cell: (item: T) => string;
  right?: boolean;
  paint?: (item: T) => Painter;
}

export type Painter = (text: string) => string;

const borderless = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '',
};

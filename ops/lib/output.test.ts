import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { Output } from './output.ts';

class Screen extends EventEmitter {
  text = '';
  readonly isTTY: boolean;

  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }

  write(text: string): boolean {
    this.text += text;
    return true;
  }
}

const files = [
  { name: 'evil\u001b[2J', size: 5 },
  { name: 'b', size: 12345 },
];
const columns = [
  { head: 'size', right: true, cell: (file: (typeof files)[0]) => String(file.size) },
  { head: 'name', cell: (file: (typeof files)[0]) => file.name },
];

async function printed(isTTY: boolean, json = false, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const [stdout, stderr] = [new Screen(isTTY), new Screen(isTTY)];
  await new Output(json, { stdout, stderr }, env).list(files, columns);
  return stdout.text;
}

test('a terminal gets a table with colours and harmless names', async () => {
  const text = await printed(true);
  expect(text).toContain('\u001b[1msize');
  expect(text).toContain('evil\\e[2J');
  expect(text).not.toContain('\u001b[2J');
});

test('NO_COLOR and a dumb terminal take the colours away, and only these', async () => {
  for (const env of [{ NO_COLOR: '1' }, { TERM: 'dumb' }]) {
    expect(await printed(true, false, env)).toBe(' size  name\n    5  evil\\e[2J\n12345  b\n');
  }
});

test('a pipe gets one item a line, tabs between columns, names as they are', async () => {
  expect(await printed(false, false, { FORCE_COLOR: '1', CI: 'true' })).toBe('5\tevil\u001b[2J\n12345\tb\n');
});

test('--json is one object a line, wherever it goes', async () => {
  for (const isTTY of [true, false]) {
    const lines = (await printed(isTTY, true)).trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual(files);
  }
});

test('printing waits for a reader that is behind', async () => {
  const stdout = new Screen(false);
  stdout.write = () => false;
  let done = false;
  const line = new Output(false, { stdout, stderr: stdout }, {}).line('x').then(() => {
    done = true;
  });
  await new Promise(setImmediate);
  expect(done).toBe(false);
  stdout.emit('drain');
  await line;
});

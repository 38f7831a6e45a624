// The documentation says what is so: its tables are compared with the code and with a tracker that runs, and what it
// names (files, pages, tests, commands, metrics) must exist.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { TObject } from 'typebox';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commonSettings } from '../services/config.ts';
import { allProblems } from '../services/problems.ts';
import { nodeSettings } from '../storage-node/config.ts';
import { trackerSettings } from '../tracker/config.ts';
import { startTestTracker, type TestTracker } from '../tracker/testing.ts';
import { useCluster } from './support/cluster.ts';
import { runCistern } from './support/command.ts';
import { section } from './support/documents.ts';

const root = join(import.meta.dirname, '..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const pages = ['README.md', 'CHANGELOG.md', ...markdownIn('docs')];

/** Markdown files of a folder and those below. */
function markdownIn(folder: string): string[] {
  const all = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' });
  return all.filter((name) => name.endsWith('.md')).map((name) => join(folder, name));
}

/** The cells of a section's tables, without their heads. */
function rows(text: string): string[][] {
  const cells = (line: string) =>
    line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim());
  return text
    .split('\n')
    .filter(
      (line, i, all) => line.startsWith('|') && !/^\|[\s|-]+$/.test(line) && !all[i + 1]?.startsWith('| ---'),
    )
    .map(cells);
}

const unquoted = (cell = '') => cell.replaceAll('`', '');

describe('configuration.md', () => {
  const page = 'docs/configuration.md';
  const common = Object.keys(commonSettings);
  it.each<[string, TObject, (name: string) => boolean]>([
    ['Trackers and storage nodes', trackerSettings, (name) => common.includes(name)],
    ['Tracker: `node tracker/main.ts`', trackerSettings, (name) => !common.includes(name)],
    ['Storage node: `node storage-node/main.ts`', nodeSettings, (name) => !common.includes(name)],
  ])('%s: has every setting of the code with its default, and no other', (heading, schema, mine) => {
    const written = rows(section(page, heading)).map(
      ([name, value]) => `${unquoted(name)} = ${unquoted(value)}`,
    );
    const coded = Object.entries(schema.properties).flatMap(([name, one]) => {
      if (!mine(name)) return [];
      const { default: value } = one as { default?: unknown };
      return `${name} = ${value ?? (schema.required?.includes(name) ? 'required' : 'none')}`;
    });
    expect(written.sort()).toEqual(coded.sort());
  });

  it('knows every CISTERN_ variable that stands in the code, and no page knows another', () => {
    const services = variables(['services', 'storage-node', 'tracker', 'ops'].map(sources).join('\n'));
    expect(variables(read(page))).toEqual(expect.arrayContaining(services));
    const compose = ['docker-compose.yml', 'docker-compose.node.yml'].map(read).join('\n');
    const all = [...services, ...variables(sources('test')), ...variables(compose)];
    for (const any of pages) expect(all, any).toEqual(expect.arrayContaining(variables(read(any))));
  });

  const sources = (folder: string) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(ts|mjs)$/.test(name) && !name.endsWith('.test.ts'))
      .map((name) => read(join(folder, name)))
      .join('\n');
  const variables = (text: string) =>
    [...new Set(text.match(/\bCISTERN_[A-Z]\w*[A-Z]\b/g))]
      .map((name) => name.replace(/_FILE$/, ''))
      .filter((name, i, all) => all.indexOf(name) === i)
      .sort();
});

describe('http-api.md', () => {
  let tracker: TestTracker;
  beforeAll(async () => {
    tracker = await startTestTracker();
  });
  afterAll(() => tracker.end());

  it('has the table of problems that the code has', () => {
    const written = rows(section('docs/http-api.md', 'Errors'));
    expect(
      written.map(([name, status, title]) => ({ name: unquoted(name), status: Number(status), title })),
    ).toEqual(allProblems());
  });

  it('names every route of the OpenAPI document, and none that does not exist', async () => {
    const { body } = await tracker.call('GET', '/openapi.json');
    const served = Object.entries(body.paths as Record<string, object>).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect([...routesIn(read('docs/http-api.md'))].sort()).toEqual(served.sort());
  });
});

/**
 * The routes that a page names: as `GET, POST /v1/…` (several paths or only their last segments may follow), or by
 * methods (`PUT` in a heading or at the head of a table's row) below a heading that names the path.
 */
function routesIn(page: string): Set<string> {
  const routes = new Set<string>();
  let path: string | undefined;
  for (const line of page.split('\n')) {
    const heading = /^## (?:[^`]*`(\/v1\/[^`]+)`)?/.exec(line);
    if (heading) path = heading[1];
    const [, head] = /^(?:### |\| )((?:`[^`]+`(?:, )?)+)/.exec(line) ?? [];
    for (const [, method] of head?.matchAll(/`([A-Z]+)`/g) ?? []) {
      if (path !== undefined) routes.add(`${method} ${path}`);
    }
    let base = '';
    let methods: string[] = [];
    for (const [, code = ''] of line.matchAll(/`([^`]+)`/g)) {
      const [, verbs, url] = /^((?:[A-Z]+(?:, )?)+) (\/v1\/[^\s?]+)/.exec(code) ?? [];
      if (verbs !== undefined && url !== undefined) {
        [methods, base] = [verbs.split(', '), url];
        for (const method of methods) routes.add(`${method} ${url}`);
      } else if (/^\/[a-z]+$/.test(code) && base !== '' && line.startsWith('|')) {
        for (const method of methods) routes.add(`${method} ${base.replace(/\/[^/]+$/, code)}`);
      }
    }
  }
  return routes;
}

describe('consistency.md', () => {
  const named = [...read('docs/consistency.md').matchAll(/`([\w./-]+\.test\.ts)`,\s"([^"]+)"/g)];
  it('names tests', () => expect(named.length).toBeGreaterThan(40));

  it.each(named.map(([, file = '', title = '']) => [file, title]))('%s: %s', (file, title) => {
    const source = read(file).replaceAll("\\'", "'");
    const called = ["'", '"'].flatMap((quote) =>
      ['it(', 'test(', ')('].map((call) => `${call}${quote}${title}${quote},`),
    );
    expect(called.some((call) => source.replace(/\(\s+/g, '(').includes(call))).toBe(true);
  });

  it('has a test or a reason for each hazard', () => {
    for (const cells of rows(read('docs/consistency.md'))) expect(cells[2], cells[0]).toContain('.test.ts');
  });
});

describe('every page', () => {
  it.each(pages)('%s links to what is there', (page) => {
    for (const [, target = ''] of read(page).matchAll(/\]\((?!https?:)([^)]+)\)/g)) {
      const [path = '', anchor] = target.split('#');
      const file = path === '' ? page : join(dirname(page), path);
      expect(existsSync(join(root, file)), `${page}: ${target}`).toBe(true);
      if (anchor !== undefined) expect(anchors(read(file)), `${page}: ${target}`).toContain(anchor);
    }
  });

  // Results of a bench are there after one.
  it.each(pages)('%s names files that are there', (page) => {
    const folders = 'services|tracker|storage-node|ops|test|bench(?!/results/)|docs|client-php-shim|\\.ci';
    for (const [, path = ''] of read(page).matchAll(new RegExp(`\`((?:${folders})/[\\w./-]*)\``, 'g'))) {
      expect(existsSync(join(root, path)), `${page}: ${path}`).toBe(true);
    }
  });
});

function anchors(page: string): string[] {
  return [...page.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\w\s-]/g, '')
      .replaceAll(' ', '-'),
  );
}

describe('what operators type and watch', () => {
  const cluster = useCluster({ nodes: 1, devices: 1 });

  it('commands, verbs and flags exist', { timeout: 400_000 }, async () => {
    const helps = new Map<string, string>();
    const help = async (words: string[]) => {
      const name = words.join(' ');
      if (!helps.has(name)) helps.set(name, (await runCistern([...words, '--help'])).stdout);
      return helps.get(name) as string;
    };
    const program = await help([]);
    for (const page of pages) {
      for (const [line, verb = '', more = ''] of read(page).matchAll(/npx cistern ([a-z]+)([^`|\n&#]*)/g)) {
        expect(program, `${page}: ${line}`).toMatch(new RegExp(`^  ${verb}\\b`, 'm'));
        const [sub = ''] = /^ [a-z]+/.exec(more) ?? [];
        const nested = (await help([verb])).includes('Commands:') ? [verb, sub.trim()] : [verb];
        const text = await help(nested);
        expect(text, `${page}: ${line}`).toContain(`cistern ${nested.join(' ')}`);
        for (const flag of more.match(/(?<= )--?[a-z][a-z-]*/g) ?? []) {
          expect(text, `${page}: ${line}`).toMatch(new RegExp(`(^|[ ,])${flag}\\b`, 'm'));
        }
      }
    }
  });

  it('metrics exist', async () => {
    const { trackers, nodes } = cluster();
    const served = await Promise.all(
      [...trackers, ...nodes].map(async ({ url }) => (await fetch(`${url}/metrics`)).text()),
    );
    const page = read('docs/operations.md');
    for (const [, name] of page.matchAll(/`(cistern_\w+)/g))
      expect(served.join('\n')).toMatch(new RegExp(`^(# HELP )?${name}\\b`, 'm'));
  });
});

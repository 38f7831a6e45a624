// Writes what a whole run found to docs/drupal-tests.md (for Drupal 11 and later: to a page of that major version):
// each scenario, its figures, versions and date. A run of a
// part, or one that failed or was skipped, leaves the page as it is.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import type { Reporter, TestCase, TestModule, Vitest } from 'vitest/node';
import { findProgram } from '../support/daemon.ts';
import { type CodeBase, findCodeBase } from './code-base.ts';

/** Groups of tests that are skipped where the code base lacks what they are about. */
const EXTRAS = [
  'with Drush',
  'a site that moves by Drush',
  'a site whose heads were kept in step by rsync',
  'with the ImageMagick toolkit',
  'contributed modules',
];
const IMAGEMAGICK = 'web/modules/contrib/imagemagick/imagemagick.info.yml';

export default class Report implements Reporter {
  #vitest: Vitest | undefined;

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  async onTestRunEnd(modules: readonly TestModule[]): Promise<void> {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.test.ts'));
    const partial = this.#vitest?.config.testNamePattern !== undefined || modules.length < files.length;
    if (partial || !tests.every(isDone)) return;
    const code = await findCodeBase();
    const page = [INTRODUCTION, versions(code), ...modules.map(section)].join('\n\n');
    const [major = ''] = typeof code === 'string' ? [] : code.version.split('.');
    const name = major === '10' ? 'drupal-tests.md' : `drupal-${major}-tests.md`;
    writeFileSync(new URL(`../../docs/${name}`, import.meta.url), `${page.trim()}\n`);
  }
}

/** Whether a test passed, or is about something that a code base need not have. */
function isDone(test: TestCase): boolean {
  const { state } = test.result();
  const extra = test.parent.type === 'suite' && EXTRAS.includes(test.parent.name);
  return state === 'passed' || (extra && state === 'skipped');
}

const INTRODUCTION = `# Drupal on Cistern: what the tests on real Drupal found

Written by \`npm run test:drupal\`, which looks for a Drupal code base in \`CISTERN_DRUPAL_ROOT\` or
\`~/.cache/cistern/drupal\`, or has Composer install one there. It builds two web heads with code and local directories
of their own, one PostgreSQL and a cluster of two trackers and three storage nodes, all on one machine, and works with
the site as editors and visitors do: editors with Chromium. 'nginx' is Drupal's usual recipe, where the module's
middleware serves public files; 'the gateway' is \`client-php-shim/web/nginx\` beside it; Apache has the \`.htaccess\` that
Drupal brings and nothing else.`;

function versions(code: CodeBase | string): string {
  const of = (program: string, args: string[], pattern: RegExp) =>
    pattern.exec(
      execFileSync(findProgram(program) ?? program, args, { encoding: 'utf8', stdio: 'pipe' }),
    )?.[1] ?? '?';
  const commit = of('git', ['rev-parse', '--short', 'HEAD'], /(\S+)/);
  const [processor] = cpus();
  const rows = [
    ['date', new Date().toISOString().slice(0, 10)],
    ['Cistern', `commit ${commit}`],
    ['Drupal', typeof code === 'string' ? code : code.version],
    ['Drush', versionIn(code, 'vendor/composer/installed.json', /"drush\/drush",\s*"version": "([^"]+)/)],
    ['module imagemagick', versionIn(code, IMAGEMAGICK, /version: '?([^'\s]+)/)],
    ['PHP', of('php', ['-r', 'echo PHP_VERSION;'], /(.+)/)],
    ['Apache', of('apache2', ['-v'], /Apache\/(\S+)/)],
    ['Chromium', of('chromium', ['--version'], /(\d\S+)/)],
    ['Node', process.version.slice(1)],
    [
      'machine',
      `${cpus().length} cores (${processor?.model.trim()}), ${Math.round(totalmem() / 2 ** 30)} GiB`,
    ],
  ];
  return `| | |\n| --- | --- |\n${rows.map(([what, value]) => `| ${what} | ${value} |`).join('\n')}`;
}

/** What a file of the code base says of its version. */
function versionIn(code: CodeBase | string, file: string, pattern: RegExp): string {
  const path = typeof code === 'string' ? '' : join(code.directory, file);
  return (existsSync(path) && pattern.exec(readFileSync(path, 'utf8'))?.[1]) || 'not there';
}

function section(module: TestModule): string {
  const groups = Map.groupBy(module.children.allTests(), (test) =>
    test.parent.type === 'suite' ? test.parent.name : 'The site',
  );
  return [...groups].map(([name, tests]) => `## ${name}\n\n${table(tests)}`).join('\n\n');
}

function table(tests: TestCase[]): string {
  const rows = tests.map((test) => {
    const figures = Object.entries(test.meta().figures ?? {}).map(([what, value]) => `${what}: ${value}`);
    const seconds = ((test.diagnostic()?.duration ?? 0) / 1000).toFixed(1);
    return `| ${test.name} | ${test.result().state} | ${seconds} s | ${figures.join('; ')} |`;
  });
  return ['| scenario | | took | figures |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

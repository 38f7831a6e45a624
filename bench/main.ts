// `npm run bench`: measures everything in one run, beside what else this machine can do, and says which targets were
// reached. A full run writes bench/results/latest.json and the results in docs/benchmarks.md.
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { withCluster } from './lib/cluster.ts';
import { describeProfiles, profileInto } from './lib/profile.ts';
import { describeMachine, describeVersions, emptyFindings, markdown, type Results } from './lib/report.ts';
import type { Bench, Suite } from './lib/suite.ts';
import { judge } from './lib/targets.ts';
import { commits } from './suites/commits.ts';
import { directories } from './suites/directories.ts';
import { drupal } from './suites/drupal.ts';
import { fsck } from './suites/fsck.ts';
import { importing } from './suites/import.ts';
import { lookUps } from './suites/look-ups.ts';
import { memory } from './suites/memory.ts';
import { nodeReads } from './suites/node-reads.ts';
import { nodeWrites } from './suites/node-writes.ts';
import { repair } from './suites/repair.ts';
import { transfers } from './suites/transfers.ts';

const suites: Suite[] = [
  transfers,
  lookUps,
  directories,
  commits,
  nodeReads,
  nodeWrites,
  repair,
  importing,
  fsck,
  memory,
  drupal,
];
const names = suites.map(({ name }) => name);
/** What a run measures unless told: all but Drupal, which needs a code base of its own. */
const standard = names.filter((name) => name !== drupal.name);

const HELP = `Usage: npm run bench -- [options]

  --quick       a small subset, to see that everything runs
  --only NAME   one suite (may be repeated): ${names.join(', ')}; without it all but drupal
  --profile     also profile trackers and nodes: files in DIR/profile, and a table of self time. It slows them down
  --out DIR     where results go and clusters keep their files (default: bench/results)

A run of all of these also renews docs/benchmarks.md. Exit codes: 0 all measured, 1 something failed, 2 usage, 130 interrupted.
Whether a target is reached does not change the exit code.`;

const DOCUMENT = new URL('../docs/benchmarks.md', import.meta.url).pathname;
const RESULTS = new URL('results', import.meta.url).pathname;

const options = readOptions();
const out = resolve(options.out);
mkdirSync(out, { recursive: true });
const scratch = join(out, `run-${process.pid}.tmp`);
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, interrupt);
const profiles = join(out, 'profile');
if (options.profile) {
  rmSync(profiles, { recursive: true, force: true });
  profileInto(profiles);
}
const results = await run(suites.filter(({ name }) => options.only.includes(name)));
rmSync(scratch, { recursive: true, force: true });
if (interrupted) process.exit(130);
const complete = standard.every((name) => options.only.includes(name)) && !options.quick && !options.profile;
write(join(out, `${complete ? 'latest' : 'partial'}.json`), `${JSON.stringify(results, null, 2)}\n`);
write(join(out, `${complete ? 'latest' : 'partial'}.md`), markdown(results));
if (complete && out === RESULTS) renewDocument(markdown(results));
process.stdout.write(markdown(results));
if (options.profile) process.stdout.write(describeProfiles(profiles));
process.exit(results.suites.some(({ failed }) => failed !== undefined) ? 1 : 0);

/** A Ctrl-C at a terminal ends the cluster too, so that the suite under way fails, and stops by itself. */
function interrupt(): void {
  interrupted = true;
  process.stderr.write('bench: stopping after this suite; once more to stop at once\n');
}

async function run(chosen: Suite[]): Promise<Results> {
  const began = new Date().toISOString();
  const machine = describeMachine(out);
  const versions = await describeVersions();
  const measured: Results['suites'] = [];
  for (const suite of chosen) {
    if (interrupted) break;
    const { name, title, about } = suite;
    try {
      measured.push({ name, title, about, ...(await suite.run(benchFor(suite))) });
    } catch (error) {
      process.stderr.write(`${name} failed: ${(error as Error).stack}\n`);
      measured.push(emptyFindings(suite, (error as Error).message));
    }
  }
  const targets = options.quick ? [] : judge(Object.assign({}, ...measured.map(({ figures }) => figures)));
  const ended = new Date().toISOString();
  return { began, ended, quick: options.quick, machine, versions, targets, suites: measured };
}

function benchFor({ name }: Suite): Bench {
  let clusters = 0;
  return {
    quick: options.quick,
    seconds: options.quick ? 0.5 : 4,
    warmup: options.quick ? 0.1 : 1,
    say: (line) => process.stderr.write(`${name}: ${line}\n`),
    withCluster: (work) => withCluster(join(scratch, `${name}-${++clusters}`), work),
  };
}

/** Puts the results between the document's two marks. */
function renewDocument(text: string): void {
  const document = readFileSync(DOCUMENT, 'utf8');
  const mark = '<!-- results -->\n';
  const from = document.indexOf(mark) + mark.length;
  const to = document.indexOf('<!-- end of results -->');
  write(DOCUMENT, `${document.slice(0, from)}\n${text}\n${document.slice(to)}`);
}

function write(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

function readOptions(): { quick: boolean; profile: boolean; only: string[]; out: string } {
  try {
    const { values } = parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        profile: { type: 'boolean', default: false },
        only: { type: 'string', multiple: true, default: standard },
        out: { type: 'string', default: RESULTS },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    const unknown = values.only.find((name) => !names.includes(name));
    if (unknown !== undefined) throw new Error(`there is no suite '${unknown}'`);
    if (values.help) {
      process.stdout.write(`${HELP}\n`);
      process.exit(0);
    }
    return values;
  } catch (error) {
    process.stderr.write(`bench: ${(error as Error).message}\n\n${HELP}\n`);
    process.exit(2);
  }
}

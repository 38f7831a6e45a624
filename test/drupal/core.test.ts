// Drupal core's own kernel tests for files, nothing edited in core, with public:// in a real cluster. What fails there
// and not on a local disk is listed with its reason in core-deviations.json; a test that leaves or joins that list
// fails the run.
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Cluster, useCluster } from '../support/cluster.ts';
import { lacksProgram } from '../support/needs.ts';
import { giveToPool, WebHead } from '../support/web-head.ts';
import { prepareCode } from './code-base.ts';
import { figure, seconds } from './figures.ts';
import { onDrupal } from './on-drupal.ts';

type Results = Record<string, 'passed' | 'failed' | 'skipped'>;

// The suites, and how many tests each had when the list was made.
const SUITES = [
  { path: 'core/tests/Drupal/KernelTests/Core/File', atLeast: 130 },
  { path: 'core/modules/file/tests/src/Kernel', atLeast: 115 },
];
const SCRIPTS = new URL('php/', import.meta.url).pathname;
const deviations: Record<string, string> = JSON.parse(
  readFileSync(new URL('core-deviations.json', import.meta.url), 'utf8'),
);

let head: WebHead;
let cluster: () => Cluster;

await onDrupal(lacksProgram('php'), (code) => {
  const root = mkdtempSync(join(tmpdir(), 'cistern-core-'));
  cluster = useCluster({ env: { tracker: { CISTERN_DOWN_SECONDS: '5' } } });

  beforeAll(() => {
    chmodSync(root, 0o755);
    prepareCode(code, join(root, 'code'));
    const documentRoot = join(root, 'code', code.documentRoot);
    for (const directory of ['sites/default', 'sites/simpletest']) {
      mkdirSync(join(documentRoot, directory), { recursive: true });
      giveToPool(join(documentRoot, directory));
    }
    head = new WebHead({ name: 'core', directory: join(root, 'head'), documentRoot });
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  describe("Drupal core's own tests", () => {
    it.for(SUITES)('$path', { timeout: 3_600_000 }, async ({ path, atLeast }, context) => {
      const services = join(head.documentRoot, 'sites/default/testing.services.yml');
      writeFileSync(services, await head.php([join(SCRIPTS, 'testing-services.php')]));
      let onCistern: Results = {};
      const took = await seconds(async () => {
        onCistern = await run([path]);
        // A second chance: one test gives ten processes a tenth of a second to start in.
        const failed = namesOf(onCistern, 'failed');
        if (failed.length > 0) onCistern = { ...onCistern, ...(await run([path], failed)) };
      });
      rmSync(services);
      const failed = namesOf(onCistern, 'failed');
      // A test that fails on a local disk too says nothing about Cistern.
      const locally = failed.length > 0 ? await run([path], failed) : {};
      const deviating = failed.filter((name) => locally[name] === 'passed');
      const summary = `${namesOf(onCistern, 'passed').length} passed, ${deviating.length} deviate, `;
      const rest = `${failed.length - deviating.length} fail on a local disk too, ${namesOf(onCistern, 'skipped').length} skipped`;
      figure(context, path, `${summary}${rest}, ${took}`);
      expect(Object.keys(onCistern).length).toBeGreaterThanOrEqual(atLeast);
      const listed = Object.keys(deviations).filter((name) => name in onCistern);
      expect(deviating.sort()).toEqual(listed.sort());
    });
  });
});

const namesOf = (results: Results, state: string) =>
  Object.keys(results).filter((name) => results[name] === state);

/** Runs PHPUnit on a path; all of it, or only the classes of these tests. */
async function run(paths: string[], tests?: string[]): Promise<Results> {
  const log = join(head.directory, 'tmp/junit.xml');
  const classes = [...new Set(tests?.map((name) => name.split('::')[0]?.replaceAll('\\', '\\\\')))];
  const filter = tests ? ['--filter', `^(${classes.join('|')})::`] : [];
  const { trackers, domain, token } = cluster();
  const environment = {
    CISTERN_TRACKER_URLS: trackers.map(({ url }) => url).join(','),
    CISTERN_DOMAIN: domain,
    CISTERN_TOKEN: token,
    SIMPLETEST_DB: `sqlite://localhost/${join(head.directory, 'tmp/tests.sqlite')}`,
    BROWSERTEST_OUTPUT_DIRECTORY: join(head.directory, 'tmp'),
    SYMFONY_DEPRECATIONS_HELPER: 'disabled',
  };
  rmSync(log, { force: true });
  const phpunit = [
    '../vendor/bin/phpunit',
    '-c',
    'core/phpunit.xml.dist',
    '--log-junit',
    log,
    ...filter,
    ...paths,
  ];
  // It ends with 1 when a test failed, which is for us to judge.
  await head.php(phpunit, environment).catch((error: { stdout?: string }) => error);
  return JSON.parse(await head.php([join(SCRIPTS, 'junit.php'), log]));
}

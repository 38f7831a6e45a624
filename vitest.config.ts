// How the tests run: unit tests stand beside the code, what needs several parts is in test/.
import { availableParallelism } from 'node:os';
import { configDefaults, defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What takes longer than most, the longest first: begun late, one of them would run when all others are done. */
const LONG = [
  'test/crash/crash',
  'test/life-cycle',
  'bench/main',
  'test/php',
  'test/rebalance',
  'test/power/power',
  'tracker/database/failover',
  'test/cli',
  'test/failover',
  'test/php-web-heads',
  'test/restore',
  'test/rotation',
  'test/outage',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const place = LONG.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
      return place < 0 ? LONG.length : place;
    };
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    include: ['{services,tracker,storage-node,ops,test,bench}/**/*.test.ts'],
    // On real Drupal: `npm run test:drupal`; on a Docker engine: `npm run test:compose`.
    exclude: [...configDefaults.exclude, 'test/drupal/**', 'test/compose/**'],
    globalSetup: ['test/support/global-setup.ts'],
    testTimeout: 90_000,
    hookTimeout: 120_000,
    // Each may hold a whole cluster. The longest tests wait for one more than they compute, so one more than there are
    // cores finds time on them.
    maxWorkers: Math.min(availableParallelism() + 1, 8),
    pool: 'forks',
    sequence: { sequencer: LongestFirst },
  },
});

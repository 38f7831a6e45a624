// How the tests run: unit tests stand beside the code, what needs several parts is in test/.
import { configDefaults, defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['{services,tracker,storage-node,ops,test,bench}/**/*.test.ts'],
    // On real Drupal: `npm run test:drupal`; on a Docker engine: `npm run test:compose`.
    exclude: [...configDefaults.exclude, 'test/drupal/**', 'test/compose/**'],
    globalSetup: ['test/support/global-setup.ts'],
    testTimeout: 90_000,
    hookTimeout: 120_000,
    // Two cores are the smallest machine we promise; each worker may hold a whole cluster.
    maxWorkers: 2,
    pool: 'forks',
  },
});

// How the tests on real Drupal run (`npm run test:drupal`): apart from the others, since they take minutes and a
// Drupal code base.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: new URL('../..', import.meta.url).pathname,
  test: {
    include: ['test/drupal/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    testTimeout: 120_000,
    hookTimeout: 600_000,
    // One site at a time: its figures are read.
    maxWorkers: 1,
    pool: 'forks',
    reporters: ['verbose', new URL('report.ts', import.meta.url).pathname],
  },
});

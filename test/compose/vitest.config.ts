// `npm run test:compose`: the compose file, on a Docker engine. One file at a time: each brings up a whole cluster.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/compose/**/*.test.ts'],
    testTimeout: 300_000,
    hookTimeout: 900_000,
    fileParallelism: false,
    pool: 'forks',
    // testcontainers' helper, which removes what a killed run left, cannot be had where no image can be pulled.
    env: { TESTCONTAINERS_RYUK_DISABLED: 'true' },
  },
});

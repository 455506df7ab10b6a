import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Real servers and containers: generous, because nothing here measures time.
    testTimeout: 60_000,
    hookTimeout: 180_000,
    // Two files at a time fit the smallest machine that the tests are meant for.
    maxWorkers: 2,
  },
});

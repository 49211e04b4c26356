import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { globalSetup: 'build-image.ts', testTimeout: 600_000, hookTimeout: 600_000 },
});

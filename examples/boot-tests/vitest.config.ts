import { defineConfig } from 'vitest/config';

export default defineConfig({
  // Without KVM a boot takes ten times as long. Machines wait for free processors by themselves.
  test: {
    testTimeout: 600_000,
    hookTimeout: 600_000,
    reporters: ['default', 'nixos-disk-image/harness/vitest-reporter'],
  },
});

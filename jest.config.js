/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  // Processes are started and killed in tests; on a busy machine that takes its time.
  testTimeout: 30_000,
  maxWorkers: '100%',
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  // Those need servers (`npm run test:services`), gateways (`npm run test:supergraph`), and Chromium (`npm run test:browser`).
  testPathIgnorePatterns: [
    '/node_modules/',
    ...(process.env.TEST_DATABASE_URL ? [] : ['<rootDir>/test/services/']),
    ...(process.env.SUPERGRAPH ? [] : ['<rootDir>/test/supergraph/']),
    ...(process.env.BROWSER ? [] : ['<rootDir>/test/browser/']),
  ],
  modulePathIgnorePatterns: [
    '<rootDir>/test/supergraph/node_modules/',
    '<rootDir>/test/browser/node_modules/',
  ],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: {
          target: 'es2024',
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: false, useDefineForClassFields: false },
        },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
  setupFilesAfterEnv: ['<rootDir>/test/support/fail-on-console.ts'],
}

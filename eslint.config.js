import tseslint from 'typescript-eslint'

/** Imports point one way; a wrong one is told what to do instead. */
const fence = (files, forbidden, message) => ({
  files,
  rules: { 'no-restricted-imports': ['error', { patterns: [{ regex: forbidden, message }] }] },
})

const CORE =
  'The core imports nothing outside src/tasks. State what you need as a port in tasks/ports.ts and let service.ts pass it in.'

const DEFAULT_EXPORT = {
  selector: 'ExportDefaultDeclaration',
  message: 'Named exports only: one name, the same everywhere.',
}
const DYNAMIC_IMPORT = {
  selector: 'ImportExpression',
  message: 'The client runs in browsers and imports nothing at run time.',
}

export default tseslint.config(
  {
    ignores: [
      '**/dist',
      'dist-bench',
      'console/public',
      'node_modules',
      'coverage',
      'test/generated',
      'data',
      'bench/peers',
    ],
  },
  ...tseslint.configs.strictTypeChecked,
  ...tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-extraneous-class': ['error', { allowWithDecorator: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/consistent-type-imports': ['error', { disallowTypeAnnotations: false }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      // Object literals are what GraphQL types are filled with; our objects are closures, not classes.
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      '@typescript-eslint/unbound-method': 'off',
      // `Promise.withResolvers<void>()`
      '@typescript-eslint/no-invalid-void-type': 'off',
      'no-restricted-syntax': ['error', DEFAULT_EXPORT],
      'no-restricted-globals': [
        'error',
        { name: 'process', message: 'Only main.ts says `process`; pass the value in.' },
      ],
    },
  },
  {
    files: ['src/main.ts', 'src/picture-program.ts', 'tools/**', 'bench/**', 'test/**', '*.config.js'],
    rules: { 'no-restricted-globals': 'off' },
  },
  { files: ['*.config.js', '**/*.mjs', 'src/**/*.js'], ...tseslint.configs.disableTypeChecked },
  { files: ['*.config.js', '**/*.mjs'], rules: { 'no-restricted-syntax': 'off' } },
  {
    files: ['src/**', 'client/src/**', 'console/src/**'],
    rules: {
      '@typescript-eslint/max-params': ['error', { max: 4 }],
      'max-lines-per-function': ['error', { max: 60 }],
      'max-lines': ['error', { max: 300 }],
    },
  },
  {
    // graphql-ws calls `onNext` with five arguments.
    files: ['src/http/socket-protocol.ts'],
    rules: { '@typescript-eslint/max-params': 'off' },
  },
  {
    files: ['client/src/**'],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              regex: '^(?!\\.\\.?/)',
              allowTypeImports: true,
              message: 'The client runs in browsers and imports nothing at run time: use `import type`.',
            },
          ],
        },
      ],
      // `import { type A }` would still load the module.
      '@typescript-eslint/no-import-type-side-effects': 'error',
      'no-restricted-syntax': ['error', DEFAULT_EXPORT, DYNAMIC_IMPORT],
    },
  },
  {
    // The hooks import React, their optional peer dependency.
    files: ['client/src/react/**'],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              regex: '^(?!\\.\\.?/|react$)',
              allowTypeImports: true,
              message: 'The hooks import only the client and React.',
            },
          ],
        },
      ],
    },
  },
  {
    // Functions that are components have capital letters, and return elements.
    files: ['console/src/**'],
    rules: { 'max-lines-per-function': ['error', { max: 80 }] },
  },
  fence(['src/tasks/*.ts'], '^(?!\\./)', CORE),
  fence(['src/tasks/*/*.ts'], '^(?!\\.\\.?/)|^\\.\\./\\.\\./', CORE),
  fence(
    ['src/replicas/**', 'src/upstream/*.ts', 'src/deliveries/**', 'src/results/**'],
    '^\\.\\./(?!tasks/|net/)',
    'An adapter imports the core and src/net only. Let service.ts pass in the rest.',
  ),
  fence(
    ['src/upstream/*/*.ts'],
    '^\\.\\./\\.\\./(?!tasks/)',
    'A dialect is pure: it imports the core and src/upstream only.',
  ),
  fence(
    ['src/store/*'],
    '^\\.\\./(?!tasks/|deliveries/outbox|results/jobs)',
    'The store implements the ports of the core, of deliveries/outbox.ts and of results/jobs.ts. Let service.ts pass in the rest.',
  ),
  fence(
    ['src/store/*/*'],
    '^\\.\\./\\.\\./(?!tasks/)',
    'The store implements the ports of the core. Let service.ts pass in the rest.',
  ),
  fence(
    ['src/graphql/**'],
    '^\\.\\./(?!tasks/|deliveries/|results/|net/)',
    'GraphQL imports the core, deliveries, results and src/net only. Transports (src/http) import it, never the other way round.',
  ),
  fence(
    ['src/fast/**'],
    '^\\.\\./(?!tasks/|graphql/)',
    'The fast path imports the core and GraphQL only, and only serve.ts imports it.',
  ),
  fence(
    ['src/http/**'],
    '^\\.\\./(?!tasks/|graphql/|results/|net/)',
    'A transport imports the core, GraphQL, results and src/net. Let service.ts pass in the rest.',
  ),
  fence(['src/net/**'], '^\\.\\./', 'src/net knows nothing else of ours: adapters import it.'),
  fence(
    ['src/sandbox/**'],
    '^\\.\\./(?!start-error\\.ts)',
    'The sandbox plays the vendor: it must not know the gateway, or it would play along with its mistakes.',
  ),
  fence(
    ['src/settings*.ts', 'src/log.ts', 'src/system.ts'],
    '^\\./(?!settings|tasks/)',
    'The ground floor imports only the core and the settings.',
  ),
)

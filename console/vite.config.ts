import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

const toPath = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** The pages at /console: `npm run build -w console` writes them to console/dist, which the gateway serves. */
// eslint-disable-next-line no-restricted-syntax -- Vite reads the default export.
export default defineConfig({
  root: toPath('.'),
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  resolve: {
    alias: [
      { find: /^react(-dom)?$/, replacement: 'preact/compat' },
      { find: 'react/jsx-runtime', replacement: 'preact/jsx-runtime' },
      { find: /^upscale-gateway-client$/, replacement: toPath('../client/src/index.ts') },
      {
        find: /^upscale-gateway-client\/(react|store|testing)$/,
        replacement: toPath('../client/src/$1/index.ts'),
      },
    ],
  },
  build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  // `npm run dev -w console` beside `npm start`.
  server: {
    proxy: Object.fromEntries(
      ['/graphql', '/results', '/sandbox', '/console/config.json'].map((path) => [
        path,
        { target: 'http://127.0.0.1:4000', ws: path === '/graphql' },
      ]),
    ),
  },
})

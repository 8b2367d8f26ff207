/** Bundles programs of the service with the packages that they use, so that a start reads a few files instead of a thousand. */
import { globSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { build, type Plugin } from 'esbuild'

/** Not bundled: `sharp` is native, and the parts of GraphiQL have 9 MB, of which a start needs none. */
export const EXTERNAL = ['sharp', '@graphql-yoga/render-graphiql']

/** Optional dependencies of packages. They are not installed. */
const ABSENT = /^(pg-native|class-validator)$/

/** CommonJS modules in the bundle require Node's own modules. */
const REQUIRE = `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);`

/**
 * One copy of these, whether they are imported or required: graphql-js refuses the types of another copy, and the other one has
 * the same code twice.
 */
const ONE_COPY = /^(graphql|@graphql-tools\/utils)(\/|$)/

const oneCopy: Plugin = {
  name: 'one copy',
  setup({ onResolve, resolve }) {
    onResolve({ filter: ONE_COPY }, ({ path, kind, resolveDir, pluginData }) =>
      pluginData === oneCopy || kind === 'import-statement'
        ? undefined
        : resolve(path, { kind: 'import-statement', resolveDir, pluginData: oneCopy }),
    )
  },
}

/** An `import` of node:http reads all its exports, and one of them loads Node's fetch and WebSocket: 25 ms. `require` does not. */
const requireHttp: Plugin = {
  name: 'require node:http',
  setup({ onResolve, onLoad }) {
    const namespace = 'required'
    onResolve({ filter: /^(node:)?http$/ }, ({ kind }) =>
      kind === 'import-statement' ? { path: 'node:http', namespace } : undefined,
    )
    onLoad({ filter: /./, namespace }, () => ({ contents: `module.exports = require('node:http')` }))
  },
}

const absent: Plugin = {
  name: 'absent',
  setup({ onResolve, onLoad }) {
    const namespace = 'absent'
    onResolve({ filter: ABSENT }, ({ path }) => ({ path, namespace }))
    onLoad({ filter: /./, namespace }, ({ path }) => ({
      contents: `throw new Error('${path} is not installed')`,
    }))
  },
}

/**
 * Writes one file for each program into `out`, and the parts that are loaded later, or by several programs, beside them. Removes the
 * files of former bundles.
 */
export async function bundle(programs: readonly string[], out: string): Promise<void> {
  const { metafile } = await build({
    entryPoints: [...programs],
    outdir: out,
    entryNames: '[name]',
    chunkNames: '[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    // The ES modules of packages that have both: only they can be cut down to what is used.
    mainFields: ['module', 'main'],
    external: EXTERNAL,
    plugins: [oneCopy, requireHttp, absent],
    banner: { js: REQUIRE },
    // Names stay, for stack traces.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'linked',
    sourcemap: 'linked',
    sourcesContent: false,
    metafile: true,
    logLevel: 'warning',
  })
  const stale = globSync(`${out}/**/*.{js,map,txt}`).filter((file) => !(file in metafile.outputs))
  await Promise.all(stale.map((file) => rm(file)))
}

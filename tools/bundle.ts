/**
 * Bundles programs of the service with the packages that they use, so that a start reads a few files instead
 * of a thousand.
 */
import { globSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { build, type ImportKind, type Plugin } from 'esbuild'
import { readLicenses } from './licenses.ts'

/** Not bundled: `sharp` is native, and the parts of GraphiQL have 9 MB, of which a start needs none. */
export const EXTERNAL = ['sharp', '@graphql-yoga/render-graphiql']

/**
 * Defines what bundled CommonJS modules expect: `require`, by which they load Node's modules, and
 * `__dirname`.
 */
const COMMON_JS =
  `import { createRequire } from 'node:module'; ` +
  `const require = createRequire(import.meta.url); const __dirname = import.meta.dirname;`

/**
 * One copy of these, whether they are imported or required: graphql-js refuses the types of another copy, and
 * @graphql-tools/utils would be in the bundle twice.
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

interface Replacement {
  /** The paths that are imported. */
  readonly filter: RegExp
  /** Absent: imports of any kind. */
  readonly kind?: ImportKind
  /** The source of the CommonJS module that replaces the import. */
  toContents(path: string): string
}

const REPLACEMENTS: readonly Replacement[] = [
  // Optional dependencies of packages. They are not installed.
  {
    filter: /^(pg-native|class-validator)$/,
    toContents: (path) => `throw new Error('${path} is not installed')`,
  },
  // An `import` of node:http reads all its exports, and one of them loads Node's fetch and WebSocket: 25 ms.
  // `require` does not.
  {
    filter: /^(node:)?http$/,
    kind: 'import-statement',
    toContents: () => `module.exports = require('node:http')`,
  },
  // Apollo uses sha.js where `module.require` is missing, as in a bundle.
  { filter: /^sha\.js$/, toContents: () => `module.exports = require('node:crypto').createHash` },
]

const replacements: Plugin = {
  name: 'replacements',
  setup({ onResolve, onLoad }) {
    for (const { filter, kind, toContents } of REPLACEMENTS) {
      const namespace = `in place of ${filter.source}`
      onResolve({ filter }, (imported) =>
        kind === undefined || kind === imported.kind ? { path: imported.path, namespace } : undefined,
      )
      onLoad({ filter: /./, namespace }, ({ path }) => ({ contents: toContents(path) }))
    }
  },
}

/**
 * Writes one file for each program into `out`, and the parts that are loaded later, or by several programs,
 * beside them. Removes the files of former bundles. LICENSES.txt has the licences of the packages.
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
    // Prefers ES modules, because esbuild removes unused code only from them.
    mainFields: ['module', 'main'],
    external: EXTERNAL,
    plugins: [oneCopy, replacements],
    banner: { js: COMMON_JS },
    // No `minifyIdentifiers`: stack traces keep names.
    minifySyntax: true,
    minifyWhitespace: true,
    // LICENSES.txt has the whole texts.
    legalComments: 'none',
    sourcemap: 'linked',
    sourcesContent: false,
    metafile: true,
    logLevel: 'warning',
  })
  const stale = globSync(`${out}/**/*.{js,map,txt}`).filter((file) => !(file in metafile.outputs))
  await Promise.all(stale.map((file) => rm(file)))
  await writeFile(`${out}/LICENSES.txt`, readLicenses(Object.keys(metafile.inputs)))
}

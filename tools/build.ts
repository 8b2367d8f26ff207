/**
 * Builds what its arguments name: `service` (src → dist), `console` (console → console/dist) and `bench` (the
 * service with the hooks of the bench → dist-bench). Skips what has not changed since its last build. Does
 * not check types: `npm run types` does. Node runs this file itself, without a compiler.
 */
import { createHash } from 'node:crypto'
import { globSync } from 'node:fs'
import { copyFile, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

interface Target {
  readonly out: string
  /** Globs of the files that the output depends on, besides this file and the locked packages. */
  readonly inputs: readonly string[]
  build(out: string): Promise<void>
}

const TARGETS: Readonly<Record<string, Target>> = {
  service: { out: 'dist', inputs: ['src/**/*'], build: buildService },
  console: {
    out: 'console/dist',
    inputs: [
      'console/{index.html,vite.config.ts,tsconfig.json}',
      'console/{src,public}/**/*',
      'client/src/**/*',
    ],
    build: buildConsole,
  },
  // A sibling of dist: the service finds the console by a path relative to its own folder.
  bench: { out: 'dist-bench', inputs: ['src/**/*', 'bench/own.mjs'], build: buildBench },
}
const SHARED_INPUTS = [
  'tools/{build,bundle,licenses}.ts',
  'package.json',
  'package-lock.json',
  'tsconfig.json',
]
/** In the output folder: the state of the inputs that it was built from. Written last. */
const STAMP = '.build'

/** Programs that the service runs; see src/programs.ts. */
const PROGRAMS = ['picture-program', 'graphiql-worker']
const toSource = (name: string) => `src/${name}.ts`

const ROOT = join(import.meta.dirname, '..')
process.chdir(ROOT)
async function update(name: string): Promise<void> {
  const target = TARGETS[name]
  if (target === undefined)
    throw new Error(`"${name}" cannot be built: use ${Object.keys(TARGETS).join(' or ')}`)
  const stamp = join(target.out, STAMP)
  const state = await readState([...target.inputs, ...SHARED_INPUTS])
  if ((await readFile(stamp, 'utf8').catch(() => '')) === state) return
  await rm(stamp, { force: true })
  await target.build(target.out)
  await writeFile(stamp, state)
}

/** A hash of the names, sizes and times of files: reading them all would take longer than a build. */
async function readState(globs: readonly string[]): Promise<string> {
  const files = globSync([...globs]).sort()
  const states = await Promise.all(
    files.map(async (file) => {
      const { size, mtimeMs } = await stat(file)
      return `${file} ${size} ${mtimeMs}`
    }),
  )
  return createHash('sha256').update(states.join('\n')).digest('hex')
}

async function buildService(out: string): Promise<void> {
  // Loaded only here, because most starts build nothing.
  const { bundle } = await import('./bundle.ts')
  await bundle(['main', ...PROGRAMS].map(toSource), out)
  await mkdir(join(out, 'http'), { recursive: true })
  await copyFile('src/http/graphiql-client.js', join(out, 'http/graphiql-client.js'))
}

async function buildBench(out: string): Promise<void> {
  const { bundle } = await import('./bundle.ts')
  await bundle(['bench/own.mjs', ...PROGRAMS.map(toSource)], out)
}

async function buildConsole(): Promise<void> {
  const { build } = await import('vite')
  await build({ configFile: 'console/vite.config.ts', logLevel: 'warn' })
}

await Promise.all(process.argv.slice(2).map(update))

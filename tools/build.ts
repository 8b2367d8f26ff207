/**
 * Builds what its arguments name: `service` (src → dist) and `console` (console → console/dist). Skips what has not changed
 * since its last build. Does not check types: `npm run types` does. Node runs this file itself, without a compiler.
 */
import { createHash } from 'node:crypto'
import { globSync } from 'node:fs'
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'

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
}
const SHARED_INPUTS = ['tools/build.ts', 'package.json', 'package-lock.json', 'tsconfig.json']
/** In the output folder: the state of the inputs that it was built from. Written last. */
const STAMP = '.build'

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
  const { transform } = await import('@swc/core')
  const files = globSync('src/**/*.{ts,js}')
  const written = await Promise.all(files.map((file) => compile(file, out, transform)))
  const stale = globSync(`${out}/**/*.{js,map,ts}`).filter((file) => !written.flat().includes(file))
  await Promise.all(stale.map((file) => rm(file)))
}

const TYPESCRIPT = { syntax: 'typescript', decorators: true } as const
/** As in jest.config.js. A constant, because the types of swc do not know `rewriteRelativeImportExtensions`. */
const COMPILER = {
  target: 'es2024',
  rewriteRelativeImportExtensions: true,
  transform: {
    legacyDecorator: true,
    decoratorMetadata: false,
    useDefineForClassFields: false,
    verbatimModuleSyntax: true,
  },
} as const

/** Compiles one module, and returns the paths of what it wrote. */
async function compile(
  file: string,
  out: string,
  transform: typeof import('@swc/core').transform,
): Promise<readonly string[]> {
  const path = join(out, relative('src', file)).replace(/\.ts$/, '.js')
  const { code, map } = await transform(await readFile(file, 'utf8'), {
    filename: file,
    sourceFileName: relative(dirname(path), file),
    sourceMaps: true,
    inlineSourcesContent: false,
    configFile: false,
    swcrc: false,
    module: { type: 'es6' },
    jsc: { ...COMPILER, parser: file.endsWith('.ts') ? TYPESCRIPT : { syntax: 'ecmascript' } },
  })
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, `${code}//# sourceMappingURL=${relative(dirname(path), path)}.map\n`)
  await writeFile(`${path}.map`, map ?? '')
  return [path, `${path}.map`]
}

async function buildConsole(): Promise<void> {
  const { build } = await import('vite')
  await build({ configFile: 'console/vite.config.ts', logLevel: 'warn' })
}

await Promise.all(process.argv.slice(2).map(update))

/**
 * What the last stage of the Dockerfile adds to its base image, computed without Docker from the folders that
 * it copies.
 */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, isAbsolute, join, normalize, relative } from 'node:path'

export interface Layer {
  readonly instruction: string
  /** Undefined: cannot be computed without Docker. */
  readonly size: Size | undefined
}

/** In bytes. */
export interface Size {
  readonly files: number
  /** Compressed by gzip. */
  readonly compressed: number
}

/** In both stages; the checkout is copied to it. */
const WORKDIR = '/app'

export async function readImageLayers(): Promise<readonly Layer[]> {
  const dockerfile = (await readFile('Dockerfile', 'utf8')).replaceAll(/\\\n\s*/g, '')
  const stages = dockerfile.split(/^(?=FROM )/m).filter((stage) => stage.startsWith('FROM '))
  const layers: Layer[] = []
  for (const line of stages.at(-1)?.split('\n') ?? []) {
    const instruction = line.replaceAll(/--mount=\S+ /g, '').replaceAll(/\s+/g, ' ')
    if (/^(FROM|RUN|COPY|ADD) /.test(line)) layers.push({ instruction, size: await sizeOf(instruction) })
  }
  return layers
}

async function sizeOf(instruction: string): Promise<Size | undefined> {
  const [kind = '', ...words] = instruction.split(' ')
  if (kind !== 'COPY') return undefined
  const sources = words.filter((word) => !word.startsWith('--')).slice(0, -1)
  const paths = sources.map((source) => (isAbsolute(source) ? relative(WORKDIR, source) : normalize(source)))
  if (paths.some((path) => basename(path) === 'node_modules'))
    return sizeOfPackages((folder) => {
      execFileSync(process.execPath, ['tools/runtime-packages.ts', join(folder, 'node_modules')])
    })
  return paths.every((path) => existsSync(path)) ? sizeOfPaths('.', paths) : undefined
}

/** The packages of an installation for production without the image. */
export function sizeOfInstall(): Promise<Size> {
  return sizeOfPackages(async (folder) => {
    for (const file of ['package.json', 'package-lock.json', '.npmrc']) await cp(file, join(folder, file))
    execFileSync('npm', ['ci', '--omit=dev'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
  })
}

/** The packages that `fill` puts into an empty folder. */
async function sizeOfPackages(fill: (folder: string) => void | Promise<void>): Promise<Size> {
  const folder = await mkdtemp(join(tmpdir(), 'packages-'))
  try {
    await fill(folder)
    return sizeOfPaths(folder, ['node_modules'])
  } finally {
    await rm(folder, { recursive: true })
  }
}

function sizeOfPaths(cwd: string, paths: readonly string[]): Size {
  const count = (command: string) =>
    Number(execFileSync('sh', ['-c', command, 'sh', ...paths], { cwd, encoding: 'utf8' }).trim())
  return {
    files: count('tar -c "$@" | wc -c'),
    compressed: count('tar -c "$@" | gzip | wc -c'),
  }
}

/** What the last stage of the Dockerfile adds to its base image, computed without Docker from the folders that it copies. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, isAbsolute, join, normalize, relative } from 'node:path'

export interface Layer {
  readonly instruction: string
  /** Undefined: only Docker could tell. */
  readonly size: Size | undefined
}

/** In bytes. */
export interface Size {
  readonly files: number
  /** As it is pulled. */
  readonly compressed: number
}

/** In both stages; the checkout is copied to it. */
const WORKDIR = '/app'
const INSTALL = /\bnpm (?:ci|install)\b[^&;|]*/

export async function readImageLayers(): Promise<readonly Layer[]> {
  const dockerfile = (await readFile('Dockerfile', 'utf8')).replaceAll(/\\\n\s*/g, '')
  const stages = dockerfile.split(/^(?=FROM )/m).filter((stage) => stage.startsWith('FROM '))
  const layers: Layer[] = []
  for (const line of stages.at(-1)?.split('\n') ?? []) {
    const instruction = line.replaceAll(/--mount=\S+ /g, '').replaceAll(/\s+/g, ' ')
    if (/^(FROM|RUN|COPY|ADD) /.test(line))
      layers.push({ instruction, size: await sizeOf(instruction, stages) })
  }
  return layers
}

async function sizeOf(instruction: string, stages: readonly string[]): Promise<Size | undefined> {
  const [kind = '', ...words] = instruction.split(' ')
  const [install] = INSTALL.exec(instruction) ?? []
  if (kind === 'RUN') return install === undefined ? undefined : await sizeOfInstall(install)
  if (kind !== 'COPY') return undefined
  const sources = words.filter((word) => !word.startsWith('--')).slice(0, -1)
  const paths = sources.map((source) => (isAbsolute(source) ? relative(WORKDIR, source) : normalize(source)))
  // Packages of another stage, installed there for production.
  if (paths.some((path) => basename(path) === 'node_modules')) {
    const command = stages
      .flatMap((stage) => INSTALL.exec(stage) ?? [])
      .find((each) => /omit[= ]dev|production/.test(each))
    return command === undefined ? undefined : await sizeOfInstall(command)
  }
  return paths.every((path) => existsSync(path)) ? sizeOfPaths('.', paths) : undefined
}

/** The packages that an npm command installs, in a folder of its own. */
async function sizeOfInstall(command: string): Promise<Size> {
  const folder = await mkdtemp(join(tmpdir(), 'install-'))
  try {
    for (const file of ['package.json', 'package-lock.json', '.npmrc']) await cp(file, join(folder, file))
    const [npm = 'npm', ...args] = command.trim().split(/\s+/)
    execFileSync(npm, args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
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

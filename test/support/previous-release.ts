import { execFile } from 'node:child_process'
import { symlink } from 'node:fs/promises'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { openTempDir } from './temp-dir.ts'

const run = promisify(execFile)

/** The commit of the previous release. Replicas of it run beside this build, and a rollback returns to it. */
const PREVIOUS = 'e3b02191a2f617a17ddba460adb8091fb53599a0'

/** Why the previous release cannot be built here; undefined if it can. */
export async function findMissingHistory(): Promise<string | undefined> {
  try {
    await run('git', ['cat-file', '-e', `${PREVIOUS}^{commit}`])
    return undefined
  } catch {
    return `the history (git) has no commit ${PREVIOUS.slice(0, 7)}, the previous release`
  }
}

/**
 * Builds the previous release in a folder of its own, with the packages of this one. `main` is its entry
 * point.
 */
export async function buildPreviousRelease(): Promise<AsyncDisposable & { readonly main: string }> {
  await using opened = new AsyncDisposableStack()
  const { path } = opened.use(await openTempDir())
  const tar = `${path}/source.tar`
  await run('git', [
    'archive',
    '--output',
    tar,
    PREVIOUS,
    'src',
    'package.json',
    'tsconfig.json',
    'tsconfig.build.json',
  ])
  await run('tar', ['-xf', tar, '-C', path])
  await symlink(resolve('node_modules'), `${path}/node_modules`)
  await run(
    process.execPath,
    [resolve('node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json', '--noCheck'],
    {
      cwd: path,
    },
  )
  const rest = opened.move()
  return { main: `${path}/dist/main.js`, [Symbol.asyncDispose]: () => rest.disposeAsync() }
}

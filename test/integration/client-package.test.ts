import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import { openTempDir } from '../support/temp-dir.ts'

const run = promisify(execFile)
const NPM = ['--offline', '--ignore-scripts', '--no-audit', '--no-fund', '--no-update-notifier', '--silent']
const PACKAGE = 'node_modules/upscale-gateway-client'
const CONSUMER = `
import { createHttpTransport, followTask, submit, type Problem } from 'upscale-gateway-client'
import { createUpscale, type UpscaleSnapshot } from 'upscale-gateway-client/store'
import { SANDBOX_SCRIPTS } from 'upscale-gateway-client/testing'

const client = createHttpTransport({ url: '/graphql' })
export const { task } = await submit(client, { input: { taskId: SANDBOX_SCRIPTS[0]?.taskId ?? '', imageIndex: 0 } })
for await (const { version } of followTask(client, { id: task.id })) console.log(version.toFixed())
createUpscale({ client }).subscribe(({ task, elapsedMs }: UpscaleSnapshot) => console.log(task?.images, elapsedMs.toFixed()))
export const toCode = ({ code }: Problem): string => code
`

async function readSizes(folder: string): Promise<Map<string, number>> {
  const files = await readdir(folder, { recursive: true, withFileTypes: true })
  const paths = files.filter((file) => file.isFile()).map((file) => resolve(file.parentPath, file.name))
  const sizes = await Promise.all(paths.map(async (path) => (await stat(path)).size))
  return new Map(paths.map((path, index) => [path.slice(resolve(folder).length + 1), sizes[index] ?? 0]))
}

test('the packed client adds one small package, which Node and TypeScript resolve without other packages', async () => {
  await using dir = await openTempDir()
  const cwd = `${dir.path}/project`
  await mkdir(cwd)
  await writeFile(`${cwd}/package.json`, '{ "name": "project", "private": true, "type": "module" }')
  await run('npm', ['pack', '-w', 'client', '--pack-destination', dir.path, ...NPM])
  const [tarball = ''] = (await readdir(dir.path)).filter((name) => name.endsWith('.tgz'))
  await run('npm', ['install', `../${tarball}`, ...NPM], { cwd })

  const lock = JSON.parse(await readFile(`${cwd}/package-lock.json`, 'utf8')) as { packages: object }
  expect(Object.keys(lock.packages)).toEqual(['', PACKAGE])
  const sizes = await readSizes(`${cwd}/${PACKAGE}`)
  expect([...sizes.values()].reduce((sum, size) => sum + size)).toBeLessThan(100_000)
  const names = [...sizes.keys()].filter((name) => !/^dist\/[\w/-]+(\.d\.ts|\.js)$/.test(name))
  expect(names.sort()).toEqual(['LICENSE', 'README.md', 'package.json'])

  const script = `
    const names = async (name) => Object.keys(await import(name)).length
    for (const entry of ['', '/store', '/testing']) console.log(await names('upscale-gateway-client' + entry) > 0)
    console.log(import.meta.resolve('upscale-gateway-client/react').endsWith('/dist/react/index.js'))`
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd })
  expect(stdout).toBe('true\n'.repeat(4))

  await writeFile(`${cwd}/consumer.ts`, CONSUMER)
  const options = ['--strict', '--noEmit', '--target', 'es2022', '--lib', 'es2022,dom']
  for (const [module, resolution] of [
    ['esnext', 'bundler'],
    ['node16', 'node16'],
  ] as const)
    await run(
      process.execPath,
      [
        resolve('node_modules/typescript/bin/tsc'),
        ...options,
        '--module',
        module,
        '--moduleResolution',
        resolution,
        'consumer.ts',
      ],
      { cwd },
    )
}, 300_000)

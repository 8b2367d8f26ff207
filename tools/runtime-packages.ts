/**
 * Copies the packages that the bundle does not contain, with their own dependencies, into the folder that its
 * argument names: the image needs no others. Node runs this file itself, without a compiler.
 */
import { existsSync, readFileSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { EXTERNAL } from './bundle.ts'

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>
  /** Such as the native parts of `sharp`, of which npm installs those of this platform. */
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const [target] = process.argv.slice(2)
if (target === undefined) throw new Error('Name the folder: node tools/runtime-packages.ts FOLDER')
const needed = new Set<string>()

function add(name: string): void {
  if (needed.has(name)) return
  needed.add(name)
  const { dependencies = {}, optionalDependencies = {} } = readManifest(join('node_modules', name))
  for (const other of Object.keys(dependencies)) if (!(other in optionalDependencies)) add(other)
  for (const other of Object.keys(optionalDependencies))
    if (existsSync(join('node_modules', other))) add(other)
}

function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest
}

const { dependencies = {} } = readManifest('.')
for (const name of EXTERNAL) {
  if (!(name in dependencies)) throw new Error(`${name} is not among the dependencies of package.json`)
  add(name)
}
for (const name of needed) await cp(join('node_modules', name), join(target, name), { recursive: true })
console.log(`${target}: ${[...needed].sort().join(', ')}`)

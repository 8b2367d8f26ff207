/** The licences of bundled packages: most require their text in every copy. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const LICENSE_FILE = /^(licen[cs]e|notice|copying)/i

interface Manifest {
  readonly name?: string
  readonly version?: string
  readonly license?: string
}

/** The licence texts of all packages that contain these files. */
export function readLicenses(files: readonly string[]): string {
  const folders = new Set(files.flatMap((file) => toPackageFolder(file) ?? []))
  return [...folders]
    .sort()
    .map(readLicense)
    .join(`\n${'-'.repeat(80)}\n\n`)
}

/** The folder of the innermost package; undefined: a file of our own. */
function toPackageFolder(file: string): string | undefined {
  return /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0]
}

function readLicense(folder: string): string {
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest
  const { name = folder, version = '', license = 'see its source' } = manifest
  const texts = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && LICENSE_FILE.test(entry.name))
    .map((entry) => readFileSync(join(folder, entry.name), 'utf8').trim())
  return `${[`${name} ${version}, ${license}`, ...texts].join('\n\n')}\n`
}

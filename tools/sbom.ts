/**
 * Writes a software bill of materials (CycloneDX, JSON) of the packages that the service runs on, as
 * package-lock.json names them for all platforms: to `dist/sbom.cdx.json`, or to the path given.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

interface Component {
  readonly 'bom-ref': string
  readonly purl: string
}
interface Dependency {
  readonly ref: string
  readonly dependsOn: readonly string[]
}
interface Sbom {
  readonly metadata: { readonly component: Component }
  readonly components: readonly Component[]
  readonly dependencies: readonly Dependency[]
}
interface Lock {
  readonly packages: Readonly<
    Record<string, { name?: string; version?: string; dev?: boolean; link?: boolean }>
  >
}

const file = process.argv[2] ?? 'dist/sbom.cdx.json'
const options = ['--sbom-format=cyclonedx', '--sbom-type=application', '--package-lock-only']
const all = JSON.parse(
  execFileSync('npm', ['sbom', ...options], { encoding: 'utf8', maxBuffer: 64 * 1_024 * 1_024 }),
) as Sbom

// `npm sbom --omit=dev` leaves out each package that a development dependency uses, too, such as `graphql`.
const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as Lock
const used = new Set(
  Object.entries(packages)
    .filter(([, { dev, link }]) => dev !== true && link !== true)
    .map(([path, { name, version }]) => `${name ?? path.replace(/.*node_modules\//, '')}@${version ?? ''}`),
)
const isUsed = (ref: string) => used.has(ref)

/** npm names this package and its workspaces after their folders. */
function named(component: Component): Component & { readonly name: string } {
  return { ...component, name: component['bom-ref'].replace(/@[^@]*$/, '') }
}

const sbom = {
  ...all,
  metadata: { ...all.metadata, component: named(all.metadata.component) },
  components: all.components.filter((component) => isUsed(component['bom-ref'])).map(named),
  dependencies: all.dependencies
    .filter(({ ref }) => isUsed(ref))
    .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter(isUsed) })),
}
mkdirSync(dirname(file), { recursive: true })
writeFileSync(file, `${JSON.stringify(sbom, null, 2)}\n`)
console.log(`${file}: ${sbom.components.length} packages`)

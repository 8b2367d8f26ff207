import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import { Ajv } from 'ajv'
import formats from 'ajv-formats'
import { openTempDir } from '../support/temp-dir.ts'

interface Component {
  readonly 'bom-ref': string
  readonly name: string
  readonly version: string
}
interface Sbom {
  readonly metadata: { readonly component: Component }
  readonly components: readonly Component[]
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[]
}
interface Lock {
  readonly packages: Readonly<Record<string, { version?: string; dev?: boolean }>>
}
interface Package {
  readonly name: string
  readonly version: string
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
}

const SCHEMAS = 'node_modules/@cyclonedx/cyclonedx-library/res/schema'
const read = async (file: string) => JSON.parse(await readFile(file, 'utf8')) as unknown

test('the bill of materials has the form of CycloneDX, and the packages that the service runs on', async () => {
  await using dir = await openTempDir()
  const file = `${dir.path}/new/sbom.cdx.json`
  await promisify(execFile)(process.execPath, ['--import', 'tsx', 'tools/sbom.ts', file])
  const sbom = (await read(file)) as Sbom

  const ajv = new Ajv({ strict: false, logger: false })
  formats.default(ajv)
  for (const part of ['spdx.SNAPSHOT.schema.json', 'jsf-0.82.SNAPSHOT.schema.json'])
    ajv.addSchema((await read(`${SCHEMAS}/${part}`)) as object, `http://cyclonedx.org/schema/${part}`)
  const validate = ajv.compile((await read(`${SCHEMAS}/bom-1.5.SNAPSHOT.schema.json`)) as object)
  validate(sbom)
  expect(validate.errors).toBeNull()
  expect(validate({ ...sbom, components: [{ name: 'no type' }] })).toBe(false)

  const { name, version, dependencies, devDependencies } = (await read('package.json')) as Package
  expect(sbom.metadata.component).toMatchObject({ name, version, type: 'application' })
  // What `npm ci --omit=dev` installs on any platform, and the client.
  const { packages } = (await read('package-lock.json')) as Lock
  const expected = Object.entries(packages)
    .filter(([path, { dev }]) => path.includes('node_modules/') && dev !== true)
    .map(([path, { version: locked }]) => `${path.replace(/.*node_modules\//, '')}@${locked ?? '0.1.0'}`)
  expect(new Set(sbom.components.map((each) => `${each.name}@${each.version}`))).toEqual(new Set(expected))
  const names = sbom.components.map((component) => component.name)
  expect(names).toEqual(expect.arrayContaining([...Object.keys(dependencies), 'upscale-gateway-client']))
  for (const tool of ['jest', 'eslint', 'prettier']) {
    expect(devDependencies).toHaveProperty(tool)
    expect(names).not.toContain(tool)
  }
  const refs = new Set([sbom.metadata.component, ...sbom.components].map((each) => each['bom-ref']))
  for (const { ref, dependsOn } of sbom.dependencies)
    for (const each of [ref, ...dependsOn]) expect(refs).toContain(each)
  expect(sbom.dependencies.find(({ ref }) => ref === `${name}@${version}`)?.dependsOn).toEqual(
    expect.arrayContaining([expect.stringMatching(/^graphql@/), expect.stringMatching(/^pg@/)]),
  )
})

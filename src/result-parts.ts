import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Backends } from './backends.ts'
import { SANDBOX_PREFIX } from './embedded-sandbox.ts'
import type { Metrics } from './metrics/metrics.ts'
import type { Connector } from './net/outbound.ts'
import { PICTURE_PROGRAM } from './programs.ts'
import type { CopyStore } from './results/copy-store.ts'
import { openFileStore } from './results/file-store.ts'
import type { ResultLinks } from './results/links.ts'
import { openPictureProcess } from './results/picture-process.ts'
import { openResults, type Results } from './results/results.ts'
import { openS3Store } from './results/s3-store.ts'
import type { Servers } from './servers.ts'
import type { Settings } from './settings.ts'
import type { Engines } from './tasks/engines/engine-ports.ts'
import type { Clock, Log } from './tasks/ports.ts'
import type { Tasks } from './tasks/tasks.ts'
import type { Tracing } from './tasks/tracing.ts'
import type { Alarm } from './worker.ts'

interface ResultParts {
  readonly settings: Settings
  readonly backends: Backends
  readonly servers: Servers
  readonly metrics: Metrics
  readonly tasks: Tasks
  readonly engines: Engines
  readonly links: ResultLinks
  /** Name servers to use instead of the system's. */
  readonly nameServers: readonly string[]
  readonly clock: Clock
  readonly log: Log
  readonly tracing: Tracing
  readonly alarm: Alarm
  /** Opens connections to one dependency. */
  connect(): Connector
}

/** Opens what inspects results, and makes and serves copies, as the settings say. */
export function openResultParts(parts: ResultParts): Results {
  const {
    settings,
    backends,
    servers,
    metrics,
    tasks,
    engines,
    links,
    nameServers,
    clock,
    log,
    tracing,
    alarm,
  } = parts
  const opened = new DisposableStack()
  const { resultStore } = settings
  // On the disk of the file store, so that the file system can share blocks instead of copying a picture.
  const folder =
    resultStore.kind === 'file' ? join(resultStore.folder, 'tmp') : join(tmpdir(), 'upscale-gateway')
  const copies = openCopyStore(parts)
  if (copies !== null) opened.use(copies)
  const pictures = opened.use(
    openPictureProcess({
      program: PICTURE_PROGRAM,
      settings: { proxies: settings.proxies, nameServers, folder },
      allowedHosts: () => toAllowedHosts(settings, servers),
      toFetchUrl: (url) => toFetchUrl(settings, servers, url),
      log,
    }),
  )
  const results = opened.use(
    openResults({
      tasks,
      jobs: backends.resultJobs,
      uses: backends.copyUses,
      pictures,
      copies,
      links,
      folder,
      engines,
      budget: backends.budget,
      clock,
      log,
      tracing,
      wake: () => alarm.ring(),
      onResult: metrics.onResult,
    }),
  )
  return { ...results, [Symbol.dispose]: () => opened.dispose() }
}

function openCopyStore({ settings, connect, clock, log }: ResultParts): CopyStore | null {
  const { resultStore, awsAccessKeyId, awsSecretAccessKey, awsSessionToken } = settings
  if (resultStore.kind === 'off') return null
  const credentials = {
    accessKeyId: awsAccessKeyId ?? '',
    secretAccessKey: awsSecretAccessKey ?? '',
    ...(awsSessionToken !== null && { sessionToken: awsSessionToken }),
  }
  const store =
    resultStore.kind === 'file'
      ? openFileStore(resultStore.folder)
      : openS3Store({ ...resultStore, credentials, connector: connect(), clock })
  // Not fatal: upscales do not need copies, and copies are retried.
  void store
    .check()
    .catch((error: unknown) =>
      log.error(
        { err: error },
        'RESULT_STORE cannot be used: copies are retried until the links of the upstream expire',
      ),
    )
  return store
}

/**
 * The hosts that results may come from besides public ones: that of the sandbox, and those of the settings.
 */
function toAllowedHosts({ mode, engines, resultAllowHosts }: Settings, servers: Servers): string[] {
  if (mode === 'LIVE') return resultAllowHosts
  const sandboxes = engines.map(({ url }) => {
    const { hostname, port, protocol } = new URL(url ?? servers.url())
    return `${hostname}:${port || (protocol === 'https:' ? '443' : '80')}`
  })
  return [...resultAllowHosts, ...sandboxes]
}

/**
 * Maps URLs of the embedded sandbox to this server. They are made for callers: inside a container, they may
 * not lead back to the service.
 */
function toFetchUrl({ engines }: Settings, servers: Servers, url: string): string {
  if (engines.every((engine) => engine.url !== null)) return url
  const { pathname, search } = new URL(url)
  return pathname.startsWith(`${SANDBOX_PREFIX}/`) ? servers.url() + pathname + search : url
}

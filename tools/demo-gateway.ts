/** The service that the demo uses: the one that runs, or one of its own. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const DEFAULT_URL = 'http://127.0.0.1:4000'

export interface DemoGateway extends AsyncDisposable {
  readonly url: string
  /** Started by the demo, and ends with it. */
  readonly isOwn: boolean
}

/** The running service. If none is ready, and no URL was given, the demo starts its own. */
export async function findGateway(named: string | undefined): Promise<DemoGateway> {
  const url = (named ?? process.env.GATEWAY_URL ?? DEFAULT_URL).replace(/\/+$/, '')
  const fault = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(3_000) }).then(
    ({ ok, status }) => (ok ? undefined : `it answers ${status} to /readyz`),
    toReason,
  )
  if (fault === undefined) {
    console.log(`Using the service at ${url}`)
    return { url, isOwn: false, [Symbol.asyncDispose]: () => Promise.resolve() }
  }
  if (named !== undefined) throw new Error(`The service at ${url} is not ready: ${fault}`)
  const own = await startGateway()
  console.log(`No service is ready at ${url}: the demo has started its own, in sandbox mode, at ${own.url}`)
  return own
}

/** A sandbox on a free port with a temporary database. It ignores the environment. */
async function startGateway(): Promise<DemoGateway> {
  // Loaded only here: the demo does not need them for a running service.
  const { parseSettings } = await import('../src/settings.ts')
  const { createLogger } = await import('../src/log.ts')
  const { startService } = await import('../src/service.ts')
  await using opened = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'upscale-demo-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const settings = parseSettings({
    PORT: '0',
    DATABASE_URL: `file:${folder}/demo.db`,
    UPSTREAM_TIMEOUT_MS: '3000',
    RESULT_STORE: `file:${folder}/results`,
    LOG_LEVEL: 'error',
  })
  const { url } = opened.use(await startService(settings, createLogger(settings.logLevel)))
  const rest = opened.move()
  return { url, isOwn: true, [Symbol.asyncDispose]: () => rest.disposeAsync() }
}

/** The reason of a failure as text. A socket has it in its close event, `fetch` in the cause of its error. */
export function toReason(error: unknown): string {
  if (error instanceof Error && error.cause instanceof Error) return toReason(error.cause)
  const { message, code, reason } = error as { message?: string; code?: number; reason?: string }
  return message ?? `the connection was closed with ${code} ${reason}`.trim()
}

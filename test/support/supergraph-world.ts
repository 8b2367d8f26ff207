import { SignJWT } from 'jose'
import { findPort, startGallery, startHive, writeSupergraph, type HiveSubscriptions } from './gateways.ts'
import { startProcess } from './process.ts'
import { startScriptedUpstream } from './scripted-upstream.ts'
import { openTempDir } from './temp-dir.ts'

const SECRET = 'a secret that is long enough for HS256'

export interface Answer {
  readonly data?: Record<string, unknown> | null
  readonly errors?: readonly { message: string; extensions?: Record<string, unknown> }[]
}

export const sign = async (sub: string) =>
  `Bearer ${await new SignJWT({ sub }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1h').sign(new TextEncoder().encode(SECRET))}`

/** Our service as a process that can be restarted at the same address, behind two real gateways. */
export async function openWorld(subscriptions: HiveSubscriptions) {
  await using opened = new AsyncDisposableStack()
  const dir = opened.use(await openTempDir())
  const upstream = opened.use(await startScriptedUpstream())
  const gallery = opened.use(await startGallery())
  const [port, hivePort] = [await findPort(), await findPort()]
  const settings = {
    PORT: String(port),
    DATABASE_URL: `file:${dir.path}/s.db`,
    UPSTREAM_URL: upstream.url,
    AUTH_JWT_SECRET: SECRET,
    WATCH_TOKEN_SECRETS: 'a secret for watch tokens that is long enough',
    SUBSCRIPTION_CALLBACK_URLS: `http://127.0.0.1:${hivePort}/callback`,
    OWNER_RATE_LIMIT: '0',
    UPSTREAM_RATE_LIMIT: '0',
    REASSERT_MS: '2000',
  }
  let service = await startProcess(settings)
  opened.defer(() => service[Symbol.asyncDispose]())
  if (service.url === '') throw new Error(`The service did not start:\n${service.output()}`)
  const supergraph = `${dir.path}/supergraph.graphql`
  await writeSupergraph(supergraph, { upscale: `${service.url}/graphql`, gallery: gallery.url })
  const hive = opened.use(await startHive(supergraph, subscriptions, hivePort))
  const rest = opened.move()
  return {
    upstream,
    supergraph,
    direct: service.url,
    hive: hive.url,
    async restart() {
      service.child.kill('SIGTERM')
      await service.exited
      service = await startProcess(settings)
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}
export type World = Awaited<ReturnType<typeof openWorld>>

export async function ask(url: string, query: string, authorization?: string): Promise<Answer> {
  const response = await fetch(new URL('/graphql', url), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(authorization && { authorization }) },
    body: JSON.stringify({ query }),
  })
  return (await response.json()) as Answer
}

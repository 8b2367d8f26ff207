import { SignJWT } from 'jose'
import { findPort, startGallery, startRouter, writeSupergraph, type Router } from './gateways.ts'
import { startProcess } from './process.ts'
import { startScriptedUpstream } from './scripted-upstream.ts'
import { openTempDir } from './temp-dir.ts'

const SECRET = 'a secret that is long enough for HS256'

export interface Answer {
  readonly data?: Record<string, unknown> | null
  readonly errors?: readonly { message: string; extensions?: Record<string, unknown> }[]
}

export const sign = async (sub: string, expiresIn = '1h') =>
  `Bearer ${await new SignJWT({ sub }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime(expiresIn).sign(new TextEncoder().encode(SECRET))}`

/** Our service as a process that can be restarted at the same address, behind a real router. */
export async function openWorld(behind: Router) {
  await using opened = new AsyncDisposableStack()
  const dir = opened.use(await openTempDir())
  const upstream = opened.use(await startScriptedUpstream())
  const gallery = opened.use(await startGallery())
  const settings = {
    PORT: String(await findPort()),
    DATABASE_URL: `file:${dir.path}/s.db`,
    UPSTREAM_URL: upstream.url,
    AUTH_JWT_SECRET: SECRET,
    WATCH_TOKEN_SECRETS: 'a secret for watch tokens that is long enough',
    OWNER_RATE_LIMIT: '0',
    UPSTREAM_RATE_LIMIT: '0',
  }
  let service = await startProcess(settings)
  opened.defer(() => service[Symbol.asyncDispose]())
  if (service.url === '') throw new Error(`The service did not start:\n${service.output()}`)
  const supergraph = `${dir.path}/supergraph.graphql`
  await writeSupergraph(supergraph, { upscale: `${service.url}/graphql`, gallery: gallery.url })
  const subgraphs = { upscale: service.url, gallery: gallery.url, supergraph }
  const router = opened.use(await startRouter(behind, subgraphs))
  const rest = opened.move()
  return {
    upstream,
    subgraphs,
    direct: service.url,
    router: router.url,
    routerSocket: router.socketUrl,
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

interface Payload {
  readonly task: { readonly id: string; readonly status: string } | null
  readonly problem?: { readonly code: string } | null
  readonly watchToken?: string
}

/** Submits a task and returns what is selected of the payload. */
export async function submit(
  url: string,
  authorization: string,
  selection: string,
): Promise<Answer & { payload: Payload | null }> {
  const input = '{ taskId: "source-1", imageIndex: 0, force: true }'
  const answer = await ask(url, `mutation { upscaleImage(input: ${input}) { ${selection} } }`, authorization)
  return { ...answer, payload: (answer.data?.upscaleImage ?? null) as Payload | null }
}

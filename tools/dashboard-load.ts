/**
 * Load for the picture of the dashboard: three replicas in sandbox mode, callers with all kinds of tasks, and
 * an engine that fails.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { createClient } from 'graphql-ws'
import { SignJWT } from 'jose'
import { WebSocket } from 'ws'
import { startReplica } from '../bench/replica.ts'
import { openTempDir } from '../test/support/temp-dir.ts'
import { openTestSchema } from '../test/support/postgres.ts'

const REPLICAS = 3
const SUBMITS_PER_SECOND = 2
/** Every so many submits, one request with 20 pictures. */
const BURST_EVERY = 120
const OWNERS = ['alice', 'bob', 'carol']
/** The part of the run in which the first engine fails. */
const OUTAGE = { from: 0.4, to: 0.55 }
/** The part of the run in which the account of the first engine has too few credits for some tasks. */
const NO_CREDITS = { from: 0.6, to: 0.7 }

/** How long the last tasks may take after the run. */
const MAX_REST_MS = 60_000

/** Source tasks of the sandbox, by how often they come in a hundred. */
const SOURCES: readonly (readonly [string, number])[] = [
  ['sandbox-code-422', 5],
  ['sandbox-code-500', 1],
  ['sandbox-callback-501', 5],
  ['sandbox-lost', 8],
  ['sandbox-late-20', 10],
  ['sandbox-duplicate', 3],
  ['sandbox-empty-502', 1],
]

const SUBMIT =
  'mutation ($input: UpscaleImageInput!) { upscaleImage(input: $input) { task { id } problem { code } } }'
const SUBMIT_MANY =
  'mutation ($input: UpscaleImagesInput!) { upscaleImages(input: $input) { results { problem { code } } } }'
const FOLLOW = 'subscription ($id: ID!) { taskUpdated(id: $id) { status version } }'

export interface Load extends AsyncDisposable {
  /** The base URL of each replica. */
  readonly urls: readonly string[]
  /** Runs the callers for this long. */
  run(minutes: number): Promise<void>
}

const pick = <T>(all: readonly T[], index = Math.floor(Math.random() * all.length)): T => {
  const found = all[index % all.length]
  if (found === undefined) throw new Error('There is nothing to pick from')
  return found
}

const isIn = (share: number, { from, to }: typeof OUTAGE) => share >= from && share < to

/** `share`: the part of the run that is over, from 0 to 1. */
function pickSource(share: number): string {
  if (isIn(share, OUTAGE) && Math.random() < 0.8) return 'sandbox-kie-midjourney-code-455'
  if (isIn(share, NO_CREDITS) && Math.random() < 0.2) return 'sandbox-kie-midjourney-code-402'
  let ticket = Math.random() * 100
  for (const [source, percent] of SOURCES) {
    ticket -= percent
    if (ticket < 0) return source
  }
  return `picture-${randomUUID()}`
}

/** A caller's server, which fails one delivery in eight. */
async function startReceiver() {
  const server = createServer((request, response) => {
    request.resume()
    response.writeHead(Math.random() < 0.125 ? 500 : 204).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/`,
    [Symbol.dispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

export async function startLoad(): Promise<Load> {
  await using opened = new AsyncDisposableStack()
  const schema = opened.use(await openTestSchema())
  const folder = opened.use(await openTempDir())
  const receiver = opened.use(await startReceiver())
  const secret = randomBytes(32).toString('hex')
  const settings = {
    DATABASE_URL: schema.url,
    AUTH_JWT_SECRET: secret,
    ENGINES: 'kie-midjourney,legnext',
    ENGINE_FALLBACK: 'on',
    UPSTREAM_RATE_LIMIT: '30/10s',
    OWNER_RATE_LIMIT: '50/60s',
    POLL_INTERVAL_MS: '5000',
    CALLBACK_ALLOW_HOSTS: '127.0.0.1',
    RESULT_STORE: `file:${folder.path}`,
    LOG_LEVEL: 'silent',
  }
  const urls: string[] = []
  for (let index = 0; index < REPLICAS; index += 1) urls.push(opened.use(await startReplica(settings)).url)

  const sign = (owner: string, expiresInS: number) =>
    new SignJWT({ sub: owner })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime(Math.floor(Date.now() / 1_000) + expiresInS)
      .sign(Buffer.from(secret))
  const post = async (url: string, token: string, body: object, accept = 'application/json') =>
    fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept, authorization: `Bearer ${token}` },
      body: JSON.stringify(body),
    })
  const followOnSocket = async (url: string, token: string, id: string) => {
    const client = createClient({
      url: `${url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization: `Bearer ${token}` },
    })
    const events = client.iterate({ query: FOLLOW, variables: { id } })
    while (!(await events.next()).done);
    await client.dispose()
  }
  const submit = async (index: number, share: number) => {
    const owner = pick(OWNERS)
    const token = await sign(owner, index % 40 === 0 ? -60 : 3_600)
    const callBackUrl = index % 3 === 0 ? receiver.url : undefined
    const input = { taskId: pickSource(share), imageIndex: index % 4, force: true, callBackUrl }
    const response = await post(`${pick(urls, index)}/graphql`, token, {
      query: SUBMIT,
      variables: { input },
    })
    const { data } = (await response.json()) as {
      data?: { upscaleImage: { task: { id: string } | null } | null }
    }
    const id = data?.upscaleImage?.task?.id
    if (id === undefined) return
    // On another replica, so that it hears of the result by a hint.
    const other = pick(urls, index + 1)
    if (index % 4 === 0)
      await (
        await post(
          `${other}/graphql/stream`,
          token,
          { query: FOLLOW, variables: { id } },
          'text/event-stream',
        )
      ).text()
    else await followOnSocket(other, token, id)
  }
  const submitMany = async () => {
    const inputs = Array.from({ length: 20 }, (_, index) => ({
      taskId: `many-${randomUUID()}`,
      imageIndex: index % 4,
    }))
    await post(`${pick(urls)}/graphql`, await sign('dora', 600), {
      query: SUBMIT_MANY,
      variables: { input: { inputs } },
    })
  }
  const rest = opened.move()
  const running: Promise<void>[] = []
  let isOver = false
  const start = (work: Promise<void>) =>
    running.push(
      work.catch((error: unknown) => {
        if (!isOver) console.error(error)
      }),
    )
  return {
    urls,
    async run(minutes) {
      const count = Math.round(minutes * 60 * SUBMITS_PER_SECOND)
      const startedAt = performance.now()
      for (let index = 0; index < count; index += 1) {
        await pause(Math.max(0, startedAt + (index * 1_000) / SUBMITS_PER_SECOND - performance.now()))
        start(submit(index, index / count))
        if (index % BURST_EVERY === 60) start(submitMany())
      }
    },
    async [Symbol.asyncDispose]() {
      await Promise.race([Promise.allSettled(running), pause(MAX_REST_MS, undefined, { ref: false })])
      isOver = true
      await rest.disposeAsync()
    },
  }
}

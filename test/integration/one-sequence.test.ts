import { describe, expect, test } from '@jest/globals'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { openEventStream } from '../support/event-stream.ts'
import { startScriptedRouter } from '../support/router.ts'
import { openScene } from '../support/scene.ts'

const FOLLOW = `subscription Follow($id: ID!) {
  taskUpdated(id: $id) {
    version status images { url } problem { code message retryable retryAfterMs upstreamCode taskId correlationId }
  }
}`
const WITHOUT_PROBLEM =
  'subscription Follow($id: ID!) { taskUpdated(id: $id) { version status images { url } } }'

interface Event {
  readonly data?: unknown
  readonly errors?: readonly { message: string; path?: unknown; extensions: object }[]
}
interface Follower {
  next(): Promise<Event | undefined>
}
type Scene = Awaited<ReturnType<typeof openScene>>
type Router = Awaited<ReturnType<typeof startScriptedRouter>>

/** Where errors stand in the document is left out where HTTP callbacks leave it out. */
const toEvent = ({ data, errors }: Event): Event => ({
  data,
  ...(errors && { errors: errors.map(({ message, path, extensions }) => ({ message, path, extensions })) }),
})

const TRANSPORTS: Record<
  string,
  (scene: Scene, router: Router, query: string, id: string) => Promise<Follower>
> = {
  'graphql-ws': (scene, _router, query, id) => {
    const url = `${scene.gateway.url.replace('http', 'ws')}/graphql`
    const client = createClient({ url, webSocketImpl: WebSocket, retryAttempts: 0 })
    const events = client.iterate({ query, variables: { id } })
    const next = async () => {
      const event = await events.next()
      return event.done === true ? undefined : toEvent(event.value as Event)
    }
    return Promise.resolve({ next })
  },
  'server-sent events': async (scene, _router, query, id) => {
    const stream = await openEventStream<Event>(scene.gateway.url, { query, variables: { id } })
    const next = async () => {
      const event = await stream.next()
      return event?.data && toEvent(event.data)
    }
    return { next }
  },
  'HTTP callback': async (scene, router, query, id) => {
    const subscription = {
      callbackUrl: `${router.url}/${id}`,
      subscriptionId: id,
      verifier: 'v',
      heartbeatIntervalMs: 0,
    }
    await fetch(`${scene.gateway.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables: { id }, extensions: { subscription } }),
    })
    await router.next('check')
    const next = async () => {
      const { payload } = await router.next()
      return payload && toEvent(payload)
    }
    return { next }
  },
}

describe.each([
  ['a success', (task: Awaited<ReturnType<Scene['submit']>>) => task.succeed(), FOLLOW],
  ['a failure, as `problem`', (task: Awaited<ReturnType<Scene['submit']>>) => task.fail(500), FOLLOW],
  ['a failure, as an error', (task: Awaited<ReturnType<Scene['submit']>>) => task.fail(500), WITHOUT_PROBLEM],
] as const)('one task, followed on every transport: %s', (_name, settle, query) => {
  test('is the same sequence of the same events', async () => {
    await using router = await startScriptedRouter()
    await using scene = await openScene({ SUBSCRIPTION_CALLBACK_URLS: router.url })
    scene.upstream.onLookup = (response) => response.writeHead(500).end()
    const task = await scene.submit()
    const followers = await Promise.all(
      Object.values(TRANSPORTS).map((follow) => follow(scene, router, query, task.id)),
    )
    const seen: (Event | undefined)[][] = followers.map(() => [])
    const look = async () => {
      for (const [index, follower] of followers.entries()) seen[index]?.push(await follower.next())
    }
    await look()
    await settle(task)
    await look()
    await look()
    const [first] = seen
    expect(first).toMatchObject([
      { data: { taskUpdated: { version: 2, status: 'PROCESSING' } } },
      { data: { taskUpdated: { version: 3 } } },
    ])
    expect(first?.[2]).toBeUndefined()
    for (const each of seen) expect(each).toEqual(first)
  })
})

test('two viewers behind a gateway that de-duplicates streams both know the state within 15 s', async () => {
  await using scene = await openScene()
  const { id, succeed } = await scene.submit()
  // Both workers rest: the next timer is the stream's.
  while (scene.clock.pending < 2) await new Promise(setImmediate)
  const idle = scene.clock.pending
  // Such a gateway runs one stream for all who ask the same, and gives each only what comes after they came.
  using upstream = await openEventStream<Event>(scene.gateway.url, { query: FOLLOW, variables: { id } })
  const viewers = new Set<(event: Event) => void>()
  const relaying = (async () => {
    for (let event = await upstream.next(); event; event = await upstream.next())
      for (const tell of viewers) if (event.data) tell(event.data)
  })()
  const view = () => {
    const { promise, resolve } = Promise.withResolvers<Event>()
    viewers.add(resolve)
    return promise
  }
  const state = { data: { taskUpdated: { version: 2, status: 'PROCESSING' } } }
  const first = view()
  expect(await first).toMatchObject(state)
  const second = view()
  while (scene.clock.pending === idle) await new Promise(setImmediate)
  scene.clock.advance(15_000)
  expect(await second).toMatchObject(state)
  await succeed()
  await relaying
})

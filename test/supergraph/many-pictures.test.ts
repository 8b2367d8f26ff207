import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { readExamples, runExample } from '../support/examples.ts'
import type { Router } from '../support/gateways.ts'
import { playGrids } from '../support/grid.ts'
import { ask, openWorld, sign, type World } from '../support/supergraph-world.ts'

const CLIENTS = ['Apollo Client', 'urql', 'graphql-ws', 'Server-sent events'] as const
type Client = (typeof CLIENTS)[number]

interface State {
  readonly id: string
  readonly version: number
  readonly status: string
  readonly images: readonly { readonly url: string }[] | null
  readonly problem?: { readonly code: string } | null
}
interface Outcome {
  readonly task: State | null
  readonly problem: { readonly code: string } | null
}
interface ReportedError {
  readonly extensions: { readonly code: string; readonly taskId: string }
}
/** As the clients report errors. */
type Reported = readonly ReportedError[] | { readonly errors: Errors } | { readonly graphQLErrors: Errors }
type Errors = readonly ReportedError[]

const toErrors = (reported: Reported): Errors =>
  'errors' in reported ? reported.errors : 'graphQLErrors' in reported ? reported.graphQLErrors : reported

interface Target {
  readonly world: World
  readonly grids: ReturnType<typeof playGrids>
  readonly server: 'direct' | 'router'
}

/** Runs the example of a client on a grid of its own, which is settled after the first event of each task. */
async function upscaleGrid(client: Client, selectsProblem: boolean, { world, grids, server }: Target) {
  const { UPSCALE, FOLLOW, toCode } = await readExamples()
  const taskId = `${client}-${selectsProblem}-${server}`.replaceAll(' ', '-')
  const outcomes: Outcome[] = []
  const states: State[] = []
  const errors: ReportedError[] = []
  let settled: Promise<void> | undefined
  const settleWhenSeen = () => {
    const seen = new Set(states.map(({ id }) => id))
    if (seen.size === 3 && errors.length > 0) settled ??= grids.settle(taskId)
  }
  await runExample(toCode(client), {
    UPSCALE,
    FOLLOW: selectsProblem ? FOLLOW : FOLLOW.replace('problem { code message }', ''),
    url: `${world[server]}/graphql`,
    streamUrl: `${world[server]}/graphql${server === 'direct' ? '/stream' : ''}`,
    authorization: await sign('alice'),
    input: { taskId, imageIndices: [0, 1, 2, 3], idempotencyKey: taskId },
    accept(results: readonly Outcome[]) {
      outcomes.push(...results)
      return [...results.flatMap(({ task }) => task?.id ?? []), 'unknown']
    },
    show(state: State) {
      states.push(state)
      settleWhenSeen()
    },
    report(error: Reported) {
      errors.push(...toErrors(error))
      settleWhenSeen()
    },
  })
  await settled
  return { taskId, outcomes, states, errors }
}
type Run = Awaited<ReturnType<typeof upscaleGrid>>

/** The states of a task, without repetitions. */
function statesOf({ outcomes, states }: Run, imageIndex: number) {
  const id = outcomes[imageIndex]?.task?.id
  const own = states.filter((state) => state.id === id)
  return own.filter(({ version }, index) => version !== own[index - 1]?.version)
}

function expectSettled(run: Run) {
  const { taskId, outcomes } = run
  expect(outcomes.map(({ task, problem }) => [task?.status, problem?.code])).toEqual([
    ['PROCESSING', undefined],
    [undefined, 'INSUFFICIENT_CREDITS'],
    ['PROCESSING', undefined],
    ['SUBMITTED', undefined],
  ])
  expect(statesOf(run, 0)).toMatchObject([
    { version: 2, status: 'PROCESSING' },
    { version: 3, status: 'SUCCEEDED', images: [{ url: `https://example.com/${taskId}-0.png` }] },
  ])
  expect(statesOf(run, 2)).toMatchObject([
    { version: 2, status: 'PROCESSING' },
    { version: 3, status: 'FAILED', images: null },
  ])
  const queued = statesOf(run, 3)
  expect(queued[0]).toMatchObject({ version: 1, status: 'SUBMITTED' })
  expect(queued.at(-1)).toMatchObject({
    version: 3,
    status: 'SUCCEEDED',
    images: [{ url: `https://example.com/${taskId}-3.png` }],
  })
}

const UNKNOWN = { extensions: { code: 'TASK_NOT_FOUND', taskId: 'unknown' } }

/** Hive's native planner repeats the errors of a stream in all its later events. */
const withoutRepetitions = (errors: Errors) => [
  ...new Map(errors.map((error) => [error.extensions.taskId, error])).values(),
]

/** `withErrors`: the clients that are also tested without `problem`. */
function describeClients(
  target: () => Target,
  withErrors: readonly Client[],
  toReported: (errors: Errors) => Errors = (errors) => errors,
) {
  test.each(CLIENTS)('%s follows a grid to its end, with failures as data', async (client) => {
    const run = await upscaleGrid(client, true, target())
    expectSettled(run)
    expect(statesOf(run, 2).at(-1)?.problem).toMatchObject({ code: 'GENERATION_FAILED' })
    expect(toReported(run.errors)).toMatchObject([UNKNOWN])
  })

  test.each(withErrors)('%s follows a grid to its end, with a failure as one typed error', async (client) => {
    const run = await upscaleGrid(client, false, target())
    expectSettled(run)
    const failure = { code: 'GENERATION_FAILED', upstreamCode: 501, taskId: run.outcomes[2]?.task?.id }
    expect(toReported(run.errors)).toMatchObject([UNKNOWN, { extensions: failure }])
  })
}

describe.each<Router>([
  { kind: 'Hive Gateway', subscriptions: 'ws' },
  { kind: 'Hive Gateway', subscriptions: 'sse' },
  { kind: 'Hive Gateway, native planner', subscriptions: 'sse' },
])('behind $kind, which subscribes by $subscriptions', (router) => {
  let world: World
  let grids: ReturnType<typeof playGrids>
  beforeAll(async () => {
    world = await openWorld(router)
    grids = playGrids(world.upstream)
  }, 120_000)
  afterAll(async () => {
    await world[Symbol.asyncDispose]()
  })

  const target = () => ({ world, grids, server: 'router' }) as const
  // With the native planner, the stream of a WebSocket client ends at an error of a field.
  if (router.kind === 'Hive Gateway, native planner')
    describeClients(target, ['Server-sent events'], withoutRepetitions)
  else describeClients(target, ['graphql-ws', 'Server-sent events'])

  if (router.kind !== 'Hive Gateway' || router.subscriptions !== 'ws') return
  describe('without the router', () => {
    describeClients(() => ({ world, grids, server: 'direct' }), CLIENTS)
  })

  test('a refusal in the results is one typed error where `problem` is not selected', async () => {
    const query =
      'mutation { upscaleImages(input: { taskId: "errors", imageIndices: [0, 1] }) { results { task { status } } } }'
    const { data, errors } = await ask(world.router, query, await sign('alice'))
    expect(data).toEqual({ upscaleImages: { results: [{ task: { status: 'PROCESSING' } }, { task: null }] } })
    expect(errors).toMatchObject([
      { path: ['upscaleImages', 'results', 1, 'task'], extensions: { code: 'INSUFFICIENT_CREDITS' } },
    ])
  })
})

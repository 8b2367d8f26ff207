import { describe, expect, test } from '@jest/globals'
import {
  FollowError,
  followTask,
  followTasks,
  submit as submitUpscale,
  type FollowedTask,
  type FollowedTaskOfMany,
  type Transport,
} from '../../client/src/index.ts'
import { createScriptedGateway, SANDBOX_SCRIPTS } from '../../client/src/testing/index.ts'
import { connect } from '../support/frontend.ts'
import { startGateway } from '../support/gateway.ts'
import { openTempDir } from '../support/temp-dir.ts'

const PROBLEM = 'problem { code message retryable retryAfterMs upstreamCode taskId }'
const TASK = `${PROBLEM} images { width height thumbhash copyState } history { status source upstreamCode }`
const SUBMIT = `mutation Submit($input: UpscaleImageInput!) {
  upscaleImage(input: $input) { replayed task { id status queue { position } } ${PROBLEM} }
}`

interface Problem {
  readonly code: string
  readonly taskId: string | null
}

interface State extends FollowedTask {
  readonly id: string
  readonly problem: Problem | null
  readonly images: readonly object[] | null
  readonly history: readonly { readonly status: string; readonly source: string }[]
}

interface Payload {
  readonly replayed: boolean
  readonly task: { readonly id: string; readonly status: string; readonly queue: object | null } | null
  readonly problem: Problem | null
}

/** The answer to one operation. */
async function run<Data>(
  client: Transport,
  query: string,
  variables: Record<string, unknown>,
): Promise<Data> {
  for await (const { data, errors } of client.iterate<Data>({ query, variables })) {
    if (data) return data
    throw new Error(JSON.stringify(errors))
  }
  throw new Error('The operation completed without an answer')
}

async function submit(client: Transport, input: Record<string, unknown>): Promise<Payload> {
  const data = await run<{ upscaleImage: Payload }>(client, SUBMIT, { input })
  return data.upscaleImage
}

/** Ids differ between gateways. */
const withoutId = (problem: Problem | null) => problem && { ...problem, taskId: problem.taskId !== null }

/**
 * Submits up to three times with the same key until the task is accepted, then follows it, and returns all
 * that it saw.
 */
async function play(client: Transport, taskId: string) {
  const submits: object[] = []
  const states: object[] = []
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const input = { taskId, imageIndex: 1, idempotencyKey: taskId }
    try {
      const { task, replayed } = await submitUpscale(client, { input })
      submits.push({ replayed, status: task.status })
      let last: State | undefined
      for await (const state of followTask<State>(client, { id: task.id, selection: TASK })) {
        const { version, status, images } = state
        states.push({ version, status, problem: withoutId(state.problem), images })
        last = state
      }
      return { taskId, submits, states: withoutThumbhash(states), history: last?.history }
    } catch (error) {
      if (!(error instanceof FollowError)) throw error
      const { code, message, retryable, retryAfterMs, upstreamCode } = error
      submits.push({ code, message, retryable, retryAfterMs, upstreamCode, isStored: error.taskId !== null })
    }
  }
  return { taskId, submits, states, history: undefined }
}

function withoutThumbhash(states: readonly object[]): object[] {
  return JSON.parse(
    JSON.stringify(states, (key, value: unknown) => (key === 'thumbhash' ? typeof value : value)),
  ) as object[]
}

const TIMING = { completeAfterMs: 300, submitTimeoutMs: 2_500, pollIntervalMs: 1_500, deadlineMs: 7_000 }

/** Those that wait for something. The one that takes 20 seconds is replaced by a shorter one. */
const SLOW = SANDBOX_SCRIPTS.filter(({ waitsFor }) => waitsFor !== null).map(({ taskId }) =>
  taskId.replace('late-20', 'late-2'),
)
const QUICK = SANDBOX_SCRIPTS.filter(({ waitsFor }) => waitsFor === null).map(({ taskId }) => taskId)
const AT_ONCE = 8

/**
 * Plays all scripts: those that wait at once, the others in groups, so that a busy machine causes no
 * timeouts.
 */
async function playAll(client: Transport) {
  const slow = SLOW.map((taskId) => play(client, taskId))
  const played = []
  for (let first = 0; first < QUICK.length; first += AT_ONCE)
    played.push(
      ...(await Promise.all(QUICK.slice(first, first + AT_ONCE).map((taskId) => play(client, taskId)))),
    )
  return [...played, ...(await Promise.all(slow))]
}

async function playOnSandbox() {
  await using folder = await openTempDir()
  await using gateway = await startGateway(
    {
      UPSTREAM_TIMEOUT_MS: String(TIMING.submitTimeoutMs),
      POLL_INTERVAL_MS: String(TIMING.pollIntervalMs),
      TASK_DEADLINE_MS: String(TIMING.deadlineMs),
      // Long enough for a busy machine.
      RESULT_INSPECT_MS: '60000',
      RESULT_STORE: `file:${folder.path}`,
    },
    { sandboxCompleteAfterMs: TIMING.completeAfterMs },
  )
  const client = connect(gateway.url)
  const played = await playAll(client)
  await client.dispose()
  return played
}

async function playInMemory() {
  const gateway = createScriptedGateway({ ...TIMING, clock: 'manual' })
  const played = playAll(gateway)
  const done = new AbortController()
  void played.finally(() => done.abort())
  while (!done.signal.aborted) await gateway.advance(100)
  return played
}

/**
 * Removes or replaces what differs between gateways: ids, times, places in documents, and details of syntax
 * errors.
 */
function normalize(value: unknown): unknown {
  const ids: string[] = []
  const json = JSON.stringify(value, (key, each: unknown) => (key === 'locations' ? undefined : each))
  const text = json
    .replaceAll(/Syntax Error: .*?\."/g, 'Syntax Error"')
    .replaceAll(/[\da-f]{8}-[\da-f-]{27}/g, (id) => {
      if (!ids.includes(id)) ids.push(id)
      return `id ${ids.indexOf(id)}`
    })
  return JSON.parse(text.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'time'))
}

/** Sends an operation, and returns its answer or the errors that it ended with. */
async function send(client: Transport, query: string, variables: Record<string, unknown> = {}) {
  try {
    return await Array.fromAsync(client.iterate({ query, variables }))
  } catch (error) {
    return { thrown: error }
  }
}

/** What a frontend may send about submits: replays, keys, refusals, and each way to select. */
async function playRules(client: Transport) {
  const picture = { taskId: 'rules', imageIndex: 2, waterMark: '' }
  const key = { idempotencyKey: 'key' }
  const first = await submit(client, { ...picture, ...key })
  const id = first.task?.id ?? ''
  const toEnd = async (query: string, of: unknown) => [await send(client, query, { id: of })].flat().at(-1)
  const follow = 'subscription ($id: ID!) { a: taskUpdated(id: $id) { status images { type: __typename } } }'
  const answers: unknown[] = [first, await toEnd(follow, id)]
  for (const input of [
    { ...picture, ...key, force: true },
    picture,
    { ...picture, force: true },
    { ...picture, ...key, imageIndex: 3 },
    // A refusal that may have been charged keeps its key; any other frees it.
    { taskId: 'sandbox-code-402', imageIndex: 0, idempotencyKey: 'refused' },
    { taskId: 'sandbox-code-402', imageIndex: 0, idempotencyKey: 'refused' },
    { taskId: 'sandbox-code-500', imageIndex: 0, idempotencyKey: 'free' },
    { taskId: 'sandbox-code-500', imageIndex: 0, idempotencyKey: 'free' },
  ])
    answers.push(await submit(client, input))
  const inline = (args: string, selection: string) =>
    send(client, `mutation { upscaleImage(input: { ${args} }) ${selection} }`)
  answers.push(
    await inline('taskId: "sandbox-code-404", imageIndex: 0', '{ replayed }'),
    await inline('taskId: "sandbox-code-404", imageIndex: 0', '{ again: task { id } task { id } }'),
    await inline('taskId: "rules", imageIndex: 4', '{ replayed }'),
    await inline('taskId: " rules", imageIndex: 0', '{ replayed }'),
    await inline('taskId: "rules", imageIndex: 0, engine: "other"', '{ replayed }'),
  )
  const query = `query Read($id: ID!, $more: Boolean = false) {
    one: upscaleTask(id: $id) { ...Facts __typename }
    none: upscaleTask(id: "unknown") { id }
    upscaleErrors { code upstreamCode description retryable retryAfterMs }
  }
  fragment Facts on UpscaleTask { key: id source { id } ... on UpscaleTask { imageIndex waterMark } version @include(if: $more) }`
  answers.push(
    await send(client, query, { id }),
    await send(client, query, { id, more: true }),
    await send(client, '{ upscaleTask(id: "unclosed" }'),
    await send(client, 'query A { __typename } query B { __typename }'),
    await send(client, 'mutation { cancelUpscale(id: "unknown") { id } }'),
    await send(client, 'subscription { taskUpdated(id: "unknown") { id } }'),
    await send(client, 'subscription { tasksUpdated(ids: ["unknown"]) { id } }'),
    await send(client, 'subscription { tasksUpdated(ids: []) { id } }'),
    await send(client, 'mutation ($id: ID!) { cancelUpscale(id: $id) { id } }', { id }),
    await send(
      client,
      '{ upscaleTasks(first: 2) { edges { node { status problem { code } } } pageInfo { hasNextPage } } }',
    ),
    await send(client, 'mutation ($id: ID!) { deleteUpscaleTask(id: $id) }', { id }),
  )
  const failing = await submit(client, { taskId: 'sandbox-callback-505', imageIndex: 0 })
  answers.push(failing, await toEnd(follow, failing.task?.id))
  return answers
}

/**
 * Many pictures: two succeed, one is refused, and one, the last because it stops the queue, waits and is
 * canceled.
 */
async function playMany(client: Transport) {
  const query = `mutation Many($input: UpscaleImagesInput!) {
    upscaleImages(input: $input) { results { replayed task { id status queue { position } } problem { code } } }
  }`
  const taskIds = ['many', 'sandbox-code-422', 'other', 'sandbox-http-429']
  const input = { inputs: taskIds.map((taskId) => ({ taskId, imageIndex: 0 })), idempotencyKey: 'many' }
  const answer = await run<{ upscaleImages: { results: Payload[] } }>(client, query, { input })
  const ids = answer.upscaleImages.results.flatMap(({ task }) => task?.id ?? [])
  const waiting = answer.upscaleImages.results[3]?.task?.id ?? ''
  const replayed = await run<{ upscaleImages: { results: Payload[] } }>(client, query, { input })
  const canceled = await send(
    client,
    `mutation { cancelUpscale(id: "${waiting}") { version status problem { code taskId } } }`,
  )
  const states = new Map<string, FollowedTaskOfMany>()
  for await (const state of followTasks(client, { ids, selection: 'problem { code } queue { position }' }))
    states.set(state.id, state)
  const flags = replayed.upscaleImages.results.map((each) => each.replayed)
  const final = ids.map((id) => states.get(id))
  const places = answer.upscaleImages.results.map(({ problem, task }) => ({
    problem,
    waits: task?.queue ?? null,
  }))
  return { places, flags, canceled, final }
}

describe('the scripted gateway', () => {
  test('shows the same as a gateway in sandbox mode, for each script', async () => {
    const expected = await playOnSandbox()
    const played = await playInMemory()
    // On a busy machine a stream begins late, and then without the first states. `history` has them all.
    const seen = played.map((each, index) => ({
      ...each,
      states: each.states.slice(-(expected[index]?.states.length ?? 0)),
    }))
    expect(seen).toEqual(expected)
  }, 90_000)

  test('answers as a gateway in sandbox mode: replays, keys, errors, aliases and fragments', async () => {
    await using gateway = await startGateway()
    const client = connect(gateway.url)
    const expected = normalize([await playRules(client), await playMany(client)])
    await client.dispose()
    const scripted = createScriptedGateway({ completeAfterMs: 20 })
    expect(normalize([await playRules(scripted), await playMany(scripted)])).toEqual(expected)
    scripted.reset()
  })
})

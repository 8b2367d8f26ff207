import { followTasks } from 'upscale-gateway-client'
import type { Failure } from '../failure.ts'
import { toThrownFailure } from '../failure.ts'
import type { Session } from '../session.ts'
import { createStore, type Store } from '../store.ts'
import {
  CANCEL,
  TASK,
  TASK_FIELDS,
  UPSCALE,
  type SourcePicture,
  type Task,
  type UpscaleData,
} from './operations.ts'

/** What is asked for one picture. */
export interface TryRequest {
  readonly taskId: string
  readonly imageIndex: number
  readonly waterMark: string
  /** Empty: the gateway chooses. */
  readonly engine: string
  readonly queue: boolean
  /** Pay again even if there is a task for the picture. */
  readonly force: boolean
  readonly sourceImage: SourcePicture | null
}

/** One card: a picture from the press of the button to its result. */
export interface Try {
  readonly key: string
  /** Null after a reload, until the task is known. */
  readonly request: TryRequest | null
  /** By this browser's clock. */
  readonly startedAt: number
  /** Known with the answer to the submit. */
  readonly id: string | null
  readonly task: Task | null
  /** Why it was refused, has failed, or cannot be followed. */
  readonly failure: Failure | null
  /** True: there was a task for the picture already, and nothing was sent. */
  readonly isReplayed: boolean
}

export interface Tries {
  /** The source task of the form: it is kept while another page is shown. */
  readonly source: Store<string>
  readonly all: Pick<Store<readonly Try[]>, 'get' | 'subscribe'>
  /** Submits pictures of one source task in one request. */
  submit(requests: readonly TryRequest[]): void
  /** Follows these tasks, if they are not on the screen. */
  restore(ids: readonly string[]): void
  /** Submits a refused or failed picture again, or follows its task again. */
  retry(key: string): void
  cancel(key: string): void
  clear(): void
}

/** A stream follows 50 tasks at most. */
const MAX_TRIES = 48
/** When a succeeded task is queried for facts that are missing: a copy may be made later, and a source be found. */
const CHECKS_MS = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000]

const isSettled = (task: Task | null): boolean => task?.status === 'SUCCEEDED' || task?.status === 'FAILED'

/** A random key, also on plain HTTP, where there is no `randomUUID`. */
function randomKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('')
}

export function createTries(session: Pick<Session, 'execute' | 'transport'>): Tries {
  const store = createStore<readonly Try[]>([])
  const update = (key: string, change: Partial<Try>) =>
    store.set(store.get().map((each) => (each.key === key ? { ...each, ...change } : each)))
  const take = (task: Task) => {
    const old = store.get().find(({ id }) => id === task.id)
    if (!old || (old.task && old.task.version > task.version)) return
    update(old.key, { task, failure: task.problem })
    if (isIncomplete(task) && old.task?.status !== 'SUCCEEDED') void completeFacts(session, task.id, take)
  }
  const follow = async (ids: readonly string[]) => {
    const pending = ids.filter((id) => !isSettled(store.get().find((each) => each.id === id)?.task ?? null))
    const fail = (id: string, error: unknown) => {
      const found = store.get().find((each) => each.id === id)
      if (found && !isSettled(found.task)) update(found.key, { failure: toThrownFailure(error) })
    }
    if (pending.length === 0) return
    try {
      const request = { ids: pending, selection: TASK_FIELDS, onError: fail }
      for await (const task of followTasks<Task>(session.transport, request)) take(task)
    } catch (error) {
      for (const id of pending) fail(id, error)
    }
  }
  const send = async (tries: readonly Try[]) => {
    const outcomes = await submit(session, tries)
    const ids = outcomes.flatMap(({ id }) => id ?? [])
    const isSent = (key: string) => tries.some((each) => each.key === key)
    // A replayed task may be on the screen: its card moves to the new place.
    store.set(store.get().filter(({ key, id }) => isSent(key) || id === null || !ids.includes(id)))
    for (const [index, { key }] of tries.entries()) update(key, outcomes[index] ?? {})
    await follow(ids)
  }
  const begin = (key: string, request: TryRequest): Try => ({ ...EMPTY, key, request, startedAt: Date.now() })
  return {
    source: createStore(''),
    all: store,
    submit(requests) {
      const press = randomKey()
      const tries = requests.map((request) => begin(`${press}-${request.imageIndex}`, request))
      store.set([...tries, ...store.get()].slice(0, MAX_TRIES))
      void send(tries)
    },
    restore(ids) {
      const known = store.get().map(({ id }) => id)
      const added = ids.filter((id, index) => !known.includes(id) && ids.indexOf(id) === index)
      if (added.length === 0) return
      const tries = added.map((id): Try => ({ ...EMPTY, key: id, id, startedAt: Date.now() }))
      store.set([...store.get(), ...tries].slice(0, MAX_TRIES))
      void follow(added)
    },
    retry(key) {
      const found = store.get().find((each) => each.key === key)
      if (!found) return
      const request = found.request ?? (found.task && toRequest(found.task))
      if (found.id !== null && !isSettled(found.task)) {
        update(key, { failure: null })
        void follow([found.id])
      } else if (request) {
        const next = begin(`${randomKey()}-${request.imageIndex}`, request)
        store.set(store.get().map((each) => (each === found ? next : each)))
        void send([next])
      }
    },
    cancel(key) {
      const id = store.get().find((each) => each.key === key)?.id
      if (id == null) return
      void session.execute<{ cancelUpscale: Task | null }>(CANCEL, { id }).then(({ data }) => {
        if (data?.cancelUpscale) take(data.cancelUpscale)
      })
    },
    clear: () => store.set([]),
  }
}

const EMPTY = { request: null, id: null, task: null, failure: null, isReplayed: false } as const

/** Sends one request, again until an answer arrives: with its idempotency key it pays once. */
async function submit({ execute }: Pick<Session, 'execute'>, tries: readonly Try[]): Promise<Partial<Try>[]> {
  const first = tries[0]?.request
  if (!first) return []
  const input = {
    taskId: first.taskId,
    imageIndices: tries.map(({ request }) => request?.imageIndex),
    waterMark: first.waterMark === '' ? null : first.waterMark,
    engine: first.engine === '' ? null : first.engine,
    queue: first.queue,
    force: first.force,
    idempotencyKey: tries[0]?.key,
  }
  const { data, failures } = await execute<UpscaleData>(UPSCALE, { input }, { repeat: true })
  const results = data?.upscaleImages?.results
  return tries.map((_, index) => {
    const result = results?.[index]
    if (!result) return { failure: failures[0] ?? null }
    const { task, problem, replayed } = result
    return { id: task?.id ?? null, task, failure: problem ?? task?.problem ?? null, isReplayed: replayed }
  })
}

/** Whether facts of a succeeded task may become known later: no event tells. */
function isIncomplete({ images }: Task): boolean {
  return (
    images?.some(({ copyState, enlargement }) => copyState === 'PENDING' || enlargement === null) ?? false
  )
}

async function completeFacts(
  { execute }: Pick<Session, 'execute'>,
  id: string,
  take: (task: Task) => void,
): Promise<void> {
  for (const ms of CHECKS_MS) {
    await new Promise((resolve) => setTimeout(resolve, ms))
    const { data } = await execute<{ upscaleTask: Task | null }>(TASK, { id }, { repeat: true })
    const task = data?.upscaleTask
    if (task) take(task)
    if (!task || !isIncomplete(task)) return
  }
}

function toRequest({ source, imageIndex, waterMark, sourceImage }: Task): TryRequest {
  const options = { engine: '', queue: true, force: false }
  return {
    taskId: source.id,
    imageIndex,
    waterMark: waterMark ?? '',
    sourceImage: sourceImage ?? null,
    ...options,
  }
}

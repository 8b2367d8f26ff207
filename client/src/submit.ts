import { toRequest, type TypedDocument } from './document.ts'
import { FollowError, PROBLEM, type Problem } from './errors.ts'
import type { FollowedTask } from './follow.ts'
import { readOne } from './results.ts'
import { repeat } from './retry.ts'
import type { Transport } from './transport.ts'

/** What to upscale: `UpscaleImageInput` of the schema. */
export interface UpscaleImageInput {
  /** The id of the Midjourney generation task. */
  readonly taskId: string
  /** Which of the task's four pictures: 0 to 3. */
  readonly imageIndex: number
  /** A watermark to draw. */
  readonly waterMark?: string | null | undefined
  /** The URL to which the final state is delivered. */
  readonly callBackUrl?: string | null | undefined
  /**
   * Submits with the same key return the same task for 24 hours. Default: a new key for each call of
   * `submit`.
   */
  readonly idempotencyKey?: string | null | undefined
  /** Submit and pay again, even if a task for the same picture is running or has succeeded. */
  readonly force?: boolean | null | undefined
  /** Whether the task waits in the queue while the upscale service takes no tasks. */
  readonly queue?: boolean | null | undefined
  /** The engine that upscales. Default: the gateway chooses. */
  readonly engine?: string | null | undefined
}

/** The fields of a submitted task. `selection` adds more. */
export interface SubmittedTask extends FollowedTask {
  readonly id: string
}

export interface SubmitRequest<Task = SubmittedTask> {
  readonly input: UpscaleImageInput
  /** The fields of the task to select besides `id`, `version` and `status`. */
  readonly selection?: string | undefined
  /**
   * Instead of `selection`: a mutation with `upscaleImage(input: $input)` that selects `task` and, for exact
   * errors, `problem`. `replayed` and `watchToken` are returned if it selects them.
   */
  readonly document?:
    TypedDocument<{ readonly upscaleImage?: { readonly task?: Task | null } | null }> | undefined
  /** Ends the submit at once. The task may have been created. */
  readonly signal?: AbortSignal | undefined
}

export interface Submitted<Task = SubmittedTask> {
  readonly task: Task
  /** Whether nothing was sent, because a task for the request already existed. */
  readonly replayed: boolean
  /** With it another caller can follow the task; null if the gateway issues none. */
  readonly watchToken: string | null
}

interface Payload<Task> {
  readonly task?: Task | null
  readonly replayed?: boolean
  readonly watchToken?: string | null
  readonly problem?: Problem | null
}

/** About 45 seconds. */
const MAX_RETRIES = 7

/**
 * Submits an upscale. After a lost connection or an outage of the gateway it repeats the same request, up to
 * 7 times in about 45 seconds. The idempotency key (by default a random one for each call) makes sure that it
 * is paid once.
 * @throws FollowError if the upscale is refused, with the code of the refusal; ABORTED if the signal aborts.
 */
export async function submit<Task = SubmittedTask>(
  client: Transport,
  { input, ...request }: SubmitRequest<Task>,
): Promise<Submitted<Task>> {
  const idempotencyKey = input.idempotencyKey ?? createKey()
  const sent = { ...request, input: { ...input, idempotencyKey } }
  return repeat(() => submitOnce(client, sent), { signal: request.signal, maxRetries: MAX_RETRIES })
}

/** An idempotency key. `crypto.randomUUID` exists in secure contexts only. */
export const createKey = (): string => crypto.getRandomValues(new Uint32Array(4)).join('-')

/** @throws FollowError as `submit` does. */
export async function submitOnce<Task>(
  client: Transport,
  { input, selection = '', document, signal }: SubmitRequest<Task>,
): Promise<Submitted<Task>> {
  const query = `mutation Submit($input: UpscaleImageInput!) {
  upscaleImage(input: $input) { replayed watchToken task { id version status ${selection} } ${PROBLEM} }
}`
  const request = toRequest(document ?? query, () => ({ input }))
  const reading = { field: 'upscaleImage', signal }
  const { value, error } = await readOne<Payload<Task>>(client, request, reading)
  const { task, replayed = false, watchToken = null, problem } = value ?? {}
  if (task) return { task, replayed, watchToken }
  throw problem ? new FollowError(problem.code, problem.message, problem) : error
}

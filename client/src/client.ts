/**
 * For frontends: how to follow tasks with graphql-ws so that neither a lost connection, nor a replica or a router
 * that stops, loses anything. Runs in browsers, and imports nothing at run time.
 */
import type { GraphQLFormattedError } from 'graphql'
import type { Client, ClientOptions, SubscribePayload } from 'graphql-ws'

/** What `toClientOptions` needs to know. */
export interface ConnectionSettings {
  /** Where to connect: `wss://…/graphql`, of the gateway or of a router before it. */
  readonly url: string
  /**
   * Returns the `Authorization` value (`Bearer …`) for each new connection; refresh an expired token here. It is awaited
   * before the connection is opened, so it has no time limit. If it rejects, it is retried as after a lost connection.
   */
  readonly getAuthorization?: () => string | undefined | Promise<string | undefined>
  /** Opens the connection for a caller without a bearer token. */
  readonly watchToken?: string
}

const FIRST_RETRY_MS = 500
const LAST_RETRY_MS = 30_000
const PING_EVERY_MS = 10_000
const PONG_WITHIN_MS = 5_000
/** Close codes. 4401: the token is missing or invalid. 4403: it has expired, or (from other servers) lacks permission. */
const UNAUTHORIZED = 4401
const FORBIDDEN = 4403
/** Our own close code: the connection is dead. */
const CONNECTION_LOST = 4408

/**
 * Options for graphql-ws's `createClient`. A lost connection is retried without limit, after 0.5 s at first and at most
 * 30 s, with jitter, so that many clients do not reconnect at once. Pings find a dead connection within 15 s. Operations
 * fail only if the token is refused (4401, HTTP 401 and 403, or 4403 unless the token has expired), or if a message
 * cannot be parsed.
 */
export function toClientOptions({ url, getAuthorization, watchToken }: ConnectionSettings): ClientOptions {
  let socket: ClosableSocket | undefined
  let deadline: ReturnType<typeof setTimeout> | undefined
  let authorization: Promise<string | undefined> | undefined
  return {
    // graphql-ws awaits this before it opens the socket, so that the server's time for connection_init does not run yet.
    async url() {
      authorization = Promise.resolve().then(() => getAuthorization?.())
      // A rejection here would leave graphql-ws waiting for ever; `connectionParams` may reject.
      await authorization.catch(() => undefined)
      return url
    },
    async connectionParams() {
      const value = await authorization
      return {
        ...(value !== undefined && { Authorization: value }),
        ...(watchToken !== undefined && { watchToken }),
      }
    },
    retryAttempts: Infinity,
    retryWait: (retries) => wait(toRetryMs(retries)),
    shouldRetry: (event) => hasExpired(event) || !LASTING.includes(toAuthError(event)?.code ?? ''),
    keepAlive: PING_EVERY_MS,
    on: {
      opened: (opened) => (socket = opened as typeof socket),
      ping(received) {
        if (received) return
        const pinged = socket
        deadline = setTimeout(() => pinged && giveUp(pinged), PONG_WITHIN_MS)
      },
      pong(received) {
        if (received) clearTimeout(deadline)
      },
      closed: () => clearTimeout(deadline),
    },
  }
}

interface ClosableSocket {
  close(code: number, reason: string): void
  onclose: ((event: { code: number; reason: string; wasClean: boolean }) => void) | null
}

/** Counts a connection as closed at once: a dead one never answers the close. */
function giveUp(socket: ClosableSocket): void {
  const event = { code: CONNECTION_LOST, reason: 'No pong', wasClean: false }
  const { onclose } = socket
  socket.onclose = null
  socket.close(event.code, event.reason)
  onclose?.call(socket, event)
}

/** What every event of a followed task holds; more by `selection`. */
export interface FollowedTask {
  readonly version: number
  readonly status: 'SUBMITTED' | 'PROCESSING' | 'SUCCEEDED' | 'FAILED'
}

/** Which task to follow, and what of it to see. */
export interface FollowRequest {
  readonly id: string
  /** The fields to select besides `version` and `status`, e.g. `images { url } problem { code message }`. */
  readonly selection?: string
  /** The version that is known already: only newer states are shown. */
  readonly afterVersion?: number
  /** For a task of someone else. */
  readonly watchToken?: string
  /** Ends the following at once, whatever it waits for. */
  readonly signal?: AbortSignal
}

/** A task cannot be followed. `code` is the one of the error catalogue, e.g. TASK_NOT_FOUND or UNAUTHENTICATED. */
export class FollowError extends Error {
  override readonly name = 'FollowError'
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

const SETTLED = ['SUCCEEDED', 'FAILED']
/** Errors that a retry cannot fix. */
const LASTING = [
  'TASK_NOT_FOUND',
  'UNAUTHENTICATED',
  'FORBIDDEN',
  'BAD_USER_INPUT',
  'BAD_REQUEST',
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
]
/** How often any other error may come before one gives up: routers may hide what it is. */
const MAX_FAILURES = 10

/**
 * Follows a task with `taskUpdated` until it has settled: each state once, in order. A stream that ends before that,
 * because a replica or a router on the way stops, is opened again after the version that was seen last.
 * @throws FollowError if the task is not found, the token is missing, invalid or lacks permission, or errors persist; a
 * CloseEvent if the connection failed for another reason.
 */
export async function* followTask<Task extends FollowedTask = FollowedTask>(
  client: Pick<Client, 'iterate'>,
  { id, selection = '', afterVersion, watchToken, signal }: FollowRequest,
): AsyncGenerator<Task, void> {
  let seen = afterVersion ?? -1
  let known = afterVersion ?? null
  // graphql-ws sends the same payload again when it connects again: by then, with the version that it has got.
  const variables = {
    id,
    watchToken: watchToken ?? null,
    get afterVersion() {
      return known
    },
  }
  const query = toQuery(selection)
  for (let failures = 0, fruitless = 0; !signal?.aborted; fruitless += 1) {
    for await (const result of iterate<Task>(client, { query, variables }, signal)) {
      const task = result.data?.taskUpdated
      if (!task) {
        failures += 1
        const error = toFollowError(result.errors ?? [])
        if (failures > MAX_FAILURES || LASTING.includes(error.code)) throw error
        continue
      }
      failures = 0
      known = task.version
      const settled = SETTLED.includes(task.status)
      // Whatever stands between may repeat itself, or be behind; a final state counts all the same.
      if (task.version > seen || (settled && task.version !== seen)) {
        seen = task.version
        fruitless = 0
        yield task
      }
      if (settled) return
    }
    // It may have ended because what we know is the end: the state itself says so.
    known = null
    await wait(toRetryMs(fruitless), signal)
  }
}

interface Result<Task> {
  readonly data?: { taskUpdated: Task | null } | null | undefined
  readonly errors?: readonly GraphQLFormattedError[] | undefined
}

/** The results of a subscription; what ends it with errors is one of them. */
async function* iterate<Task>(
  client: Pick<Client, 'iterate'>,
  payload: SubscribePayload,
  signal: AbortSignal | undefined,
): AsyncGenerator<Result<Task>> {
  if (signal?.aborted) return
  const events = client.iterate<{ taskUpdated: Task | null }>(payload)
  // A generator that waits cannot be ended from outside; this one of graphql-ws can.
  const end = () => void events.return?.()
  signal?.addEventListener('abort', end)
  try {
    yield* events
  } catch (errors) {
    if (Array.isArray(errors)) yield { errors: errors as GraphQLFormattedError[] }
    else if (isPassing(errors)) yield { errors: [{ message: 'The connection was closed.' }] }
    else throw toAuthError(errors) ?? errors
  } finally {
    signal?.removeEventListener('abort', end)
  }
}

/** How graphql-ws fails: with a CloseEvent, an ErrorEvent, or an error. */
interface Failure {
  readonly code?: unknown
  readonly reason?: unknown
  readonly message?: unknown
}

function toFailure(error: unknown): Failure {
  return typeof error === 'object' && error !== null ? error : {}
}

/** Whether a connection that graphql-ws has given up may be made again: faults of the server pass. */
function isPassing(error: unknown): boolean {
  const { code } = toFailure(error)
  return code === 1011 || code === 4500
}

function hasExpired(error: unknown): boolean {
  const { code, reason } = toFailure(error)
  return code === FORBIDDEN && reason === 'TOKEN_EXPIRED'
}

/** The error of a connection whose token was refused; else undefined. Browsers do not expose an HTTP status. */
function toAuthError(error: unknown): FollowError | undefined {
  const { code, reason, message } = toFailure(error)
  const status = typeof message === 'string' ? /server response: (401|403)$/.exec(message)?.[1] : undefined
  if (code === UNAUTHORIZED || status === '401' || hasExpired(error) || reason === 'UNAUTHENTICATED')
    return new FollowError('UNAUTHENTICATED', 'The token is missing, invalid or expired.')
  if (code === FORBIDDEN || status === '403')
    return new FollowError('FORBIDDEN', 'The token lacks permission for this server.')
  if (reason === 'AUTH_UNAVAILABLE')
    return new FollowError(reason, 'Tokens cannot be verified at the moment.')
  return undefined
}

function toQuery(selection: string): string {
  return `subscription FollowTask($id: ID!, $afterVersion: Int, $watchToken: String) {
  taskUpdated(id: $id, afterVersion: $afterVersion, watchToken: $watchToken) { version status ${selection} }
}`
}

function toFollowError([error]: readonly GraphQLFormattedError[]): FollowError {
  const code = error?.extensions?.code
  return new FollowError(
    typeof code === 'string' ? code : 'UNKNOWN',
    error?.message ?? 'No task and no error came.',
  )
}

/** Twice as long each time, and anywhere in the upper half of it. */
function toRetryMs(retries: number): number {
  return Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** retries) * (0.5 + Math.random() / 2)
}

function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal?.addEventListener('abort', end)
  })
}

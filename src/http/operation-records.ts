import { createHash } from 'node:crypto'
import { GraphQLError, type ExecutionResult, type OperationDefinitionNode } from 'graphql'
import type { FollowedTask, OperationRecord } from '../graphql/context.ts'
import type { Clock, Log } from '../tasks/ports.ts'
import { toTraceId, type Span, type SpanStart, type Tracing } from '../tasks/tracing.ts'

interface RecordsOptions {
  readonly tracing: Tracing
  readonly clock: Pick<Clock, 'elapsed'>
  /** Receives a line for each operation; null: no access log. */
  readonly accessLog: Pick<Log, 'info'> | null
  /** Called when an operation has ended: its type and outcome code, and its duration. */
  readonly onOperation: (type: string, code: string, ms: number) => void
}

interface Request {
  readonly transport: 'http' | 'websocket' | 'sse'
  /** Null: a guest. */
  readonly owner: string | null
  readonly correlationId: string
  /** The trace of the request. */
  readonly traceparent: string | null
}

/**
 * What the client calls an operation, and what it selects. Unlike the name, the fields are those of the
 * schema.
 */
interface Described {
  readonly type: string
  readonly name: string | null
  readonly fields: string
}

const UNKNOWN: Described = { type: 'unknown', name: null, fields: '' }
/** The name that the semantic conventions for GraphQL give to a span of an unknown operation. */
const UNKNOWN_SPAN = 'GraphQL Operation'
const UNEXPECTED = 'INTERNAL_SERVER_ERROR'
const MAX_NAME_LENGTH = 100
const MAX_FIELDS = 3

/** Opens the records of operations. */
export type OperationRecords = (request: Request) => RunningOperation

export function createOperationRecords(options: RecordsOptions): OperationRecords {
  return (request) => new RunningOperation(options, request)
}

/** An operation from its request to its end, which has a span, a line in the access log and a metric. */
export class RunningOperation implements OperationRecord {
  readonly #options: RecordsOptions
  readonly #request: Request
  readonly #startedAt: number
  #described = UNKNOWN
  #span: Span | undefined
  #traceparent: string | null
  #code: string | undefined
  #followed: FollowedTask | undefined
  #outlivesRequest = false
  #hasEnded = false

  constructor(options: RecordsOptions, request: Request) {
    this.#options = options
    this.#request = request
    this.#startedAt = options.clock.elapsed()
    this.#traceparent = request.traceparent
  }

  get correlationId(): string {
    return this.#request.correlationId
  }

  get traceparent(): string | null {
    return this.#traceparent
  }

  describe(operation: OperationDefinitionNode, name: string | null | undefined): void {
    this.#described = {
      type: operation.operation,
      name: (name ?? operation.name?.value ?? null)?.slice(0, MAX_NAME_LENGTH) ?? null,
      fields: toFields(operation),
    }
    this.#span?.rename(this.#toSpanName())
    this.#span?.set(this.#toAttributes())
  }

  follow(task: FollowedTask): void {
    this.#followed = task
  }

  outliveRequest(): void {
    this.#outlivesRequest = true
  }

  /** The first code counts. */
  note(code: string): void {
    this.#code ??= code
  }

  noteErrors({ errors }: { readonly errors?: ExecutionResult['errors'] | undefined }): void {
    const [error] = errors ?? []
    if (error !== undefined) this.noteError(error)
  }

  noteError(error: unknown): void {
    const code = error instanceof GraphQLError ? error.extensions.code : undefined
    this.note(typeof code === 'string' ? code : UNEXPECTED)
  }

  /** Runs the operation, or the start of a subscription, within its span. */
  within<T>(work: () => Promise<T>): Promise<T> {
    return this.#options.tracing.run(this.#toStart(), async (span) => {
      this.#span = span
      this.#traceparent = span.traceparent
      try {
        return await work()
      } catch (error) {
        this.noteError(error)
        throw error
      } finally {
        if (this.#code !== undefined) span.fail(this.#code)
        this.#span = undefined
      }
    })
  }

  /** Records an operation that is refused before it begins. */
  refuse(errors: readonly GraphQLError[]): void {
    this.noteErrors({ errors })
    void this.within(() => Promise.resolve())
    this.end()
  }

  /** Records the end of the request, unless the operation outlives it. */
  endRequest(): void {
    if (!this.#outlivesRequest) this.end()
  }

  /** Writes the line in the access log. Further calls have no effect. */
  end(): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    const { clock, accessLog, onOperation } = this.#options
    const { transport, owner, correlationId } = this.#request
    const { type, name, fields } = this.#described
    const code = this.#code ?? 'OK'
    const ms = clock.elapsed() - this.#startedAt
    onOperation(type, code, ms)
    accessLog?.info(
      {
        type,
        name,
        fields,
        durationMs: Math.round(ms),
        code,
        owner: owner === null ? null : toOwnerHash(owner),
        transport,
        correlationId,
        ...(this.#traceparent !== null && { traceId: toTraceId(this.#traceparent) }),
      },
      'an operation ended',
    )
  }

  /**
   * Records the end of a subscription, in a span of its own: the stream may be longer than a trace is kept
   * open.
   */
  endStream(): Promise<void> {
    if (this.#hasEnded) return Promise.resolve()
    this.end()
    const traceparent = this.#traceparent
    const task = this.#followed?.traceparent() ?? null
    const isSameTrace = task !== null && traceparent !== null && toTraceId(task) === toTraceId(traceparent)
    const start = {
      ...this.#toStart(),
      name: `${this.#toSpanName()} end`,
      kind: 'internal',
      traceparent,
      links: isSameTrace ? [] : [task],
    } as const
    return this.#options.tracing.run(start, (span) => {
      if (this.#code !== undefined) span.fail(this.#code)
      return Promise.resolve()
    })
  }

  #toStart(): SpanStart {
    const { traceparent } = this.#request
    return { name: this.#toSpanName(), kind: 'server', traceparent, attributes: this.#toAttributes() }
  }

  #toSpanName(): string {
    const { type, fields } = this.#described
    if (this.#described === UNKNOWN) return UNKNOWN_SPAN
    return fields === '' ? type : `${type} ${fields}`
  }

  #toAttributes() {
    const { type, name } = this.#described
    const { correlationId, transport } = this.#request
    return {
      'graphql.operation.type': this.#described === UNKNOWN ? undefined : type,
      'graphql.operation.name': name ?? undefined,
      'upscale.transport': transport,
      'upscale.correlation_id': correlationId,
    }
  }
}

/** The names of the first root fields. Those in fragments are left out. */
function toFields({ selectionSet }: OperationDefinitionNode): string {
  const names = new Set(selectionSet.selections.flatMap((each) => ('name' in each ? [each.name.value] : [])))
  return [...names].slice(0, MAX_FIELDS).join(',')
}

/** Tells owners apart, without showing who they are: 16 hexadecimal digits of SHA-256. */
function toOwnerHash(owner: string): string {
  return createHash('sha256').update(owner).digest('hex').slice(0, 16)
}

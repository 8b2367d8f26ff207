/** Picks the selected fields of complete objects. */
import { collectFields, type Field, type GraphqlDocument } from './document.ts'
import type { ProblemShape, Shape } from './shapes.ts'

export interface GraphqlError {
  readonly message: string
  readonly path?: readonly (string | number)[]
  readonly extensions: Readonly<Record<string, unknown>>
}

export interface GraphqlResult {
  readonly data?: Readonly<Record<string, unknown>> | null
  readonly errors?: readonly GraphqlError[]
}

/** A refused request, with the code and message of the gateway. */
export class RequestError extends Error {
  readonly code: string
  readonly facts: Readonly<Record<string, unknown>>

  constructor(code: string, message: string, facts: Readonly<Record<string, unknown>> = {}) {
    super(message)
    this.name = 'RequestError'
    this.code = code
    this.facts = facts
  }
}

/** The error as clients get it, with the keys that all errors of the gateway have. */
export function toGraphqlError({ code, message, facts }: RequestError, correlationId: string): GraphqlError {
  const shared = { retryable: false, retryAfterMs: null, upstreamCode: null, taskId: null, correlationId }
  return { message, extensions: { code, ...shared, ...facts } }
}

/** The typed error of a failure. */
export function toProblemError({ __typename: _, message, ...extensions }: ProblemShape): GraphqlError {
  return { message, extensions }
}

/** The field that a failure leaves null: it has the typed error, unless `problem` is selected beside it. */
const REPORTERS: Readonly<Record<string, string>> = { UpscaleTask: 'images', UpscaleImagePayload: 'task' }

/** Picks from values, and collects the typed errors of failures. */
export class Picker {
  readonly errors: GraphqlError[] = []
  readonly #document: GraphqlDocument
  readonly #variables: Readonly<Record<string, unknown>>

  constructor(document: GraphqlDocument, variables: Readonly<Record<string, unknown>>) {
    this.#document = document
    this.#variables = variables
  }

  fields(field: Pick<Field, 'selections'>): Field[] {
    return collectFields(field.selections, this.#document, this.#variables)
  }

  /** The selected part of a value of this field. */
  pick(value: unknown, field: Field, path: readonly (string | number)[]): unknown {
    if (Array.isArray(value)) return value.map((item, index) => this.pick(item, field, [...path, index]))
    if (!isShape(value)) return value
    const fields = this.fields(field)
    if (fields.length === 0)
      throw invalid(`Field "${field.name}" of type "${value.__typename}" must have a selection of subfields.`)
    const picked = fields.map((each) => {
      if (!(each.name in value))
        throw invalid(`Cannot query field "${each.name}" on type "${value.__typename}".`)
      const inner = [...path, each.key]
      this.#report(value, each, { fields, path: inner })
      return [each.key, this.pick(value[each.name], each, inner)] as const
    })
    return Object.fromEntries(picked)
  }

  #report(
    value: Shape,
    { name, key }: Field,
    { fields, path }: { readonly fields: readonly Field[]; readonly path: readonly (string | number)[] },
  ): void {
    const { problem } = value
    if (name !== REPORTERS[value.__typename] || !isProblem(problem)) return
    const isFirst = fields.find((each) => each.name === name)?.key === key
    if (isFirst && !fields.some((each) => each.name === 'problem'))
      this.errors.push({ ...toProblemError(problem), path })
  }
}

export function isProblem(value: unknown): value is ProblemShape {
  return isShape(value) && value.__typename === 'UpscaleProblem'
}

function isShape(value: unknown): value is Shape {
  return typeof value === 'object' && value !== null && '__typename' in value
}

function invalid(message: string): RequestError {
  return new RequestError('GRAPHQL_VALIDATION_FAILED', message)
}

/** Reads and runs one operation. */
import { parseDocument, readArgs, type Field, type GraphqlDocument, type Operation } from './document.ts'
import {
  isProblem,
  Picker,
  RequestError,
  toGraphqlError,
  toProblemError,
  type GraphqlError,
  type GraphqlResult,
} from './execute.ts'
import { isRefusal, toFailureError, type Failure } from './failures.ts'
import { MUTATIONS, QUERIES } from './operations.ts'
import type { ScriptedTasks } from './tasks.ts'

type Values = Readonly<Record<string, unknown>>

/** An operation that was read. */
export interface Prepared {
  readonly document: GraphqlDocument
  readonly kind: Operation['kind']
  /** Its fields, with fragments applied. */
  readonly fields: readonly Field[]
  readonly variables: Values
}

/** @throws RequestError if the gateway would refuse the document or the variables. */
export function prepare(query: string, variables: Values, operationName: string | null): Prepared {
  const document = parse(query)
  const operation = findOperation(document, operationName)
  const values = toVariables(operation, variables)
  return {
    document,
    kind: operation.kind,
    fields: new Picker(document, values).fields(operation),
    variables: values,
  }
}

function parse(query: string): GraphqlDocument {
  try {
    return parseDocument(query)
  } catch (error) {
    throw new RequestError('GRAPHQL_PARSE_FAILED', error instanceof Error ? error.message : String(error))
  }
}

function findOperation({ operations }: GraphqlDocument, name: string | null): Operation {
  const [operation] = operations.filter((each) => name === null || each.name === name)
  if (operation === undefined || (name === null && operations.length > 1))
    throw new RequestError(
      'OPERATION_RESOLUTION_FAILURE',
      name === null
        ? 'Must provide operation name if query contains multiple operations.'
        : `Unknown operation named "${name}".`,
    )
  return operation
}

function toVariables({ variables }: Operation, sent: Values): Record<string, unknown> {
  const entries = variables.map(({ name, isRequired, defaultValue }) => {
    const value = sent[name] === undefined ? defaultValue?.({}) : sent[name]
    if (isRequired && value == null)
      throw new RequestError('BAD_USER_INPUT', `Variable "$${name}" of required type was not provided.`, {
        field: name,
      })
    return [name, value] as const
  })
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined))
}

export function unknownField(name: string, type: string): RequestError {
  return new RequestError('GRAPHQL_VALIDATION_FAILED', `Cannot query field "${name}" on type "${type}".`)
}

/** Whether an error concerns one field, and not the whole document. */
export function isFieldError(error: unknown): error is RequestError {
  return error instanceof RequestError && error.code !== 'GRAPHQL_VALIDATION_FAILED'
}

interface ExecuteContext {
  readonly tasks: ScriptedTasks
  readonly correlationId: string
  readonly failure: Failure | undefined
}

/** Runs a query or a mutation, one field after the other. @throws RequestError if the document is invalid. */
export async function execute(
  { document, kind, fields, variables }: Prepared,
  { tasks, correlationId, failure }: ExecuteContext,
): Promise<GraphqlResult> {
  const [resolvers, type] = kind === 'mutation' ? [MUTATIONS, 'Mutation'] : [QUERIES, 'Query']
  const picker = new Picker(document, variables)
  const errors: GraphqlError[] = []
  const data: Record<string, unknown> = {}
  for (const field of fields) {
    const path = [field.key]
    const resolve = resolvers[field.name]
    if (resolve === undefined) throw unknownField(field.name, type)
    try {
      const refuseWith = failure && isRefusal(failure) && isSubmit(field) ? failure.code : null
      if (failure && refuseWith === null) throw toFailureError(failure)
      const value = await resolve(readArgs(field.args, variables), { tasks, correlationId, refuseWith })
      const error = toPayloadError(value, picker.fields(field))
      data[field.key] = error ? null : picker.pick(value, field, path)
      if (error) errors.push({ ...error, path })
    } catch (error) {
      if (!isFieldError(error)) throw error
      data[field.key] = null
      errors.push({ ...toGraphqlError(error, correlationId), path })
    }
  }
  const all = [...errors, ...picker.errors]
  return all.length > 0 ? { data, errors: all } : { data }
}

function isSubmit({ name }: Field): boolean {
  return name === 'upscaleImage' || name === 'upscaleImages'
}

/** The typed error of a refusal, if neither `task` nor `problem` is selected. */
function toPayloadError(value: unknown, fields: readonly Field[]): GraphqlError | null {
  if (typeof value !== 'object' || value === null || !('__typename' in value) || !('problem' in value))
    return null
  const { __typename, problem } = value
  if (__typename !== 'UpscaleImagePayload' || !isProblem(problem)) return null
  return fields.some(({ name }) => name === 'task' || name === 'problem') ? null : toProblemError(problem)
}

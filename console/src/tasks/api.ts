/** How the pages talk to the gateway, over the transport of the session. */

/** The part of the transport that the pages use. */
export interface Api {
  iterate<Data>(payload: {
    query: string
    variables?: Record<string, unknown>
  }): AsyncIterableIterator<{ readonly data?: Data | null; readonly errors?: readonly ApiFault[] }>
}

interface ApiFault {
  readonly message: string
  readonly extensions?: Readonly<Record<string, unknown>>
}

/** An error of the gateway, with its stable code. */
export class ApiError extends Error {
  readonly code: string
  readonly correlationId: string | null

  constructor({ message, extensions = {} }: ApiFault) {
    super(message)
    const { code, correlationId } = extensions
    this.code = typeof code === 'string' ? code : 'UNKNOWN'
    this.correlationId = typeof correlationId === 'string' ? correlationId : null
  }
}

/**
 * Runs a query or a mutation.
 * @throws ApiError if the response has an error, also beside data.
 */
export async function execute<Data>(
  api: Api,
  query: string,
  variables: Record<string, unknown> = {},
): Promise<Data> {
  try {
    for await (const { data, errors } of api.iterate<Data>({ query, variables })) {
      if (errors?.[0]) throw new ApiError(errors[0])
      if (data) return data
    }
  } catch (failure) {
    throw toApiError(failure)
  }
  throw new ApiError({ message: 'The gateway sent no response.' })
}

/** graphql-ws throws a list of errors, or the event that closed the connection. */
export function toApiError(failure: unknown): ApiError {
  if (failure instanceof ApiError) return failure
  const first: unknown = Array.isArray(failure) ? failure[0] : failure
  const fields: Readonly<Record<string, unknown>> =
    typeof first === 'object' && first !== null ? { ...first } : {}
  const message = first instanceof Error ? first.message : fields.message
  const extensions = isRecord(fields.extensions) ? fields.extensions : fields
  return new ApiError({
    message: typeof message === 'string' && message !== '' ? message : 'The gateway cannot be reached.',
    extensions,
  })
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}

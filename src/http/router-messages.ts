import { randomUUID } from 'node:crypto'
import got from 'got'
import { GraphQLError } from 'graphql'
import * as z from 'zod'
import { toPublicError } from '../graphql/errors.ts'
import { throwBare } from '../net/fetch.ts'
import type { Outbound } from '../net/outbound.ts'
import type { Log } from '../tasks/ports.ts'

const TIMEOUT_MS = 10_000

const errors = z
  .array(
    z.object({
      message: z.string(),
      path: z.array(z.union([z.string(), z.number()])).optional(),
      extensions: z.record(z.string(), z.unknown()).default({}),
    }),
  )
  .optional()
/** A message of the protocol callback/1.0. */
const message = z.looseObject({
  action: z.enum(['check', 'next', 'complete']),
  payload: z.looseObject({ errors }).optional(),
  errors,
})

type Fetcher = (url: string, init?: { body?: string | Buffer }) => Promise<Response>

/**
 * The `fetch` with which Apollo's plugin posts messages to routers. It does not follow redirects, because the
 * allowed URLs decide where events go.
 */
export function createMessageFetch(urlsInUse: ReadonlySet<string>, outbound: Outbound, log: Log): Fetcher {
  return async (url, init) => {
    const { action, ...rest } = message.parse(JSON.parse(String(init?.body)))
    // The plugin sends heartbeats also for a subscription that could not begin; a 404 stops it.
    if (action === 'check' && !urlsInUse.has(new URL(url).href)) return new Response(null, { status: 404 })
    const body = JSON.stringify({
      ...rest,
      action,
      // Undefined values are omitted.
      payload: rest.payload && { ...rest.payload, errors: format(rest.payload.errors, log) },
      errors: format(rest.errors, log),
    })
    if (action !== 'complete') return new Response(null, { status: await post(url, body, outbound) })
    // The plugin does not await `complete`: a rejection would end the process.
    try {
      const status = await post(url, body, outbound)
      if (status >= 400) log.warn({ status }, 'a router refused the end of a subscription')
    } catch (error) {
      log.warn({ err: error }, 'failed to send the end of a subscription to a router')
    }
    return new Response(null, { status: 204 })
  }
}

async function post(url: string, body: string, outbound: Outbound): Promise<number> {
  const request = got.post(url, {
    headers: { 'content-type': 'application/json', 'subscription-protocol': 'callback/1.0' },
    body,
    agent: outbound.agentsFor(url),
    followRedirect: false,
    throwHttpErrors: false,
    retry: { limit: 0 },
    timeout: { request: TIMEOUT_MS },
  })
  return (await request.catch(throwBare)).statusCode
}

/** Formats errors for clients; the plugin has formatted them as graphql-js does. */
function format(list: z.infer<typeof errors>, log: Log) {
  return list?.map(({ message, path, extensions }) => {
    const { correlationId } = extensions
    const error = new GraphQLError(message, { path: path ?? null, extensions })
    return toPublicError(error, typeof correlationId === 'string' ? correlationId : randomUUID(), log)
  })
}

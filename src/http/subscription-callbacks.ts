import { randomUUID } from 'node:crypto'
import { HeaderMap, type ApolloServerPlugin, type GraphQLRequest } from '@apollo/server'
import { ApolloServerPluginSubscriptionCallback } from '@apollo/server/plugin/subscriptionCallback'
import got from 'got'
import { GraphQLError, type GraphQLFormattedError } from 'graphql'
import { z } from 'zod'
import type { OperationContext, StreamTransport } from '../graphql/context.ts'
import { requestError, toPublicError } from '../graphql/errors.ts'
import type { Log } from '../tasks/ports.ts'

/** A router that has not answered by then has not got it. */
const TIMEOUT_MS = 10_000
/** Routers ask for 5,000 by default; 0 means none. */
const MIN_HEARTBEAT_MS = 100

const text = z.string().min(1).max(2_048)
const heartbeat = z.number().int().min(0).max(2_147_483_647)
/** `extensions.subscription` of a request, in either spelling that routers use. */
const target = z
  .object({
    callbackUrl: text.optional(),
    callback_url: text.optional(),
    subscriptionId: text.optional(),
    subscription_id: text.optional(),
    verifier: text,
    heartbeatIntervalMs: heartbeat.optional(),
    heartbeat_interval_ms: heartbeat.optional(),
  })
  .transform((fields) => ({
    url: fields.callbackUrl ?? fields.callback_url,
    id: fields.subscriptionId ?? fields.subscription_id,
    heartbeatMs: fields.heartbeatIntervalMs ?? fields.heartbeat_interval_ms,
  }))

/** Apollo's HTTP callback protocol for subscriptions (callback/1.0): events are posted to the router that asked. */
export interface SubscriptionCallbacks {
  /** Must come after the plugin that refuses operations: it takes up those that nobody has refused. */
  readonly plugin: ApolloServerPlugin<OperationContext>
  /** Whether the events of this request are to be posted. */
  isCallback(request: Pick<GraphQLRequest, 'extensions'>): boolean
  /** Why we do not post where this request says; undefined: we do. */
  findFault(request: Pick<GraphQLRequest, 'extensions'>): GraphQLError | undefined
}

/** `allowedUrls`: where routers take events; what is under one of them is allowed. */
export function createSubscriptionCallbacks(allowedUrls: readonly string[], log: Log): SubscriptionCallbacks {
  const allowed = allowedUrls.map((url) => new URL(url))
  const taken = new Set<string>()
  const fetcher = createFetcher(taken, log)
  return {
    plugin: takeUpAccepted(
      ApolloServerPluginSubscriptionCallback({ fetcher, logger: toLogger(log) }),
      taken,
      log,
    ),
    isCallback: ({ extensions }) => Boolean(extensions?.subscription),
    findFault({ extensions }) {
      if (allowed.length === 0)
        return requestError(
          'BAD_REQUEST',
          'Events are posted nowhere: SUBSCRIPTION_CALLBACK_URLS is not set.',
        )
      const { success, data } = target.safeParse(extensions?.subscription)
      if (!success || data.url === undefined || data.id === undefined || isTooFast(data.heartbeatMs))
        return requestError('BAD_REQUEST', 'extensions.subscription is not one of the protocol callback/1.0.')
      return isUnder(data.url, allowed)
        ? undefined
        : requestError('FORBIDDEN', 'This callback URL is not one of SUBSCRIPTION_CALLBACK_URLS.', {
            http: { status: 403 },
          })
    },
  }
}

function isTooFast(heartbeatMs: number | undefined): boolean {
  return heartbeatMs !== undefined && heartbeatMs > 0 && heartbeatMs < MIN_HEARTBEAT_MS
}

function isUnder(text: string, allowed: readonly URL[]): boolean {
  if (!URL.canParse(text)) return false
  const { origin, pathname, username, password } = new URL(text)
  if (username !== '' || password !== '') return false
  return allowed.some((each) => {
    const folder = each.pathname.replace(/\/*$/, '/')
    return origin === each.origin && (pathname === each.pathname || pathname.startsWith(folder))
  })
}

/**
 * Keeps Apollo's plugin from what it would do without having looked: calling back about what was refused, and
 * losing track of a subscription when another comes with the same URL. `taken`: the URLs of those that run.
 */
function takeUpAccepted(
  plugin: ApolloServerPlugin,
  taken: Set<string>,
  log: Log,
): ApolloServerPlugin<OperationContext> {
  return {
    ...plugin,
    async requestDidStart(request) {
      const listener = await plugin.requestDidStart?.(request)
      const url = target.safeParse(request.request.extensions?.subscription).data?.url
      if (!listener || url === undefined) return
      let accepted = false
      const refuse = (correlationId: string, message: string) => [
        toPublicError(requestError('BAD_REQUEST', message), correlationId, log),
      ]
      return {
        // Asked only when no plugin before had an answer.
        async responseForOperation(operation) {
          const { contextValue } = operation
          if (taken.has(url)) {
            const errors = refuse(
              contextValue.correlationId,
              'Events are posted to this callback URL already.',
            )
            const http = { status: 400, headers: new HeaderMap() }
            return { http, body: { kind: 'single' as const, singleResult: { errors } } }
          }
          taken.add(url)
          accepted = true
          return (await listener.responseForOperation?.(operation)) ?? null
        },
        async willSendResponse(response) {
          if (!accepted) return
          const { contextValue } = response
          const release = () => void taken.delete(url)
          const hasBegun = onEnd(contextValue, release)
          await listener.willSendResponse?.(response)
          if (!hasBegun()) release()
          const { body, http } = response.response
          if (body.kind === 'single' && body.singleResult.errors) {
            http.status = 400
            const message = 'The callback URL did not confirm the subscription.'
            body.singleResult.errors = refuse(contextValue.correlationId, message)
          }
        },
      }
    },
  }
}

/** Calls back when the subscription of this operation has ended; what it gives back says whether it has begun. */
function onEnd(context: OperationContext, ended: () => void): () => boolean {
  const { stream } = context
  let begun = false
  if (!stream) return () => begun
  const onOpen: StreamTransport['onOpen'] = (watch) => {
    const opened = stream.onOpen(watch)
    begun = true
    return {
      [Symbol.dispose]() {
        ended()
        opened[Symbol.dispose]()
      },
    }
  }
  Object.assign(context, { stream: { ...stream, onOpen } })
  return () => begun
}

/** Posts messages of the protocol. Redirects are not followed: the allow-list says where events go. */
function createFetcher(taken: ReadonlySet<string>, log: Log): Fetcher {
  const post = async (url: string, body: string) => {
    const { statusCode } = await got.post(url, {
      headers: { 'content-type': 'application/json', 'subscription-protocol': 'callback/1.0' },
      body,
      followRedirect: false,
      throwHttpErrors: false,
      retry: { limit: 0 },
      timeout: { request: TIMEOUT_MS },
    })
    return new Response(null, { status: statusCode })
  }
  return async (url, init) => {
    const message = JSON.parse(String(init?.body)) as Message
    // Apollo's plugin goes on with the heartbeats of a subscription that could not begin; for a 404 it stops.
    if (message.action === 'check' && !taken.has(url)) return new Response(null, { status: 404 })
    const body = formatErrors(message, log)
    if (message.action !== 'complete') return post(url, body)
    // Apollo's plugin does not wait for this one: were it to fail, that would end the process.
    return post(url, body).then(
      ({ status }) => {
        if (status >= 400) log.warn({ status }, 'a router did not take the end of a subscription')
        return new Response(null, { status: 204 })
      },
      (error: unknown) => {
        log.warn({ err: error }, 'a router could not be told the end of a subscription')
        return new Response(null, { status: 204 })
      },
    )
  }
}

type Fetcher = (url: string, init?: { body?: string | Buffer }) => Promise<Response>

interface Message {
  readonly action: 'check' | 'next' | 'complete'
  readonly payload?: { readonly errors?: readonly GraphQLFormattedError[] }
  readonly errors?: readonly GraphQLFormattedError[]
}

/** Gives the errors in a message the one shape in which errors leave: Apollo's plugin posts what graphql-js says. */
function formatErrors({ payload, errors, ...message }: Message, log: Log): string {
  const format = ({ message, path, extensions = {} }: GraphQLFormattedError) => {
    const { correlationId } = extensions
    const error = new GraphQLError(message, { path: path ?? null, extensions })
    return toPublicError(error, typeof correlationId === 'string' ? correlationId : randomUUID(), log)
  }
  return JSON.stringify({
    ...message,
    ...(payload && {
      payload: { ...payload, ...(payload.errors && { errors: payload.errors.map(format) }) },
    }),
    ...(errors && { errors: errors.map(format) }),
  })
}

/** Apollo's plugin tells a logger of its own kind. */
function toLogger(log: Log) {
  const warn = (sentence: string) => log.warn({}, sentence)
  return { debug: () => undefined, info: () => undefined, warn, error: warn }
}

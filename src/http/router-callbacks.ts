import {
  HeaderMap,
  type ApolloServerPlugin,
  type GraphQLRequest,
  type GraphQLRequestContextResponseForOperation,
  type GraphQLResponse,
} from '@apollo/server'
import { ApolloServerPluginSubscriptionCallback } from '@apollo/server/plugin/subscriptionCallback'
import { createSourceEventStream, type GraphQLError } from 'graphql'
import * as z from 'zod'
import type { OperationContext, StreamTransport } from '../graphql/context.ts'
import { requestError, toHttpStatus, toPublicError } from '../graphql/errors.ts'
import type { Outbound } from '../net/outbound.ts'
import type { Log } from '../tasks/ports.ts'
import { createMessageFetch } from './router-messages.ts'
import { isUnder } from './router-urls.ts'

/** How often a message is retried after a 5xx or no response, within a second. */
const RETRIES = 3
/** The interval if a router requests none; 0 means no heartbeats. */
const DEFAULT_HEARTBEAT_MS = 5_000
const MIN_HEARTBEAT_MS = 100

const text = z.string().min(1).max(2_048)
const heartbeat = z.number().int().min(0).max(2_147_483_647)
/** `extensions.subscription` of a request, in both spellings that routers use. */
const routerCallback = z
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
    heartbeatMs: fields.heartbeatIntervalMs ?? fields.heartbeat_interval_ms ?? DEFAULT_HEARTBEAT_MS,
  }))

/** Apollo's HTTP callback protocol for subscriptions (callback/1.0): events are posted to the router. */
export interface RouterCallbacks {
  /** Register it after the plugin that refuses operations: it starts all others. */
  readonly plugin: ApolloServerPlugin<OperationContext>
  /** Whether the request has a router callback. */
  isRequested(request: Pick<GraphQLRequest, 'extensions'>): boolean
  /** Why the router callback is refused; undefined: it is allowed. */
  findFault(request: Pick<GraphQLRequest, 'extensions'>): GraphQLError | undefined
}

/** Allows router callback URLs that are one of `allowedUrls`, or under one. */
export function createRouterCallbacks(
  allowedUrls: readonly string[],
  outbound: Outbound,
  log: Log,
): RouterCallbacks {
  const allowed = allowedUrls.map((url) => new URL(url))
  const urlsInUse = new Set<string>()
  const warn = (message: string) => log.warn({}, message)
  const plugin = ApolloServerPluginSubscriptionCallback({
    fetcher: createMessageFetch(urlsInUse, outbound, log),
    logger: { debug: () => undefined, info: () => undefined, warn, error: warn },
    retry: { retries: RETRIES },
  })
  return {
    plugin: guardPlugin(plugin, urlsInUse, log),
    isRequested: ({ extensions }) => Boolean(extensions?.subscription),
    findFault({ extensions }) {
      if (allowed.length === 0)
        return requestError('BAD_REQUEST', 'Router callbacks are off: SUBSCRIPTION_CALLBACK_URLS is not set.')
      const { data } = routerCallback.safeParse(extensions?.subscription)
      const isTooFast = data && data.heartbeatMs > 0 && data.heartbeatMs < MIN_HEARTBEAT_MS
      if (data?.url === undefined || data.id === undefined || isTooFast)
        return requestError(
          'BAD_REQUEST',
          'extensions.subscription is not valid for the protocol callback/1.0.',
        )
      if (isUnder(data.url, allowed)) return undefined
      const http = { status: 403 }
      return requestError('FORBIDDEN', 'This callback URL is not under SUBSCRIPTION_CALLBACK_URLS.', { http })
    },
  }
}

const URL_IN_USE = requestError('BAD_REQUEST', 'Another subscription already uses this callback URL.')
const UNCONFIRMED = requestError('BAD_REQUEST', 'The callback URL did not confirm the subscription.')

/**
 * Starts Apollo's plugin only for operations that can begin, so that it calls no router for a refused or
 * unauthorized operation. Allows one subscription per URL, because the plugin confuses two.
 */
function guardPlugin(
  plugin: ApolloServerPlugin,
  urlsInUse: Set<string>,
  log: Log,
): ApolloServerPlugin<OperationContext> {
  return {
    ...plugin,
    async requestDidStart(request) {
      const { url, heartbeatMs = 0 } =
        routerCallback.safeParse(request.request.extensions?.subscription).data ?? {}
      const listener = await plugin.requestDidStart?.(withHeartbeat(request, heartbeatMs / 2))
      if (!listener || url === undefined || !URL.canParse(url)) return
      const { href } = new URL(url)
      let isAccepted = false
      return {
        // Called only if no earlier plugin has responded.
        async responseForOperation(operation) {
          const { contextValue } = operation
          const refusal = (await findRefusal(operation)) ?? (urlsInUse.has(href) ? URL_IN_USE : undefined)
          if (refusal !== undefined) return toResponse(refusal, contextValue, log)
          urlsInUse.add(href)
          isAccepted = true
          return (await listener.responseForOperation?.(operation)) ?? null
        },
        async willSendResponse(response) {
          if (!isAccepted) return
          const { contextValue } = response
          const release = () => void urlsInUse.delete(href)
          const hasBegun = onEnd(contextValue, () => {
            release()
            void contextValue.record?.endStream()
          })
          await listener.willSendResponse?.(response)
          if (hasBegun()) contextValue.record?.outliveRequest()
          else release()
          const { body, http } = response.response
          if (body.kind === 'single' && body.singleResult.errors) {
            http.status = 400
            body.singleResult.errors = [toPublicError(UNCONFIRMED, contextValue.correlationId, log)]
          }
        },
      }
    },
  }
}

/**
 * The request, with this interval of heartbeats. Half of the one that the router requested: some routers end
 * a subscription exactly after the interval, so that a heartbeat at its end comes too late.
 */
function withHeartbeat<T extends { readonly request: GraphQLRequest }>(
  context: T,
  heartbeatIntervalMs: number,
): T {
  const { extensions } = context.request
  const subscription: unknown = extensions?.subscription
  if (typeof subscription !== 'object' || subscription === null) return context
  const changed = { ...extensions, subscription: { ...subscription, heartbeatIntervalMs } }
  return { ...context, request: { ...context.request, extensions: changed } }
}

/** Opens and closes the subscription. Returns why it cannot begin; undefined: it can. */
async function findRefusal({
  schema,
  document,
  request,
  operationName,
  contextValue,
}: GraphQLRequestContextResponseForOperation<OperationContext>): Promise<GraphQLError | undefined> {
  const variableValues = request.variables ?? null
  const opened = await createSourceEventStream({
    schema,
    document,
    variableValues,
    operationName,
    contextValue,
  })
  if (!(Symbol.asyncIterator in opened)) return opened.errors?.[0]
  await opened[Symbol.asyncIterator]().return?.()
  return undefined
}

function toResponse(error: GraphQLError, { correlationId }: OperationContext, log: Log): GraphQLResponse {
  const status = toHttpStatus(error) ?? (error.extensions.code === 'INTERNAL_SERVER_ERROR' ? 500 : 400)
  const errors = [toPublicError(error, correlationId, log)]
  return { http: { status, headers: new HeaderMap() }, body: { kind: 'single', singleResult: { errors } } }
}

/**
 * Calls `ended` when the subscription of this operation ends. The returned function says whether it has
 * begun.
 */
function onEnd(context: OperationContext, ended: () => void): () => boolean {
  const { stream } = context
  let hasBegun = false
  if (!stream) return () => false
  const onOpen: StreamTransport['onOpen'] = (watch, guestTask) => {
    const opened = stream.onOpen(watch, guestTask)
    hasBegun = true
    return {
      [Symbol.dispose]() {
        ended()
        opened[Symbol.dispose]()
      },
    }
  }
  Object.assign(context, { stream: { ...stream, onOpen } })
  return () => hasBegun
}

import { randomUUID } from 'node:crypto'
import {
  HeaderMap,
  type ApolloServerPlugin,
  type GraphQLRequest,
  type GraphQLRequestContextResponseForOperation,
  type GraphQLResponse,
} from '@apollo/server'
import { ApolloServerPluginSubscriptionCallback } from '@apollo/server/plugin/subscriptionCallback'
import got from 'got'
import {
  createSourceEventStream,
  GraphQLError,
  type ExecutionArgs,
  type GraphQLFormattedError,
} from 'graphql'
import { z } from 'zod'
import type { OperationContext, StreamTransport } from '../graphql/context.ts'
import { requestError, toHttpStatus, toPublicError } from '../graphql/errors.ts'
import { throwBare } from '../net/fetch.ts'
import type { Outbound } from '../net/outbound.ts'
import type { Log } from '../tasks/ports.ts'
import { isUnder, toKey } from './router-urls.ts'

/** How long a router has to answer a message. */
const TIMEOUT_MS = 10_000
/** How often a message is sent again after a 5xx or no answer: within a second. */
const RETRIES = 3
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
  /** Must come after the plugin that refuses operations: it accepts the remaining ones. */
  readonly plugin: ApolloServerPlugin<OperationContext>
  /** Whether the events of this request are to be posted. */
  isCallback(request: Pick<GraphQLRequest, 'extensions'>): boolean
  /** Why we do not post where this request says; undefined: we do. */
  findFault(request: Pick<GraphQLRequest, 'extensions'>): GraphQLError | undefined
}

/** `allowedUrls`: where routers take events; what is under one of them is allowed. */
export function createSubscriptionCallbacks(
  allowedUrls: readonly string[],
  outbound: Outbound,
  log: Log,
): SubscriptionCallbacks {
  const allowed = allowedUrls.map((url) => new URL(url))
  const taken = new Set<string>()
  const fetcher = createFetcher(taken, outbound, log)
  return {
    plugin: takeUpAccepted(
      ApolloServerPluginSubscriptionCallback({ fetcher, logger: toLogger(log), retry: { retries: RETRIES } }),
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

/** Opens the subscription and ends it at once: resolves to the reason why it cannot begin; undefined: it can. */
async function findRefusal(args: ExecutionArgs): Promise<GraphQLError | undefined> {
  const opened = await createSourceEventStream(args)
  if (!(Symbol.asyncIterator in opened)) return opened.errors?.[0]
  await opened[Symbol.asyncIterator]().return?.()
  return undefined
}

/**
 * Keeps Apollo's plugin from calling a router for operations that are refused or not authorized, and from losing a
 * subscription when another one uses the same URL. `taken`: the keys of URLs in use.
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
      if (!listener || url === undefined || !URL.canParse(url)) return
      const key = toKey(url)
      let accepted = false
      return {
        // Called only where no plugin before this one has answered.
        async responseForOperation(operation) {
          const refusal = await findRefusal(toArgs(operation))
          if (refusal !== undefined) return toAnswer(refusal, operation.contextValue, log)
          if (taken.has(key)) return toAnswer(ALREADY_TAKEN, operation.contextValue, log)
          taken.add(key)
          accepted = true
          return (await listener.responseForOperation?.(operation)) ?? null
        },
        async willSendResponse(response) {
          if (!accepted) return
          const { contextValue } = response
          const release = () => void taken.delete(key)
          const hasBegun = onEnd(contextValue, release)
          await listener.willSendResponse?.(response)
          if (!hasBegun()) release()
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

const ALREADY_TAKEN = requestError('BAD_REQUEST', 'Events are posted to this callback URL already.')
const UNCONFIRMED = requestError('BAD_REQUEST', 'The callback URL did not confirm the subscription.')

type AcceptedOperation = GraphQLRequestContextResponseForOperation<OperationContext>

function toArgs({
  schema,
  document,
  request,
  operationName,
  contextValue,
}: AcceptedOperation): ExecutionArgs {
  return { schema, document, variableValues: request.variables ?? null, operationName, contextValue }
}

function toAnswer(error: GraphQLError, { correlationId }: OperationContext, log: Log): GraphQLResponse {
  const status = toHttpStatus(error) ?? (error.extensions.code === 'INTERNAL_SERVER_ERROR' ? 500 : 400)
  const errors = [toPublicError(error, correlationId, log)]
  return {
    http: { status, headers: new HeaderMap() },
    body: { kind: 'single', singleResult: { errors } },
  }
}

/** Calls back when the subscription of this operation has ended; what it gives back says whether it has begun. */
function onEnd(context: OperationContext, ended: () => void): () => boolean {
  const { stream } = context
  let begun = false
  if (!stream) return () => begun
  const onOpen: StreamTransport['onOpen'] = (watch, guestTask) => {
    const opened = stream.onOpen(watch, guestTask)
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
function createFetcher(taken: ReadonlySet<string>, outbound: Outbound, log: Log): Fetcher {
  const post = async (url: string, body: string) => {
    const request = got.post(url, {
      headers: { 'content-type': 'application/json', 'subscription-protocol': 'callback/1.0' },
      body,
      agent: outbound.agentsFor(url),
      followRedirect: false,
      throwHttpErrors: false,
      retry: { limit: 0 },
      timeout: { request: TIMEOUT_MS },
    })
    const { statusCode } = await request.catch(throwBare)
    return new Response(null, { status: statusCode })
  }
  return async (url, init) => {
    const message = JSON.parse(String(init?.body)) as Message
    // Apollo's plugin keeps sending heartbeats for a subscription that could not begin; a 404 stops it.
    if (message.action === 'check' && !taken.has(toKey(url))) return new Response(null, { status: 404 })
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

/** Hive Gateway as docs/supergraph/hive-gateway.md has it; SUBSCRIPTIONS says how it subscribes to us. */
import { defineConfig } from '@graphql-hive/gateway'
import { MemPubSub } from '@graphql-hive/pubsub'

const { SUPERGRAPH, SUBSCRIPTIONS, SELF_URL } = process.env

// A client that comes over HTTP brings a header, one over WebSocket its connection_init.
const authorization = '{context.headers.authorization}{context.connectionParams.Authorization}'
const headers = [['authorization', authorization]]

const subscriptions = {
  ws: {
    kind: 'ws',
    location: '/graphql',
    options: { connectionParams: { Authorization: authorization }, retryAttempts: 100 },
  },
  sse: { kind: 'http', location: '/graphql/stream', headers },
  callback: {
    kind: 'http-callback',
    location: '/graphql',
    headers,
    options: { public_url: `${SELF_URL}/callback`, path: '/callback', heartbeat_interval: 5_000 },
  },
}

export const gatewayConfig = defineConfig({
  supergraph: SUPERGRAPH,
  maskedErrors: false,
  inboundInflightRequestDeduplication: true,
  logging: 'error',
  // How events that are posted to the gateway find their subscriptions.
  webhooks: true,
  pubsub: new MemPubSub(),
  propagateHeaders: {
    fromClientToSubgraphs({ request }) {
      const value = request?.headers.get('authorization')
      return value ? { authorization: value } : {}
    },
  },
  transportEntries: { upscale: { options: { subscriptions: subscriptions[SUBSCRIPTIONS] } } },
})

/**
 * Hive Gateway as docs/supergraph/hive-gateway.md has it; SUBSCRIPTIONS says how it subscribes to us, PLANNER
 * how it plans.
 */
import { defineConfig } from '@graphql-hive/gateway'
import { unifiedGraphHandler } from '@graphql-hive/router-runtime'

const { SUPERGRAPH, SUBSCRIPTIONS, PLANNER } = process.env

/** The caller's credential: that of a WebSocket client's connection_init, else the header. */
const useAuthorization = () => ({
  onContextBuilding({ context: { connectionParams = {}, headers = {} }, extendContext }) {
    const { Authorization, authorization = Authorization } = connectionParams
    extendContext({ authorization: authorization || headers.authorization })
  },
})
const authorization = '{context.authorization}'
const headers = [['authorization', authorization]]

const subscriptions = {
  ws: {
    kind: 'ws',
    location: '/graphql',
    options: { connectionParams: { Authorization: authorization }, retryAttempts: 100 },
  },
  sse: { kind: 'http', location: '/graphql/stream', headers },
}

export const gatewayConfig = defineConfig({
  supergraph: SUPERGRAPH,
  ...(PLANNER === 'native' && { unifiedGraphHandler }),
  maskedErrors: false,
  inboundInflightRequestDeduplication: true,
  logging: 'error',
  plugins: () => [useAuthorization()],
  propagateHeaders: {
    fromClientToSubgraphs: ({ context }) => ({ authorization: context?.authorization }),
  },
  transportEntries: { upscale: { options: { subscriptions: subscriptions[SUBSCRIPTIONS] } } },
})

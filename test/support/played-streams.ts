import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { buildSchema, GraphQLError, type ExecutionArgs, type GraphQLErrorExtensions } from 'graphql'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocketServer } from 'ws'

const SCHEMA = buildSchema(`
  type Query { a: Int }
  type Task { id: ID! version: Int! status: String! queue: Queue }
  type Queue { position: Int! }
  type Subscription {
    taskUpdated(id: ID!, afterVersion: Int, watchToken: String): Task
    tasksUpdated(ids: [ID!]!, afterVersions: [Int]): Task
  }`)

interface PlayedEvent {
  readonly data: object
  readonly errors?: readonly { readonly message: string; readonly extensions?: GraphQLErrorExtensions }[]
}

/** An event of a stream, or a promise to wait for. */
type Played = PlayedEvent | Promise<void>

/** A server that answers each subscription with the next of these streams, as routers may distort them. */
export async function startPlayedStreams(streams: Played[][]) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', path: '/graphql' })
  await once(server, 'listening')
  const requests: unknown[] = []
  async function* play(events: Played[]) {
    for (const event of events) {
      await new Promise(setImmediate)
      if (event instanceof Promise) await event
      else yield toResult(event)
    }
  }
  const served = useServer(
    {
      schema: SCHEMA,
      subscribe: ({ variableValues }: ExecutionArgs) => {
        requests.push(variableValues)
        return Promise.resolve(play(streams.shift() ?? [])) as never
      },
    },
    server,
  )
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** The variables of each subscription so far. */
    requests,
    async [Symbol.asyncDispose]() {
      await served.dispose()
      server.close()
    },
  }
}

function toResult({ data, errors }: PlayedEvent) {
  return { data, ...(errors && { errors: errors.map((error) => new GraphQLError(error.message, error)) }) }
}

import { createClient, type ClientOptions } from 'graphql-ws'
import { WebSocket } from 'ws'
import { toClientOptions, type ConnectionSettings } from '../../client/src/index.ts'

/** A client of graphql-ws with the options of the client package. */
export function connect(
  url: string,
  settings: Partial<ConnectionSettings> = {},
  more: Partial<ClientOptions> = {},
) {
  const options = toClientOptions({ url: new URL('/graphql', url.replace('http', 'ws')).href, ...settings })
  return createClient({ ...options, webSocketImpl: WebSocket, ...more, on: { ...options.on, ...more.on } })
}

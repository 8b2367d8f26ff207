import type { AddressInfo } from 'node:net'
import { expect, test } from '@jest/globals'
import { createPrepare } from '../../src/graphql/prepare.ts'
import { createSchema } from '../../src/graphql/schema.ts'
import { createHttpApp } from '../../src/http/app.ts'
import { createAuthRefusals } from '../../src/http/auth-refusals.ts'
import { HttpAuthorization } from '../../src/http/http-authorization.ts'
import { createHttpStreams } from '../../src/http/http-streams.ts'
import { openGraphqlSocket } from '../../src/http/socket.ts'
import { addStreamRoute } from '../../src/http/sse.ts'
import { systemClock } from '../../src/system.ts'
import { openSocket } from '../support/socket.ts'
import { NO_TRACING } from '../../src/tasks/tracing.ts'
import { createOperationRecords } from '../../src/http/operation-records.ts'

test('an unexpected error of authorization is logged with its cause, and answered as an internal error on HTTP and sockets', async () => {
  await using opened = new AsyncDisposableStack()
  const errors: unknown[] = []
  const log = {
    info: () => undefined,
    warn: () => undefined,
    error: ({ err }: { err?: unknown }) => void errors.push(err),
  }
  const ignore = () => undefined
  const bug = new Error('a bug', { cause: new Error('its cause') })
  const authorize = () => Promise.reject(bug)
  const isDraining = () => false
  const access = { corsOrigins: [], hosts: null }
  const app = await createHttpApp({ access, log, keepAliveMs: 1_000, isDraining })
  opened.defer(() => app.close())
  const schema = await createSchema(log)
  const prepare = createPrepare(schema, { introspection: true, log })
  const createContext = () => {
    throw new Error('No operation may run')
  }
  const noMetrics = () => undefined
  const recording = { tracing: NO_TRACING, clock: systemClock, accessLog: null, onOperation: noMetrics }
  const records = createOperationRecords(recording)
  const graphql = { schema, prepare, createContext, records, log }
  const refusals = createAuthRefusals(log, () => undefined)
  const authorization = new HttpAuthorization({ authorize, refusals, isDraining })
  const observer = { onStreamOpen: ignore, onStreamEnd: ignore, onRefusal: ignore }
  addStreamRoute(app, { ...graphql, authorization, streams: createHttpStreams(null, observer) })
  const limits = { socketOperationLimit: null, ownerSocketLimit: null, guestSocketLimit: null }
  const socket = { authorize, guestSockets: true, access, clock: systemClock, observer }
  opened.use(openGraphqlSocket(app.server, { ...graphql, ...limits, ...socket }))
  await app.listen({ host: '127.0.0.1', port: 0 })
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`

  const response = await fetch(`${url}/graphql/stream`, { headers: { accept: 'text/event-stream' } })
  expect(response.status).toBe(500)
  expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'INTERNAL_SERVER_ERROR' } }] })
  expect(errors).toEqual([bug])

  using connection = await openSocket(url)
  connection.send({ type: 'connection_init' })
  expect(await connection.closed).toEqual([1011, 'Internal server error'])
  expect(errors).toEqual([bug, bug])
})

// A limit, not a gateway: the least a fan-out can cost with ws in one Node process. It speaks just enough of
// graphql-transport-ws for a client to subscribe, makes each subscriber's frame once, when it subscribes, and
// a publish only sends the ready bytes. There is no GraphQL, no state and no validation.
//
// Follows: ws «API» (handleProtocols, send with binary: false); graphql-ws «GraphQL over WebSocket Protocol».

import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'

const { PORT } = process.env

const subscribers = new Map() // task id → Set<{ socket, frame }>

function prepareFrame(operation, id) {
  const taskUpdated = {
    id,
    status: 'PROCESSING',
    version: 2,
    images: null,
    createdAt: new Date().toISOString(),
  }
  return Buffer.from(JSON.stringify({ id: operation, type: 'next', payload: { data: { taskUpdated } } }))
}

function subscribe(socket, message) {
  const { id } = message.payload.variables
  const subscriber = { socket, frame: prepareFrame(message.id, id) }
  const ofTask = subscribers.get(id) ?? new Set()
  subscribers.set(id, ofTask.add(subscriber))
  socket.on('close', () => {
    ofTask.delete(subscriber)
    if (ofTask.size === 0 && subscribers.get(id) === ofTask) subscribers.delete(id)
  })
  socket.send(subscriber.frame, { binary: false })
}

const server = createServer((req, res) => res.writeHead(req.url === '/readyz' ? 200 : 404).end())

const wsServer = new WebSocketServer({
  server,
  path: '/graphql',
  handleProtocols: (protocols) => protocols.has('graphql-transport-ws') && 'graphql-transport-ws',
})
wsServer.on('connection', (socket) => {
  socket.on('error', () => socket.terminate())
  socket.on('message', (data) => {
    const message = JSON.parse(data)
    if (message.type === 'connection_init') socket.send('{"type":"connection_ack"}')
    else if (message.type === 'ping') socket.send('{"type":"pong"}')
    else if (message.type === 'subscribe') subscribe(socket, message)
  })
})

globalThis.bench = {
  publish(ids) {
    for (const id of ids) {
      for (const { socket, frame } of subscribers.get(id) ?? []) socket.send(frame, { binary: false })
    }
  },
  tasks: (count) => Array.from({ length: count }, () => ({ id: randomUUID() })),
}

process.on('SIGTERM', () => process.exit(0))
server.listen(Number(PORT), '127.0.0.1')

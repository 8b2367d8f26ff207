// Bun.serve with graphql-ws on Bun's own sockets; GraphQL Yoga 5 for HTTP, its pub/sub, and Bun's fetch for
// the upstream.
//
// Follows: graphql-ws «Use the server with Bun» (makeHandler, handleProtocols), GraphQL Yoga «Integration
// with Bun» and «Subscriptions» (createPubSub).

import { randomUUID } from 'node:crypto'
import { GraphQLError } from 'graphql'
import { DateTimeISOResolver } from 'graphql-scalars'
import { handleProtocols, makeHandler } from 'graphql-ws/use/bun'
import { createPubSub, createSchema, createYoga } from 'graphql-yoga'
import { typeDefs } from './type-defs.mjs'

const { PORT, UPSTREAM_URL, PUBLIC_URL } = process.env

const tasks = new Map()
const pubSub = createPubSub()

function createTask(status, version) {
  const task = { id: randomUUID(), status, version, images: null, createdAt: new Date(), token: randomUUID() }
  tasks.set(task.id, task)
  return task
}

function updateTask(id, changes) {
  const old = tasks.get(id)
  const task = { ...old, ...changes, version: old.version + 1 }
  tasks.set(id, task)
  pubSub.publish('TASK_UPDATED', id, task)
  return task
}

const callbackPath = (task) => `/callbacks/upscale/${task.id}/${task.token}`

// The current state, then every newer one, until the task is settled.
async function* taskUpdates(id) {
  const events = pubSub.subscribe('TASK_UPDATED', id)
  let next = events.next() // the repeater listens from its first next(), so this comes before the state is read
  try {
    let task = tasks.get(id)
    if (!task) throw new GraphQLError('Unknown task')
    yield task
    while (task.status !== 'SUCCEEDED') {
      task = (await next).value
      next = events.next()
      yield task
    }
  } finally {
    await events.return()
  }
}

const resolvers = {
  DateTimeISO: DateTimeISOResolver,
  Query: {
    upscaleTask: (_root, { id }) => tasks.get(id),
  },
  Mutation: {
    upscaleImage: async (_root, { input }) => {
      const task = createTask('SUBMITTED', 1)
      const response = await fetch(`${UPSTREAM_URL}/api/v1/mj/generateUpscale`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...input, callBackUrl: `${PUBLIC_URL}${callbackPath(task)}` }),
      })
      const answer = await response.json()
      if (answer.code !== 200) throw new GraphQLError('The upstream refused the task')
      const current = tasks.get(task.id) // the callback may have come before the answer
      if (current.status !== 'SUBMITTED') return { task: current }
      return { task: updateTask(task.id, { status: 'PROCESSING' }) }
    },
  },
  Subscription: {
    taskUpdated: {
      subscribe: (_root, { id }) => taskUpdates(id),
      resolve: (task) => task,
    },
  },
}

const schema = createSchema({ typeDefs, resolvers })
const yoga = createYoga({ schema, healthCheckEndpoint: '/readyz' })

async function callback(request) {
  const [, , , id, token] = new URL(request.url).pathname.split('/')
  const answer = (code) => Response.json({ code }, { status: code })
  const task = tasks.get(id)
  if (!task) return answer(404)
  if (task.token !== token) return answer(403)
  const { data } = await request.json()
  if (tasks.get(id).status !== 'SUCCEEDED') {
    updateTask(id, { status: 'SUCCEEDED', images: data.resultUrls.map((url) => ({ url })) })
  }
  return answer(200)
}

globalThis.bench = {
  publish: (ids) => ids.forEach((id) => updateTask(id, {})),
  tasks: (count) =>
    Array.from({ length: count }, () => createTask('PROCESSING', 2)).map((task) => ({
      id: task.id,
      callBackUrl: callbackPath(task),
    })),
}

process.on('SIGTERM', () => process.exit(0))
Bun.serve({
  hostname: '127.0.0.1',
  port: Number(PORT),
  fetch(request, server) {
    if (request.method === 'POST' && request.url.includes('/callbacks/upscale/')) {
      return callback(request).catch(() => new Response(null, { status: 400 }))
    }
    if (request.headers.get('upgrade') !== 'websocket') return yoga.fetch(request)
    if (!handleProtocols(request.headers.get('sec-websocket-protocol') ?? '')) {
      return new Response('Bad Request', { status: 400 })
    }
    return server.upgrade(request) ? undefined : new Response('Bad Request', { status: 400 })
  },
  websocket: makeHandler({ schema }),
})

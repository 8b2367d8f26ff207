// GraphQL Yoga 5 on node:http with its own pub/sub, graphql-ws through Yoga's own envelope, fetch for the
// upstream.
//
// Follows: GraphQL Yoga «Subscriptions» (createPubSub, and graphql-ws with getEnveloped), «Health check» and
// «Integrations / Node.js HTTP».

import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { json } from 'node:stream/consumers'
import { GraphQLError } from 'graphql'
import { DateTimeISOResolver } from 'graphql-scalars'
import { useServer } from 'graphql-ws/use/ws'
import { createPubSub, createSchema, createYoga } from 'graphql-yoga'
import { WebSocketServer } from 'ws'
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

const yoga = createYoga({ schema: createSchema({ typeDefs, resolvers }), healthCheckEndpoint: '/readyz' })

async function callback(req, res) {
  const answer = (code) =>
    res.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify({ code }))
  const [, , , id, token] = req.url.split('/')
  const task = tasks.get(id)
  if (!task) return answer(404)
  if (task.token !== token) return answer(403)
  const { data } = await json(req)
  if (tasks.get(id).status !== 'SUCCEEDED') {
    updateTask(id, { status: 'SUCCEEDED', images: data.resultUrls.map((url) => ({ url })) })
  }
  answer(200)
}

const server = createServer((req, res) => {
  if (req.method !== 'POST' || !req.url.startsWith('/callbacks/upscale/')) return yoga(req, res)
  callback(req, res).catch(() => res.writeHead(400).end())
})

useServer(
  {
    execute: (args) => args.rootValue.execute(args),
    subscribe: (args) => args.rootValue.subscribe(args),
    onSubscribe: async (ctx, _id, params) => {
      const { schema, execute, subscribe, contextFactory, parse, validate } = yoga.getEnveloped({
        ...ctx,
        req: ctx.extra.request,
        socket: ctx.extra.socket,
        params,
      })
      const args = {
        schema,
        operationName: params.operationName,
        document: parse(params.query),
        variableValues: params.variables,
        contextValue: await contextFactory(),
        rootValue: { execute, subscribe },
      }
      const errors = validate(args.schema, args.document)
      return errors.length ? errors : args
    },
  },
  new WebSocketServer({ server, path: yoga.graphqlEndpoint }),
)

globalThis.bench = {
  publish: (ids) => ids.forEach((id) => updateTask(id, {})),
  tasks: (count) =>
    Array.from({ length: count }, () => createTask('PROCESSING', 2)).map((task) => ({
      id: task.id,
      callBackUrl: callbackPath(task),
    })),
}

process.on('SIGTERM', () => process.exit(0))
server.listen(Number(PORT), '127.0.0.1')

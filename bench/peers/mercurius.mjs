// Fastify 5 and Mercurius 16 with its own subscriptions (the default emitter, mqemitter) and its JIT; undici
// for the upstream.
//
// Follows: Mercurius «API options» (jit), «Subscriptions» (subscription: true, one topic per id) and «Custom
// scalars»; undici «request».

import { randomUUID } from 'node:crypto'
import Fastify from 'fastify'
import { DateTimeISOResolver } from 'graphql-scalars'
import mercurius from 'mercurius'
import { request } from 'undici'
import { typeDefs } from './type-defs.mjs'

const { PORT, UPSTREAM_URL, PUBLIC_URL } = process.env

const app = Fastify()
const tasks = new Map()

function createTask(status, version) {
  const task = { id: randomUUID(), status, version, images: null, createdAt: new Date(), token: randomUUID() }
  tasks.set(task.id, task)
  return task
}

function updateTask(id, changes) {
  const old = tasks.get(id)
  const task = { ...old, ...changes, version: old.version + 1 }
  tasks.set(id, task)
  app.graphql.pubsub.publish({ topic: `TASK_UPDATED_${id}`, payload: { taskUpdated: task } })
  return task
}

const callbackPath = (task) => `/callbacks/upscale/${task.id}/${task.token}`

const resolvers = {
  DateTimeISO: DateTimeISOResolver,
  Query: {
    upscaleTask: (_root, { id }) => tasks.get(id),
  },
  Mutation: {
    upscaleImage: async (_root, { input }) => {
      const task = createTask('SUBMITTED', 1)
      const { body } = await request(`${UPSTREAM_URL}/api/v1/mj/generateUpscale`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...input, callBackUrl: `${PUBLIC_URL}${callbackPath(task)}` }),
      })
      const answer = await body.json()
      if (answer.code !== 200) throw new Error('The upstream refused the task')
      const current = tasks.get(task.id) // the callback may have come before the answer
      if (current.status !== 'SUBMITTED') return { task: current }
      return { task: updateTask(task.id, { status: 'PROCESSING' }) }
    },
  },
  Subscription: {
    taskUpdated: {
      // The current state, then every newer one, until the task is settled.
      subscribe: async function* (_root, { id }, { pubsub }) {
        if (!tasks.has(id)) throw new Error('Unknown task')
        const events = await pubsub.subscribe(`TASK_UPDATED_${id}`)
        let task = tasks.get(id)
        yield { taskUpdated: task }
        if (task.status === 'SUCCEEDED') return
        for await (const { taskUpdated } of events) {
          if (taskUpdated.version <= task.version) continue // came while the subscription was being set up
          task = taskUpdated
          yield { taskUpdated }
          if (task.status === 'SUCCEEDED') return
        }
      },
    },
  },
}

app.register(mercurius, { schema: typeDefs, resolvers, subscription: true, jit: 1 })

app.post('/callbacks/upscale/:taskId/:token', async (req, reply) => {
  const task = tasks.get(req.params.taskId)
  if (!task) return reply.code(404).send({ code: 404 })
  if (task.token !== req.params.token) return reply.code(403).send({ code: 403 })
  if (task.status !== 'SUCCEEDED') {
    updateTask(task.id, { status: 'SUCCEEDED', images: req.body.data.resultUrls.map((url) => ({ url })) })
  }
  return { code: 200 }
})
app.get('/readyz', async () => ({ ready: true }))

globalThis.bench = {
  publish: (ids) => ids.forEach((id) => updateTask(id, {})),
  tasks: (count) =>
    Array.from({ length: count }, () => createTask('PROCESSING', 2)).map((task) => ({
      id: task.id,
      callBackUrl: callbackPath(task),
    })),
}

process.on('SIGTERM', () => process.exit(0))
await app.listen({ port: Number(PORT), host: '127.0.0.1' })

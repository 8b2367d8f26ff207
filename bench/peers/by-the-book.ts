// The stack as its own documentation puts it together: Apollo Server 5 on Express 5, TypeGraphQL 2 with the
// pub/sub its docs name, graphql-ws for the subscriptions, got for the upstream.
//
// Follows: Apollo Server «Subscriptions» and «expressMiddleware»; TypeGraphQL «Subscriptions» (the
// `subscribe` option, since `topics` alone cannot give the current state first); GraphQL Yoga «Subscriptions»
// (createPubSub).

import 'reflect-metadata'
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { ApolloServer } from '@apollo/server'
import { ApolloServerPluginDrainHttpServer } from '@apollo/server/plugin/drainHttpServer'
import { expressMiddleware } from '@as-integrations/express5'
import { createPubSub } from '@graphql-yoga/subscription'
import express from 'express'
import got from 'got'
import { useServer } from 'graphql-ws/use/ws'
import * as tg from 'type-graphql'
import { WebSocketServer } from 'ws'

const { PORT, UPSTREAM_URL, PUBLIC_URL } = process.env

enum TaskStatus {
  SUBMITTED = 'SUBMITTED',
  PROCESSING = 'PROCESSING',
  SUCCEEDED = 'SUCCEEDED',
}
tg.registerEnumType(TaskStatus, { name: 'TaskStatus' })

@tg.ObjectType()
class UpscaledImage {
  @tg.Field() url!: string
}

@tg.ObjectType()
class UpscaleTask {
  @tg.Field(() => tg.ID) id!: string
  @tg.Field(() => TaskStatus) status!: TaskStatus
  @tg.Field(() => tg.Int) version!: number
  @tg.Field(() => [UpscaledImage], { nullable: true }) images!: UpscaledImage[] | null
  @tg.Field() createdAt!: Date
  token!: string
}

@tg.InputType()
class UpscaleImageInput {
  @tg.Field() taskId!: string
  @tg.Field(() => tg.Int) imageIndex!: number
}

@tg.ObjectType()
class UpscaleImagePayload {
  @tg.Field() task!: UpscaleTask
}

const tasks = new Map<string, UpscaleTask>()
const pubSub = createPubSub<{ TASK_UPDATED: [id: string, task: UpscaleTask] }>()

function createTask(status: TaskStatus, version: number): UpscaleTask {
  const task = { id: randomUUID(), status, version, images: null, createdAt: new Date(), token: randomUUID() }
  tasks.set(task.id, task)
  return task
}

function updateTask(id: string, changes: Partial<UpscaleTask>): UpscaleTask {
  const old = tasks.get(id)!
  const task = { ...old, ...changes, version: old.version + 1 }
  tasks.set(id, task)
  pubSub.publish('TASK_UPDATED', id, task)
  return task
}

const callbackPath = (task: UpscaleTask) => `/callbacks/upscale/${task.id}/${task.token}`

// The current state, then every newer one, until the task is settled.
async function* taskUpdates(id: string): AsyncGenerator<UpscaleTask> {
  const events = pubSub.subscribe('TASK_UPDATED', id)
  let next = events.next() // the repeater listens from its first next(), so this comes before the state is read
  try {
    let task = tasks.get(id)
    if (!task) throw new Error('Unknown task')
    yield task
    while (task.status !== TaskStatus.SUCCEEDED) {
      task = (await next).value as UpscaleTask
      next = events.next()
      yield task
    }
  } finally {
    await events.return()
  }
}

@tg.Resolver(() => UpscaleTask)
class UpscaleTaskResolver {
  @tg.Query(() => UpscaleTask, { nullable: true })
  upscaleTask(@tg.Arg('id', () => tg.ID) id: string): UpscaleTask | undefined {
    return tasks.get(id)
  }

  @tg.Mutation(() => UpscaleImagePayload)
  async upscaleImage(
    @tg.Arg('input') { taskId, imageIndex }: UpscaleImageInput,
  ): Promise<UpscaleImagePayload> {
    const task = createTask(TaskStatus.SUBMITTED, 1)
    const json = { taskId, imageIndex, callBackUrl: `${PUBLIC_URL}${callbackPath(task)}` }
    const answer = await got
      .post(`${UPSTREAM_URL}/api/v1/mj/generateUpscale`, { json })
      .json<{ code: number }>()
    if (answer.code !== 200) throw new Error('The upstream refused the task')
    const current = tasks.get(task.id)! // the callback may have come before the answer
    if (current.status !== TaskStatus.SUBMITTED) return { task: current }
    return { task: updateTask(task.id, { status: TaskStatus.PROCESSING }) }
  }

  @tg.Subscription(() => UpscaleTask, { subscribe: ({ args }) => taskUpdates(args.id) })
  taskUpdated(@tg.Root() task: UpscaleTask, @tg.Arg('id', () => tg.ID) _id: string): UpscaleTask {
    return task
  }
}

const schema = await tg.buildSchema({ resolvers: [UpscaleTaskResolver], pubSub })

const app = express()
const httpServer = createServer(app)
const wsServer = new WebSocketServer({ server: httpServer, path: '/graphql' })
const serverCleanup = useServer({ schema }, wsServer)
const drainWs = { serverWillStart: async () => ({ drainServer: async () => serverCleanup.dispose() }) }
const plugins = [ApolloServerPluginDrainHttpServer({ httpServer }), drainWs]
const server = new ApolloServer({ schema, plugins })
await server.start()

app.use('/graphql', express.json(), expressMiddleware(server))
app.post('/callbacks/upscale/:taskId/:token', express.json(), (req, res) => {
  const task = tasks.get(req.params.taskId)
  if (!task) return void res.status(404).json({ code: 404 })
  if (task.token !== req.params.token) return void res.status(403).json({ code: 403 })
  if (task.status !== TaskStatus.SUCCEEDED) {
    const images = req.body.data.resultUrls.map((url: string) => ({ url }))
    updateTask(task.id, { status: TaskStatus.SUCCEEDED, images })
  }
  res.json({ code: 200 })
})
app.get('/readyz', (_req, res) => void res.sendStatus(200))

Object.assign(globalThis, {
  bench: {
    publish: (ids: string[]) => ids.forEach((id) => updateTask(id, {})),
    tasks: (count: number) =>
      Array.from({ length: count }, () => createTask(TaskStatus.PROCESSING, 2)).map((task) => ({
        id: task.id,
        callBackUrl: callbackPath(task),
      })),
  },
})

process.on('SIGTERM', () => process.exit(0))
httpServer.listen(Number(PORT), '127.0.0.1')

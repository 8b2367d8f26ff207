import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import pg from 'pg'
import { openTestSchema } from '../support/postgres.ts'
import {
  answerAtRandom,
  awaitTasks,
  expectSentOnce,
  killProcess,
  openQueueScene,
  readTasks,
  submitQueued,
  type Post,
  type QueueProcess,
} from '../support/queue-scene.ts'

/** A claim's lease of 10 s has to end. */
const TIMEOUT_MS = 60_000
const NAMES = ['replica-1', 'replica-2'] as const
type Name = (typeof NAMES)[number]

/** Two replicas on one database, each with a name in its connections and in its callback URLs. */
async function openReplicas(settings: Record<string, string> = {}) {
  await using opened = new AsyncDisposableStack()
  const schema = opened.use(await openTestSchema())
  const scene = opened.use(await openQueueScene(schema.url))
  const start = (name: Name) => {
    const url = new URL(schema.url)
    url.searchParams.set('application_name', name)
    return scene.start({ DATABASE_URL: url.href, PUBLIC_URL: `http://${name}.example.com`, ...settings })
  }
  const [one, two] = await Promise.all([start(NAMES[0]), start(NAMES[1])])
  const replicas = new Map<string, QueueProcess>([
    [NAMES[0], one],
    [NAMES[1], two],
  ])
  opened.defer(async () => {
    for (const replica of replicas.values()) await replica[Symbol.asyncDispose]()
  })
  const rest = opened.move()
  return Object.assign(scene, {
    database: schema.url,
    replicas,
    /** Kills a replica; resolves to the other one. */
    async kill(name: string): Promise<QueueProcess> {
      const victim = replicas.get(name)
      const other = replicas.get(NAMES.find((each) => each !== name) ?? '')
      if (victim === undefined || other === undefined) throw new Error(`There is no replica ${name}`)
      await killProcess(victim)
      return other
    },
    async restart(name: Name): Promise<void> {
      replicas.set(name, await start(name))
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  })
}

type Scene = Awaited<ReturnType<typeof openReplicas>>

const anyOf = ({ replicas }: Scene): QueueProcess => {
  const all = [...replicas.values()].filter(({ child }) => child.signalCode === null)
  const found = all[Math.floor(Math.random() * all.length)]
  if (found === undefined) throw new Error('No replica runs')
  return found
}
const senderOf = ({ callBackUrl }: Post) => callBackUrl.hostname.split('.')[0] ?? ''
/** Holds every process that is about to commit that a task has left the queue. */
async function holdSending(database: string) {
  const client = new pg.Client({ connectionString: database })
  await client.connect()
  const key = Math.floor(Math.random() * 2 ** 31)
  await client.query(`SELECT pg_advisory_lock(${key})`)
  await client.query(`CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(${key}); RETURN new; END $$`)
  await client.query(`CREATE TRIGGER hold BEFORE UPDATE ON task FOR EACH ROW
    WHEN (old."queueRank" IS NOT NULL AND new."queueRank" IS NULL) EXECUTE FUNCTION hold()`)
  return {
    /** The name of the replica that is held. */
    async held(): Promise<string> {
      for (;;) {
        const { rows } = await client.query<{ name: string }>(
          `SELECT application_name AS name FROM pg_locks JOIN pg_stat_activity USING (pid)
           WHERE locktype = 'advisory' AND objid = ${key} AND NOT granted`,
        )
        if (rows[0] !== undefined) return rows[0].name
      }
    },
    release: () => client.query(`SELECT pg_advisory_unlock(${key})`),
    [Symbol.asyncDispose]: () => client.end(),
  }
}

test.concurrent(
  'a replica that is killed between the claim of a queued task and its POST: the other one sends it when the lease ends',
  async () => {
    await using scene = await openReplicas()
    await using hold = await holdSending(scene.database)
    void submitQueued(anyOf(scene), 'source')
    const name = await hold.held()
    const other = await scene.kill(name)
    await hold.release()
    expect(await readTasks(other)).toMatchObject([{ status: 'SUBMITTED', queue: { position: 1 } }])
    const tasks = await awaitTasks(other, ({ status }) => status === 'PROCESSING')
    expectSentOnce(scene, tasks)
    expect(scene.posts.map(senderOf)).not.toContain(name)
    expect(scene.posts).toHaveLength(1)
  },
  TIMEOUT_MS,
)

test.concurrent(
  'a replica that is killed during the POST of a queued task: the other one does not send it, and its outcome is unknown',
  async () => {
    await using scene = await openReplicas({ TASK_DEADLINE_MS: '6000' })
    const posted = Promise.withResolvers<Post>()
    scene.onPost = posted.resolve
    void submitQueued(anyOf(scene), 'source')
    const other = await scene.kill(senderOf(await posted.promise))
    const tasks = await readTasks(other)
    expect(tasks).toMatchObject([{ status: 'SUBMITTED' }])
    expectSentOnce(scene, tasks)
    expect(await awaitTasks(other, ({ status }) => status === 'FAILED')).toMatchObject([
      { queue: null, problem: { code: 'UPSTREAM_OUTCOME_UNKNOWN' } },
    ])
    expect(scene.posts).toHaveLength(1)
  },
  TIMEOUT_MS,
)

test.concurrent(
  'a replica that is killed as soon as the upstream has answered: each task is PROCESSING, or its outcome is unknown',
  async () => {
    await using scene = await openReplicas()
    const killed = Promise.withResolvers<string>()
    scene.onPost = (post) => scene.answer(post, true, () => killed.resolve(senderOf(post)))
    const sources = Array.from({ length: 20 }, (_, n) => `source-${n}`)
    void submitQueued(anyOf(scene), ...sources)
    const other = await scene.kill(await killed.promise)
    expectSentOnce(scene, await awaitTasks(other, ({ queue }) => queue === null))
    const sent = scene.posts.map(({ taskId }) => taskId)
    expect(new Set(sent).size).toBe(sent.length)
  },
  TIMEOUT_MS,
)

test.concurrent(
  'replicas that are killed at any moment, again and again: each queued task is sent once, or its outcome is unknown',
  async () => {
    await using scene = await openReplicas()
    const nextPost = answerAtRandom(scene)
    for (let round = 0; round < 3; round += 1) {
      const sending = nextPost()
      for (const [name, replica] of scene.replicas)
        void submitQueued(replica, ...Array.from({ length: 10 }, (_, n) => `source-${name}-${round}-${n}`))
      await sending
      await pause(Math.random() * 100)
      const name = NAMES[Math.floor(Math.random() * 2)] ?? NAMES[0]
      await scene.kill(name)
      await scene.restart(name)
    }
    const tasks = await awaitTasks(anyOf(scene), ({ queue }) => queue === null)
    expect(tasks.length).toBeGreaterThan(0)
    expectSentOnce(scene, tasks)
  },
  TIMEOUT_MS,
)

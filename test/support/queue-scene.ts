import { setTimeout as pause } from 'node:timers/promises'
import { expect } from '@jest/globals'
import { startProcess } from './process.ts'
import { json, startScriptedUpstream, text, type Answer } from './scripted-upstream.ts'

export type QueueProcess = Awaited<ReturnType<typeof startProcess>>

const RESULT = 'https://example.com/result.png'
const TASKS = `{ upscaleTasks(first: 100) { edges { node {
  id status source { id } queue { position } problem { code } } } } }`

interface QueueTask {
  readonly id: string
  readonly status: string
  readonly source: { readonly id: string }
  readonly queue: { readonly position: number } | null
  readonly problem: { readonly code: string } | null
}

/**
 * Starts a service without limits, whose tasks are settled by callbacks. Its pool is small, because a
 * PostgreSQL server has 100 connections by default, and tests that run at once start many services.
 */
export function startQueueProcess(settings: Record<string, string>) {
  return startProcess({
    POOL_SIZE: '4',
    UPSTREAM_RATE_LIMIT: '0',
    OWNER_RATE_LIMIT: '0',
    UPSTREAM_TIMEOUT_MS: '5000',
    POLL_INTERVAL_MS: '60000',
    PUBLIC_URL: 'http://gateway.example.com',
    ...settings,
  })
}

/** A paid request as the upstream has received it. */
export interface Post {
  readonly taskId: string
  readonly callBackUrl: URL
  respond(answer: Answer): void
  /** Calls back once the answer is written. */
  onAnswered(then: () => void): void
  /** Whether the answer said that nothing was charged. */
  refused: boolean
}

/**
 * A database's URL, and an upstream that remembers the paid requests of each task, for services that are
 * processes.
 */
export async function openQueueScene(databaseUrl: string) {
  const upstream = await startScriptedUpstream()
  const posts: Post[] = []
  /** A refused task may be sent again after a second. */
  const answer = (post: Post, isAccepted: boolean, then: () => void = () => undefined) => {
    post.refused = !isAccepted
    post.onAnswered(then)
    post.respond(
      isAccepted
        ? json(200, { code: 200, data: { taskId: `upstream-${post.taskId}` } })
        : text(429, 'busy', { 'retry-after': '1' }),
    )
  }
  const scene = {
    url: upstream.url,
    posts,
    answer,
    /** What the upstream does with a paid request. */
    onPost: (post: Post): void => answer(post, true),
    start: (settings: Record<string, string> = {}) =>
      startQueueProcess({ DATABASE_URL: databaseUrl, UPSTREAM_URL: upstream.url, ...settings }),
    [Symbol.asyncDispose]: () => upstream[Symbol.asyncDispose](),
  }
  upstream.onCreate = (response, request) => {
    const callBackUrl = new URL((JSON.parse(request.body) as { callBackUrl: string }).callBackUrl)
    const post: Post = {
      taskId: callBackUrl.pathname.split('/')[3] ?? '',
      callBackUrl,
      refused: false,
      respond: (answer) => answer(response, request),
      onAnswered: (then) => void response.once('finish', then),
    }
    posts.push(post)
    scene.onPost(post)
  }
  return scene
}

export type QueueScene = Awaited<ReturnType<typeof openQueueScene>>

/**
 * Accepts or refuses paid requests at random, after random times, so that a kill can hit any moment. The
 * returned function resolves when the next request arrives.
 */
export function answerAtRandom(scene: Pick<QueueScene, 'onPost' | 'answer'>): () => Promise<void> {
  let onPost = () => undefined as void
  scene.onPost = (post) => {
    const isAccepted = Math.random() < 0.7
    setTimeout(() => scene.answer(post, isAccepted), Math.random() * 50)
    onPost()
  }
  return () => new Promise((resolve) => (onPost = resolve))
}

/**
 * Submits pictures of these source tasks to the queue. Resolves when the process has answered, or has died.
 */
export async function submitQueued(service: QueueProcess, ...sources: readonly string[]): Promise<void> {
  const inputs = sources.map((source) => `{taskId: "${source}", imageIndex: 0}`).join()
  const input = `{inputs: [${inputs}], idempotencyKey: "${sources[0] ?? ''}"}`
  const mutation = `mutation { upscaleImages(input: ${input}) { results { task { id } problem { code } } } }`
  const answer = (await service.run(mutation).catch(() => 'cut off')) as
    { data: { upscaleImages: { results: { task: unknown }[] } } } | 'cut off'
  if (answer === 'cut off') return
  for (const { task } of answer.data.upscaleImages.results) expect(task).not.toBeNull()
}

interface TasksAnswer {
  readonly data: { readonly upscaleTasks: { readonly edges: readonly { readonly node: QueueTask }[] } | null }
  readonly errors?: unknown
}

export async function readTasks(service: QueueProcess): Promise<QueueTask[]> {
  const { data, errors } = (await service.runWhenAvailable(TASKS)) as TasksAnswer
  if (data.upscaleTasks !== null) return data.upscaleTasks.edges.map(({ node }) => node)
  throw new Error(`The tasks cannot be read: ${JSON.stringify(errors)}\n${service.output()}`)
}

/** Reads the tasks until all of them are as a test wants. */
export async function awaitTasks(
  service: QueueProcess,
  isDone: (task: QueueTask) => boolean,
): Promise<QueueTask[]> {
  for (;;) {
    const tasks = await readTasks(service)
    if (tasks.every(isDone)) return tasks
    await pause(50)
  }
}

/** Ends a process as a crash does. */
export async function killProcess(service: QueueProcess): Promise<void> {
  service.child.kill('SIGKILL')
  expect(await service.exited).toMatchObject({ signal: 'SIGKILL' })
}

/** Reports the success of a task to this process, as the upstream does; the status of the answer. */
export async function callBackAt(service: QueueProcess, { taskId, callBackUrl }: Post): Promise<number> {
  const body = JSON.stringify({ code: 200, data: { taskId: `upstream-${taskId}`, resultUrls: [RESULT] } })
  return (await fetch(service.url + callBackUrl.pathname, { method: 'POST', body })).status
}

/**
 * Checks that no task was sent after a request that the upstream may have accepted, and that each is
 * PROCESSING, or SUBMITTED and outside of the queue: then its outcome is unknown.
 */
export function expectSentOnce({ posts }: QueueScene, tasks: readonly QueueTask[]): void {
  for (const { id, status, queue } of tasks) {
    const own = posts.filter(({ taskId }) => taskId === id)
    expect(own.slice(0, -1).map(({ refused }) => refused)).toEqual(own.slice(0, -1).map(() => true))
    expect(['PROCESSING', 'SUBMITTED']).toContain(status)
    expect(queue).toBeNull()
    if (status === 'PROCESSING') expect(own.at(-1)?.refused).toBe(false)
  }
  expect(new Set(posts.map(({ callBackUrl }) => callBackUrl.href)).size).toBe(posts.length)
}

import type { ServerResponse } from 'node:http'
import { expect, test } from '@jest/globals'
import {
  callBack,
  expectKept,
  expectStored,
  followTask,
  killService,
  openResultScene,
  type ResultService,
  type SubmittedTask,
} from '../support/result-scene.ts'
import { waitFor } from '../support/wait-for.ts'

/** A lease of 10 s has to end. */
const TIMEOUT_MS = 60_000
const TASKS = 30
/** Of these each two are equal. */
const SHARED = 10
/** The attempts that one replica makes at once. */
const MAX_RUNNING = 8

const countInspected = (replica: ResultService) => replica.output().split('"report":"inspected"').length - 1

/** Answers with a body in pieces, over a time. */
function drip(response: ServerResponse, body: Buffer, durationMs: number): void {
  const PIECES = 26
  const size = Math.ceil(body.length / PIECES)
  response.writeHead(200, { 'content-length': body.length })
  let at = 0
  const timer = setInterval(() => {
    response.write(body.subarray(at, at + size))
    at += size
    if (at < body.length) return
    clearInterval(timer)
    response.end()
  }, durationMs / PIECES)
  response.on('close', () => clearInterval(timer))
}

test.concurrent(
  'of 30 tasks that settle at once on two replicas, each picture is downloaded once, and equal bytes are one file',
  async () => {
    await using scene = await openResultScene()
    await using first = await scene.start()
    await using second = await scene.start()
    // Held until both replicas make as many attempts as they can.
    const held: (() => void)[] = []
    scene.server.answer = (response) => {
      held.push(() => scene.servePicture(response))
      if (scene.server.received.length >= 2 * MAX_RUNNING) for (const respond of held.splice(0)) respond()
    }
    const called: { readonly task: SubmittedTask; readonly url: string }[] = []
    for (let n = 0; n < TASKS; n += 1) {
      const twin = n < SHARED && n % 2 === 1 ? called.at(-1)?.url : undefined
      const url = await scene.add(`picture-${n}`, twin === undefined ? undefined : scene.bytesOf(twin))
      called.push({ task: await scene.submit(first, `source-${n}`), url })
    }
    const answers = called.map(({ task, url }, n) => callBack(n % 2 === 0 ? first : second, task, url))
    expect(new Set(await Promise.all(answers))).toEqual(new Set([200]))

    await Promise.all(
      called.map(async ({ task, url }, n) => {
        await expectKept(scene, await followTask(n % 3 === 0 ? first : second, task), url)
        expect(scene.requestsFor(url)).toBe(1)
      }),
    )
    expect(await scene.copies()).toHaveLength(TASKS - SHARED / 2)
    await expectStored(scene, ...called.map(({ url }) => url))
    expect(scene.payments()).toBe(TASKS)
    const [ofFirst, ofSecond] = [countInspected(first), countInspected(second)]
    expect(Math.min(ofFirst, ofSecond)).toBeGreaterThanOrEqual(MAX_RUNNING)
    expect(ofFirst + ofSecond).toBe(TASKS)
  },
  TIMEOUT_MS,
)

test.concurrent(
  'a download that takes longer than a lease is not repeated by another replica',
  async () => {
    await using scene = await openResultScene()
    await using first = await scene.start()
    await using second = await scene.start()
    const task = await scene.submit(first, 'source')
    const url = await scene.add('picture')
    scene.server.answer = (response) => drip(response, scene.bytesOf(url) ?? Buffer.alloc(0), 13_000)
    expect(await callBack(first, task, url)).toBe(200)
    await expectKept(scene, await followTask(second, task), url)
    expect(scene.requestsFor(url)).toBe(1)
    await expectStored(scene, url)
  },
  TIMEOUT_MS,
)

test.concurrent(
  'when a replica is killed while it downloads, another one takes over when the lease of 10 s ends',
  async () => {
    await using scene = await openResultScene()
    await using first = await scene.start()
    const task = await scene.submit(first, 'source')
    const url = await scene.add('picture')
    scene.server.answer = () => undefined
    expect(await callBack(first, task, url)).toBe(200)
    await waitFor(() => scene.requestsFor(url) === 1)
    await using second = await scene.start()
    scene.server.answer = (response) => scene.servePicture(response)
    await killService(first)
    const killedAt = performance.now()
    await expectKept(scene, await followTask(second, task), url)
    // The lease, a round of the worker, and time for a busy machine.
    expect(performance.now() - killedAt).toBeLessThan(14_000)
    expect(scene.requestsFor(url)).toBe(2)
    await expectStored(scene, url)
    expect(scene.payments()).toBe(1)
  },
  TIMEOUT_MS,
)

import { expect } from '@jest/globals'
import type { startProcess } from './process.ts'

type Service = Awaited<ReturnType<typeof startProcess>>

/** Settings with which every task has a delivery. */
export const BACKUP_SETTINGS = {
  CALLBACK_SIGNING_SECRETS: `whsec_${Buffer.alloc(32).toString('base64')}`,
  OWNER_RATE_LIMIT: '0',
  UPSTREAM_RATE_LIMIT: '0',
  CALLBACK_ALLOW_HOSTS: '127.0.0.1',
}

const toSubmit = (name: string) => `mutation { upscaleImage(input: {
  taskId: "${name}", imageIndex: 0, idempotencyKey: "${name}", callBackUrl: "http://127.0.0.1:1/hook" }) {
  replayed task { id } } }`
const LIST = '{ upscaleTasks { edges { node { id status callbacks { url } } } } }'

/** Submits a picture with an idempotency key and a delivery. */
export async function submit({ run }: Service, name: string): Promise<{ id: string; replayed: boolean }> {
  const { data } = (await run(toSubmit(name))) as {
    data: { upscaleImage: { replayed: boolean; task: { id: string } } }
  }
  return { id: data.upscaleImage.task.id, replayed: data.upscaleImage.replayed }
}

/** Expects that a restored service has exactly these tasks, with their keys and deliveries. */
export async function expectRestored(service: Service, tasks: readonly { id: string; name: string }[]) {
  const { data } = (await service.run(LIST)) as {
    data: { upscaleTasks: { edges: { node: { id: string; callbacks: unknown[] } }[] } }
  }
  const found = data.upscaleTasks.edges.map(({ node }) => node)
  expect(found.map(({ id }) => id).sort()).toEqual(tasks.map(({ id }) => id).sort())
  for (const { callbacks } of found) expect(callbacks).toHaveLength(1)
  for (const { id, name } of tasks) expect(await submit(service, name)).toEqual({ id, replayed: true })
}

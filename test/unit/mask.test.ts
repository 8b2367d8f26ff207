import { describe, expect, test } from '@jest/globals'
import { execute, parse } from 'graphql'
import { createFastPath } from '../../src/fast/fast-path.ts'
import { createContextFactory } from '../../src/graphql/context.ts'
import { maskResult } from '../../src/graphql/mask-result.ts'
import { createSchema } from '../../src/graphql/schema.ts'
import { createResultLinks } from '../../src/results/links.ts'
import { openCore } from '../support/core.ts'
import { newTask } from '../support/new-task.ts'

const log = { info: () => undefined, warn: () => undefined, error: () => undefined }

/** The schema, on a store that is closed. */
async function openSchema() {
  const { tasks, deliveries, ...core } = await openCore()
  const schema = await createSchema(log)
  const results = {
    links: createResultLinks(() => null),
    loadSource: () => Promise.resolve(null),
    listSources: () => Promise.resolve(null),
    remove: () => Promise.resolve(undefined),
  }
  const callbackPolicy = { canSign: () => false, allowedHosts: [] }
  const shared = { tasks, deliveries, results, callbackPolicy, mode: 'LIVE', watchTokens: null } as const
  const contextValue = createContextFactory(shared)({ owner: 'alice', operator: false })
  await core[Symbol.asyncDispose]()
  return { schema, contextValue }
}

const broken = (field: string) => ({
  ...newTask({}),
  get [field]() {
    throw new Error('a secret')
  },
})

describe.each(['the fast path', 'graphql-js'])('an unexpected error in an event, by %s', (by) => {
  const run = async (document: string, rootValue: unknown) => {
    const opened = await openSchema()
    const operation = {
      schema: opened.schema,
      contextValue: opened.contextValue,
      document: parse(document, { noLocation: true }),
    }
    if (by === 'the fast path') {
      const fast = createFastPath(opened.schema, log)
      await fast.load()
      const json = fast.executeEvent(rootValue, operation)
      return JSON.parse(await json) as unknown
    }
    return maskResult(await execute({ ...operation, rootValue }), opened.contextValue.correlationId, log)
  }

  test.each([
    ['taskUpdated', 'subscription { taskUpdated(id: "x") { id } }'],
    ['tasksUpdated', 'subscription { tasksUpdated(ids: ["x"]) { id } }'],
    ['upscaleTasksChanged', 'subscription { upscaleTasksChanged { id } }'],
  ])('of %s is masked, and has no path', async (field, document) => {
    const result = await run(document, broken('version'))
    expect(result).toMatchObject({
      data: { [field]: null },
      errors: [{ message: 'Internal server error', extensions: { code: 'INTERNAL_SERVER_ERROR' } }],
    })
    expect(result).not.toHaveProperty('errors.0.path')
    expect(JSON.stringify(result)).not.toContain('secret')
  })

  test('has the path of a field inside the task', async () => {
    // The store is closed.
    const result = await run(
      'subscription { taskUpdated(id: "x") { id callbacks { id } } }',
      newTask({ owner: 'alice' }),
    )
    expect(result).toMatchObject({
      errors: [{ path: ['taskUpdated', 'callbacks'], extensions: { code: 'INTERNAL_SERVER_ERROR' } }],
    })
  })
})

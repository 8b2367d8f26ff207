import { describe, expect, test } from '@jest/globals'
import { parse } from 'graphql'
import { createFastPath } from '../../src/fast/fast-path.ts'
import { CALLER_VIEW, type CallerView } from '../../src/fast/shared-results.ts'
import { createContextFactory, type Caller } from '../../src/graphql/context.ts'
import { createSchema } from '../../src/graphql/schema.ts'
import { openCore } from '../support/core.ts'
import { createResultLinks } from '../../src/results/links.ts'
import { newTask } from '../support/new-task.ts'

const log = { info: () => undefined, warn: () => undefined, error: () => undefined }
const DOCUMENT = parse('subscription ($id: ID!) { taskUpdated(id: $id) { version status } }')

/** Executes one event for several operations; says how often it was executed. */
async function countExecutions(
  operations: { caller?: Partial<Caller>; document?: typeof DOCUMENT; variables?: Record<string, unknown> }[],
): Promise<number> {
  await using core = await openCore()
  const { tasks, deliveries } = core
  const schema = await createSchema(log)
  const shared = { tasks, deliveries, mode: 'LIVE', watchTokens: null } as const
  const callbackPolicy = { canSign: () => false, allowedHosts: [] }
  const results = {
    links: createResultLinks(() => null),
    loadSource: () => Promise.resolve(null),
    listSources: () => Promise.resolve(null),
    remove: () => Promise.resolve(undefined),
  }
  const createContext = createContextFactory({ ...shared, results, callbackPolicy })
  const { load, executeEvent } = createFastPath(schema, log)
  await load()
  let executions = 0
  const event = {
    ...newTask({ version: 7 }),
    get version() {
      executions += 1
      return 7
    },
  }
  const execute = (each: (typeof operations)[number]) =>
    executeEvent(event, {
      schema,
      document: each.document ?? DOCUMENT,
      variableValues: each.variables ?? { id: event.id },
      contextValue: createContext({ owner: 'alice', operator: false, ...each.caller }),
    })
  await execute({})
  const perExecution = executions
  for (const each of operations)
    expect(await execute(each)).toBe('{"data":{"taskUpdated":{"version":7,"status":"SUBMITTED"}}}')
  return executions / perExecution
}

describe('an execution result', () => {
  test('is shared by operations with the same document, variables and caller', async () => {
    expect(await countExecutions([{}, {}])).toBe(1)
  })

  test.each([
    ['owner', { caller: { owner: 'bob' } }],
    ['rights', { caller: { operator: true } }],
    ['variables', { variables: { id: 'other' } }],
    ['document', { document: parse('subscription ($id: ID!) { taskUpdated(id: $id) { version status } }') }],
  ])('is not shared by operations that differ in the %s', async (_name, operation) => {
    expect(await countExecutions([operation, operation])).toBe(2)
  })

  test('depends on fields of a caller that must all be named', () => {
    // @ts-expect-error It has to be decided whether `role` affects what is seen.
    const view: CallerView<Caller & { readonly role: string }> = CALLER_VIEW
    expect(Object.keys(view)).toEqual(['owner', 'operator', 'stream'])
  })
})

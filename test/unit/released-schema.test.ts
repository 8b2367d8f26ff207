import { readFileSync } from 'node:fs'
import { CriticalityLevel, diff } from '@graphql-inspector/core'
import { describe, expect, test } from '@jest/globals'
import { buildSchema } from 'graphql'

const read = (path: string) => readFileSync(path, 'utf8')
const RELEASED = read('schema/released.graphql')

/** What changes from one SDL to another that clients or routers would break by. */
async function findBreaks(from: string, to: string): Promise<string[]> {
  const toSchema = (sdl: string) => buildSchema(sdl, { assumeValidSDL: true })
  const changes = await diff(toSchema(from), toSchema(to))
  return changes
    .filter(
      ({ criticality, message }) =>
        criticality.level === CriticalityLevel.Breaking ||
        // The inspector calls it only dangerous; but other subgraphs would no longer compose with ours.
        /^Directive '(key|shareable)' was removed/.test(message),
    )
    .map(({ message }) => message)
}

describe('schema/schema.graphql', () => {
  test('breaks nothing that schema/released.graphql, the schema of the last release, has promised', async () => {
    expect(await findBreaks(RELEASED, read('schema/schema.graphql'))).toEqual([])
  })

  test.each([
    ['a field goes', 'replayed: Boolean!', 'other: Boolean!'],
    ['a field may be null', 'replayed: Boolean!', 'replayed: Boolean'],
    ['an argument is required', 'afterVersion: Int', 'afterVersion: Int!'],
    ['an input field is required', 'idempotencyKey: String', 'idempotencyKey: String!'],
    ['a value of an enum goes', /\n {2}INSUFFICIENT_CREDITS/, '\n  OTHER'],
    ['an entity has no key', ' @key(fields: "id")', ''],
    ['a type is not shared any more', ' @shareable', ''],
  ])('is checked: it is noticed when %s', async (_name, from, to) => {
    const changed = RELEASED.replace(from, to)
    expect(changed).not.toBe(RELEASED)
    expect(await findBreaks(RELEASED, changed)).not.toEqual([])
  })
})

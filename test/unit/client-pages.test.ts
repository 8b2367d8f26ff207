import { readFile } from 'node:fs/promises'
import { expect, test } from '@jest/globals'
import { Kind, parse } from 'graphql'

const schema = parse(await readFile('schema/api.graphql', 'utf8'))
const SCALARS = schema.definitions
  .flatMap((node) => (node.kind === Kind.SCALAR_TYPE_DEFINITION ? node.name.value : []))
  .sort()

/** Where each page of docs/clients names the custom scalars: the pattern's group is a scalar. */
const MENTIONS = [
  ['swift-and-kotlin', 'the table', /^\| `(\w+)` \|/gm],
  ['swift-and-kotlin', 'the settings of Apollo Kotlin', /mapScalarToKotlinString\("(\w+)"\)/g],
  ['swift-and-kotlin', 'the files of Apollo iOS', /`CustomScalars\/(\w+)\.swift`/g],
  ['relay', 'the settings of relay-compiler', /"(\w+)": "string"/g],
] as const

test.each(MENTIONS)(
  '%s.md names exactly the custom scalars of the schema in %s',
  async (page, _place, pattern) => {
    const text = await readFile(`docs/clients/${page}.md`, 'utf8')
    expect([...text.matchAll(pattern)].map(([, name]) => name).sort()).toEqual(SCALARS)
  },
)

test('graphql-codegen.md names exactly the custom scalars of the schema, and ID', async () => {
  const text = await readFile('docs/clients/graphql-codegen.md', 'utf8')
  const lists = [...text.matchAll(/scalars: \{ (.*) \}/g)].map(([, list = '']) =>
    list.match(/\w+(?=:)/g)?.sort(),
  )
  expect(lists).toEqual(lists.map(() => ['ID', ...SCALARS].sort()))
  expect(lists).not.toHaveLength(0)
})

import { readFile } from 'node:fs/promises'
import { stripTypeScriptTypes } from 'node:module'
import { compileFunction } from 'node:vm'
import { afterEach, describe, expect, test } from '@jest/globals'
import * as client from '../../client/src/index.ts'
import * as testing from '../../client/src/testing/index.ts'

const PACKAGES: Readonly<Record<string, object>> = {
  'upscale-gateway-client': client,
  'upscale-gateway-client/testing': testing,
}

type Run = (
  packages: object,
  test: unknown,
  expect: unknown,
  afterEach: (cleanup: () => void) => void,
  exported: object,
) => void

interface Example {
  readonly title: string
  readonly run: () => unknown
}

/**
 * Runs the code of an example, with its imports from this repository. Returns the tests that it declares, and
 * its exports.
 */
function load(code: string) {
  const tests: Example[] = []
  const cleanups: (() => void)[] = []
  const declare = (title: string, run: () => unknown) => void tests.push({ title, run })
  declare.each = (rows: readonly object[]) => (title: string, run: (row: object) => unknown) => {
    for (const row of rows) tests.push({ title: `${title} ${JSON.stringify(row)}`, run: () => run(row) })
  }
  const body = code
    .replaceAll(
      /^import (\{.*\}) from '(.*)'$/gm,
      (_, names: string, from: string) => `const ${names} = packages['${from}']`,
    )
    .replaceAll(/^export const (\w+) =/gm, 'exported.$1 =')
  const exported: Record<
    string,
    { readonly args: { readonly client: testing.ScriptedGateway; readonly id: string } }
  > = {}
  // The examples use the names that Jest and Vitest define.
  const run = compileFunction(body, ['packages', 'test', 'expect', 'afterEach', 'exported']) as Run
  run(PACKAGES, declare, expect, (cleanup) => void cleanups.push(cleanup), exported)
  return { tests, cleanups, exported }
}

const page = await readFile('docs/clients/testing.md', 'utf8')
const examples = [...page.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code = '']) =>
  load(stripTypeScriptTypes(code)),
)
const cleanups = examples.flatMap((example) => example.cleanups)
afterEach(() => {
  for (const cleanup of cleanups) cleanup()
})

describe('the examples of docs/clients/testing.md', () => {
  test.each(examples.flatMap(({ tests }) => tests))('$title', async ({ run }) => {
    await run()
  })

  test('the stories settle by themselves, each in its own way', async () => {
    const stories = examples.flatMap(({ exported }) => Object.entries(exported))
    const ends = stories.map(async ([name, { args }]) => {
      const states = client.followTask(args.client, { id: args.id })
      await args.client.advance(20_000)
      return [name, (await Array.fromAsync(states)).at(-1)?.status]
    })
    expect(await Promise.all(ends)).toEqual([
      ['Succeeds', 'SUCCEEDED'],
      ['Fails', 'FAILED'],
      ['Slow', 'SUCCEEDED'],
    ])
    for (const [, { args }] of stories) args.client.reset()
  })
})

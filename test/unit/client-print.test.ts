import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { getIntrospectionQuery, parse } from 'graphql'
import { print, type AstNode } from '../../client/src/print.ts'
import * as operations from '../generated/operations.ts'

const PROPERTIES_OF_LISTS = ['arguments', 'directives', 'variableDefinitions']

/**
 * The node without its place in a text, without empty lists, which code generators omit, and without the
 * notation of strings.
 */
function toComparable(node: unknown): unknown {
  return JSON.parse(
    JSON.stringify(node, (key, value: unknown) => {
      const isEmpty = PROPERTIES_OF_LISTS.includes(key) && Array.isArray(value) && value.length === 0
      return key === 'loc' || key === 'block' || isEmpty ? undefined : value
    }),
  )
}

function expectSame(document: object): void {
  const parsed = parse(print(document as AstNode))
  expect(toComparable(parsed)).toEqual(toComparable(document))
}

const HANDMADE = {
  'variables with types, defaults and directives': `query Q($a: [Int!]! = [1, 2] @d(x: 1), $b: In = { c: "x", d: [], e: {} }, $c: String) { f(a: $a, b: $b) }`,
  'values of all kinds': `{ f(a: -1, b: 1.5e10, c: "a \\"quoted\\" \\u00e4\\n\\\\", d: true, e: false, g: null, h: ENUM, i: [], j: {}, k: [[1], [{ l: $m }]], n: "") }`,
  'aliases, directives and nested fields': `{ a: b @include(if: true) @skip(if: $c) { d: e(f: 1) { g } } h }`,
  'fragments and inline fragments': `query A { ...F @d ... on T @d { a } ... @include(if: $b) { c } ... { e } } fragment F on T @d(x: [A]) { on fragment query }`,
  'several operations': `mutation M @d { a } subscription S($a: Int = 0) { b(a: $a) } query { c }`,
  'block strings': `{ a(x: """one line""", y: """  indented""", z: """
      first
        second

      "quoted" \\""" \\n
    """, e: """""", q: """ends with a quote" """) }`,
}

describe('the printer of documents', () => {
  test('prints all generated documents and the introspection query', () => {
    const documents = Object.values(operations)
    expect(documents.length).toBeGreaterThan(5)
    for (const document of documents) expectSame(document)
    expectSame(parse(getIntrospectionQuery({ directiveIsRepeatable: true, inputValueDeprecation: true })))
  })

  test.each(Object.entries(HANDMADE))('prints %s', (_, text) => expectSame(parse(text)))

  test('prints compact text', () => {
    const text = 'query Q($a: [Int!] = [1]) @d { b: c(x: $a, y: { z: 1 }) { ...F ... on T { e } } }'
    expect(print({ ...parse(text) })).toBe(
      'query Q ($a: [Int!] =[ 1 ]) @d {b: c (x: $a y: { z: 1 }) {...F ...on T {e}}}',
    )
  })

  test('prints any string, and any block string as the same value', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('a', ' ', '\t', '\n', '"', '\\', 'é', '😀', '"""') }),
        (value) => {
          expectSame(parse(`{ a(x: ${JSON.stringify(value)}) }`))
          expectSame(parse(`{ a(x: """${value.replaceAll('"""', '\\"""').replace(/["\\\\]+$/, '')}""") }`))
        },
      ),
      { numRuns: 500 },
    )
  })
})

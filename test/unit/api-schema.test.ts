import { readFileSync } from 'node:fs'
import { describe, expect, test } from '@jest/globals'
import { buildSchema, isScalarType, isSpecifiedScalarType, printSchema } from 'graphql'

const api = readFileSync('schema/api.graphql', 'utf8')
const subgraph = readFileSync('schema/schema.graphql', 'utf8')

describe('schema/api.graphql', () => {
  test('is valid on its own, without definitions that its reader would have to know', () => {
    expect(() => buildSchema(api)).not.toThrow()
  })

  test('holds nothing of federation', () => {
    expect(api).not.toMatch(
      /@(link|key|shareable|tag|inaccessible|cost|listSize)|federation__|link__|\b_[A-Za-z]/,
    )
    expect(buildSchema(api).getDirectives()).toEqual(buildSchema('scalar A').getDirectives())
  })

  test('holds everything else of the subgraph schema, as it is there', () => {
    const withoutFederation = subgraph
      .replace(/^extend schema .*$/m, '')
      .replace(/^(directive|scalar (link|federation)__\w+).*$/gm, '')
      .replace(/^enum link__Purpose \{[^}]*\}/m, '')
      .slice(0, -1)
      .replace(/^type _Service[\s\S]*/m, '')
      .replace(/ @(key|shareable|cost|listSize|tag)(\([^)]*\))?/g, '')
    const print = (sdl: string) => printSchema(buildSchema(sdl)).split('\n').sort()
    expect(print(api)).toEqual(print(withoutFederation))
  })
})

test.each([
  ['schema/schema.graphql', subgraph],
  ['schema/api.graphql', api],
])('every scalar of our own says by what it is specified: %s', (_name, sdl) => {
  const scalars = Object.values(buildSchema(sdl, { assumeValidSDL: true }).getTypeMap()).filter(
    (type) =>
      isScalarType(type) && !isSpecifiedScalarType(type) && !/^(link|federation)__|^_/.test(type.name),
  )
  expect(scalars.map(String).sort()).toEqual(['DateTime', 'URL'])
  for (const scalar of scalars)
    expect(scalar).toMatchObject({
      specifiedByURL: expect.stringMatching(/^https:\/\/www\.rfc-editor\.org\/rfc\/rfc\d+$/),
    })
})

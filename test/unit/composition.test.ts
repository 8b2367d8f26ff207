import { readFileSync } from 'node:fs'
import { composeServices as composeByApollo } from '@apollo/composition'
import { composeServices as composeByGuild } from '@theguild/federation-composition'
import { describe, expect, test } from '@jest/globals'
import { buildSchema, parse } from 'graphql'

const read = (path: string) => readFileSync(path, 'utf8')
const OURS = {
  name: 'upscale',
  url: 'http://upscale/graphql',
  typeDefs: parse(read('schema/schema.graphql')),
}
const GALLERY = {
  name: 'gallery',
  url: 'http://gallery/graphql',
  typeDefs: parse(read('test/supergraph/gallery.graphql')),
}

describe('beside a subgraph that owns MidjourneyTask and extends UpscaleTask', () => {
  test('our schema composes by @apollo/composition, with no hint but differing descriptions', () => {
    const { errors, hints, supergraphSdl } = composeByApollo([OURS, GALLERY])
    expect(errors).toBeUndefined()
    expect(hints?.filter(({ definition: { code } }) => code !== 'INCONSISTENT_DESCRIPTION')).toEqual([])
    expect(supergraphSdl).toContain('taskUpdated')
  })

  test('and by @theguild/federation-composition, to the same types and fields', () => {
    const guild = composeByGuild([OURS, GALLERY])
    expect(guild.errors).toBeUndefined()
    const apollo = composeByApollo([OURS, GALLERY])
    const names = (sdl = '') =>
      Object.values(buildSchema(sdl, { assumeValidSDL: true }).getTypeMap())
        .filter(({ name }) => !/^(__|join__|link__|core__)/.test(name))
        .map((type) => [type.name, 'getFields' in type ? Object.keys(type.getFields()).sort() : []])
        .sort()
    expect(names(guild.supergraphSdl)).toEqual(names(apollo.supergraphSdl))
  })

  test('both composers find a fault when there is one', () => {
    const typeDefs = parse(read('test/supergraph/gallery.graphql').replace('likes: Int!', 'version: Int!'))
    for (const compose of [composeByApollo, composeByGuild])
      expect(
        compose([OURS, { ...GALLERY, typeDefs }])
          .errors?.map(String)
          .join(),
      ).toContain('version')
  })
})

test('every description of ours reaches the supergraph', () => {
  const { supergraphSdl = '' } = composeByApollo([OURS])
  const type = buildSchema(supergraphSdl, { assumeValidSDL: true }).getSubscriptionType()
  expect(type?.getFields().taskUpdated?.description).toMatch(/^Follows a task/)
})

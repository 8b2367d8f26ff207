import 'reflect-metadata'
import { buildSubgraphSchema } from '@apollo/subgraph'
import { printSchemaWithDirectives } from '@graphql-tools/utils'
import {
  graphql,
  isObjectType,
  isScalarType,
  parse,
  type GraphQLFieldResolver,
  type GraphQLScalarType,
  type GraphQLSchema,
} from 'graphql'
import { buildSchema, type PubSub } from 'type-graphql'
import type { Log } from '../tasks/ports.ts'
import type { OperationContext } from './context.ts'
import { badUserInput } from './errors.ts'
import { maskUnexpected } from './mask.ts'
import { QueueResolver, UpscaleImagesPayloadResolver } from './queue-resolver.ts'
import { resolveTaskReference, UpscaleImagePayloadResolver, UpscaleTaskResolver } from './upscale-resolver.ts'
import { UpscaleEngineResolver, UpscaleServiceResolver } from './service-resolver.ts'
import { SourceImagesResolver } from './source-images-resolver.ts'
import { TaskStreamsResolver } from './task-streams-resolver.ts'
import { TaskUpdatedResolver } from './task-updated-resolver.ts'

const FEDERATION = `
  extend schema @link(
    url: "https://specs.apollo.dev/federation/v2.9"
    import: ["@key", "@shareable", "@tag", "@inaccessible", "@cost", "@listSize"]
  )
`

/** TypeGraphQL cannot set the descriptions of the root types. */
const ROOT_DESCRIPTIONS = {
  Query: 'Reads. Fields are nullable, so that an error in one field does not remove the others.',
  Mutation: 'Writes.',
  Subscription: 'Live updates.',
}

/** TypeGraphQL requires one for any subscription. Ours has its own `subscribe`. */
const NO_PUB_SUB: PubSub = {
  publish() {
    throw new Error('The store announces changes: do not publish here')
  },
  subscribe() {
    throw new Error('The store announces changes: do not subscribe here')
  },
}

/** The executable subgraph schema: decorated types and resolvers, federation, masking. */
export async function createSchema(log: Log): Promise<GraphQLSchema> {
  const decorated = await buildSchema({
    resolvers: [
      UpscaleTaskResolver,
      QueueResolver,
      UpscaleImagesPayloadResolver,
      TaskUpdatedResolver,
      TaskStreamsResolver,
      UpscaleImagePayloadResolver,
      UpscaleServiceResolver,
      UpscaleEngineResolver,
      SourceImagesResolver,
    ],
    pubSub: NO_PUB_SUB,
    validate: false,
    // TypeGraphQL's check runs an introspection query; `buildSubgraphSchema` validates the served schema.
    skipCheck: true,
  })
  for (const [name, description] of Object.entries(ROOT_DESCRIPTIONS))
    Object.assign(decorated.getType(name) ?? {}, { description })
  const resolvers = toResolverMap(decorated)
  const typeDefs = parse(FEDERATION + printSchemaWithDirectives(decorated))
  const schema = buildSubgraphSchema([{ typeDefs, resolvers }])
  checkReferences(schema)
  return maskUnexpected(schema, log)
}

type FieldResolvers = Record<string, GraphQLFieldResolver<unknown, OperationContext> | SubscriptionResolvers>
interface SubscriptionResolvers {
  subscribe?: GraphQLFieldResolver<unknown, OperationContext>
  resolve?: GraphQLFieldResolver<unknown, OperationContext>
}

/** How references from other subgraphs are resolved (federation), by entity. */
const REFERENCE_RESOLVERS: Record<string, object> = {
  UpscaleTask: { __resolveReference: resolveTaskReference },
}

/** Refuses invalid references, for which @apollo/subgraph would fail unexpectedly. */
function checkReferences(schema: GraphQLSchema): void {
  const field = schema.getQueryType()?.getFields()._entities
  const resolve = field?.resolve
  if (!resolve) return
  field.resolve = (source, args: { representations: unknown[] }, context, info) => {
    if (!args.representations.every(isReference))
      throw badUserInput(
        'representations',
        'A representation must have the __typename of an entity, and its id.',
      )
    return resolve(source, args, context, info)
  }
}

const ENTITIES = ['UpscaleTask', 'MidjourneyTask']

function isReference(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || !('__typename' in value) || !('id' in value))
    return false
  const { __typename: type, id } = value
  return typeof type === 'string' && ENTITIES.includes(type) && typeof id === 'string'
}

/** Scalars and resolvers of the decorated schema, by type, for the subgraph schema built from its SDL. */
function toResolverMap(schema: GraphQLSchema): Record<string, GraphQLScalarType | FieldResolvers> {
  const map: Record<string, GraphQLScalarType | FieldResolvers> = {}
  for (const type of Object.values(schema.getTypeMap())) {
    if (isScalarType(type)) map[type.name] = type
    if (!isObjectType(type) || type.name.startsWith('__')) continue
    const fields: FieldResolvers = {}
    for (const { name, resolve, subscribe } of Object.values(type.getFields())) {
      if (resolve) fields[name] = subscribe ? { subscribe, resolve } : resolve
    }
    map[type.name] = { ...fields, ...REFERENCE_RESOLVERS[type.name] }
  }
  return map
}

/** The SDL that routers get from `_service`; committed as schema/schema.graphql. */
export async function readSdl(schema: GraphQLSchema): Promise<string> {
  const { data } = await graphql({ schema, source: '{ _service { sdl } }' })
  return `${(data as { _service: { sdl: string } } | null | undefined)?._service.sdl ?? ''}\n`
}

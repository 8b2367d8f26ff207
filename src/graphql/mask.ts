import {
  defaultFieldResolver,
  GraphQLError,
  isObjectType,
  type GraphQLFieldResolver,
  type GraphQLSchema,
} from 'graphql'
import type { Log } from '../tasks/ports.ts'
import type { OperationContext } from './context.ts'
import { maskError, withoutPath } from './errors.ts'

/**
 * Wraps all resolvers of the schema: masks unexpected errors, so that no transport can disclose them, and
 * adds the correlation id to GraphQL errors. Errors of a stream itself, that is of the root field of a
 * subscription, lose their path.
 */
export function maskUnexpected(schema: GraphQLSchema, log: Log): GraphQLSchema {
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) || type.name.startsWith('__')) continue
    const toError = type === schema.getSubscriptionType() ? withoutPath : (error: GraphQLError) => error
    for (const field of Object.values(type.getFields())) {
      if (field.resolve && field.resolve !== defaultFieldResolver)
        field.resolve = mask(field.resolve, log, toError)
      if (field.subscribe) field.subscribe = mask(field.subscribe, log, toError)
    }
  }
  return schema
}

type Resolver = GraphQLFieldResolver<unknown, OperationContext, Record<string, unknown>>

function mask(resolve: Resolver, log: Log, toError: (error: GraphQLError) => GraphQLError): Resolver {
  return (source, args, context, info) => {
    const onError = (error: unknown): never => {
      const { correlationId, record } = context
      const masked = error instanceof GraphQLError ? error : maskError(error, correlationId, log)
      masked.extensions.correlationId ??= correlationId
      if (typeof masked.extensions.code === 'string') record?.note(masked.extensions.code)
      throw toError(masked)
    }
    try {
      const result = resolve(source, args, context, info)
      return result instanceof Promise ? result.catch(onError) : result
    } catch (error) {
      return onError(error)
    }
  }
}

import { mapSchema, MapperKind } from '@graphql-tools/utils'
import type { GraphQLFieldResolver, GraphQLSchema } from 'graphql'
import type { OperationContext } from '../graphql/context.ts'
import { TaskUpdatedResolver, type TaskUpdatedArgs } from '../graphql/task-updated-resolver.ts'
import type { WatchEvent } from '../tasks/watch-state.ts'

/**
 * The schema, with `taskUpdated` called directly. TypeGraphQL validates arguments asynchronously, which makes the
 * execution of each event asynchronous.
 *
 * @throws if the resolver has middleware, guards or validation, which a direct call would skip.
 */
export function toDirectSchema(schema: GraphQLSchema): GraphQLSchema {
  requirePlain(TaskUpdatedResolver, 'taskUpdated')
  const resolver = new TaskUpdatedResolver()
  const resolve: GraphQLFieldResolver<WatchEvent, OperationContext, TaskUpdatedArgs> = (
    event,
    args,
    context,
  ) => resolver.taskUpdated(event, args, context)
  return mapSchema(schema, {
    [MapperKind.SUBSCRIPTION_ROOT_FIELD]: (field, name) =>
      name === 'taskUpdated' ? { ...field, resolve } : field,
  })
}

/** @throws if a subscription has middleware, guards, or validation of its arguments. */
export function requirePlain(target: object, methodName: string): void {
  const { subscriptions } = globalThis.TypeGraphQLMetadataStorage
  const found = subscriptions.find((each) => each.target === target && each.methodName === methodName)
  const { middlewares = [], roles, params = [] } = found ?? {}
  const isValidated = params.some(
    (param) => 'validateFn' in param && (param.validateFn ?? param.validateSettings) !== undefined,
  )
  if (found === undefined || middlewares.length > 0 || roles !== undefined || isValidated)
    throw new Error(
      `${methodName} has middleware, guards or validation: the fast path must not call it directly`,
    )
}

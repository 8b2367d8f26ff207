import { expect, test } from '@jest/globals'
import 'reflect-metadata'
import {
  Args,
  Authorized,
  buildSchema,
  Int,
  Query,
  Resolver,
  Subscription,
  UseMiddleware,
} from 'type-graphql'
import { requirePlain } from '../../src/fast/direct-schema.ts'
import { TaskUpdatedArgs } from '../../src/graphql/task-updated-resolver.ts'

@Resolver()
class Guarded {
  @Query(() => Int)
  one(): number {
    return 1
  }

  @Subscription(() => Int, { topics: 'a' })
  plain(): number {
    return 1
  }

  @UseMiddleware((_data, next) => next())
  @Subscription(() => Int, { topics: 'a' })
  withMiddleware(): number {
    return 1
  }

  @Authorized('ADMIN')
  @Subscription(() => Int, { topics: 'a' })
  withGuard(): number {
    return 1
  }

  @Subscription(() => Int, { topics: 'a' })
  withValidation(@Args(() => TaskUpdatedArgs, { validate: true }) { id }: TaskUpdatedArgs): number {
    return id.length
  }
}

const pubSub = { publish: () => undefined, subscribe: () => ({ [Symbol.asyncIterator]: () => never() }) }

test('the fast path calls only plain resolvers directly', async () => {
  await buildSchema({ resolvers: [Guarded], pubSub, authChecker: () => true })
  expect(() => requirePlain(Guarded, 'plain')).not.toThrow()
  for (const method of ['withMiddleware', 'withGuard', 'withValidation', 'unknown'])
    expect(() => requirePlain(Guarded, method)).toThrow('must not call it directly')
})

function never(): never {
  throw new Error('Nothing subscribes')
}

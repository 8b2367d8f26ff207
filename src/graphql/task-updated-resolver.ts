import 'reflect-metadata'
import { Args, ArgsType, Ctx, Field, ID, Int, Resolver, Root, Subscription } from 'type-graphql'
import type { WatchEvent } from '../tasks/watch/watch-state.ts'
import type { Watch } from '../tasks/watch/watch.ts'
import { unauthenticated, type OperationContext, type SubscribeData } from './context.ts'
import { selectsField } from './report-failure.ts'
import { toTaskShape } from './to-shape.ts'
import { UpscaleTaskType } from './types.ts'
import { toEndError } from './watch-ends.ts'

@ArgsType()
class TaskUpdatedArgs {
  @Field(() => ID, { description: "The gateway's id of the task." })
  id!: string

  @Field(() => Int, {
    nullable: true,
    description: 'The last version that you have received. If it is current, the first event is omitted.',
  })
  afterVersion?: number | null

  @Field(() => String, {
    nullable: true,
    description: 'A watch token of this task, for a caller that is not its owner.',
  })
  watchToken?: string | null
}

@Resolver()
export class TaskUpdatedResolver {
  @Subscription(() => UpscaleTaskType, {
    nullable: true,
    subscribe: ({ args, context, info }: SubscribeData<TaskUpdatedArgs>) =>
      watchTask(args, context, selectsField(info, 'queue')),
    description:
      'Follows a task: sends its current state, then each newer one, and completes after the final state. While nothing changes, the same state is sent again every 15 seconds.',
  })
  taskUpdated(
    @Root() event: WatchEvent,
    @Args(() => TaskUpdatedArgs) { id }: TaskUpdatedArgs,
    @Ctx() { stream }: OperationContext,
  ): UpscaleTaskType {
    if (typeof event === 'string') throw toEndError(event, id)
    stream?.onVersion?.(event.version)
    return toTaskShape(event)
  }
}

/** Watches a task, authorized by a watch token for it, or else as its owner. */
async function watchTask(
  { id, afterVersion = null, watchToken }: TaskUpdatedArgs,
  { tasks, owner, watchTokens, stream, record }: OperationContext,
  withPlace: boolean,
): Promise<Watch> {
  const token = watchToken == null ? undefined : await watchTokens?.read(watchToken, id)
  const isGuest = token !== undefined
  if (!isGuest && owner === null)
    throw unauthenticated('The watch token is missing, is not valid for this task, or has expired.')
  const ends = [stream?.until, isGuest ? token.expiresAt : null].filter((end) => end != null)
  return tasks.watch({
    owner: isGuest ? null : owner,
    id,
    withPlace,
    afterVersion: stream?.afterVersion ?? afterVersion,
    until: ends.length > 0 ? Math.min(...ends) : null,
    ...(stream && {
      onOpen(watch) {
        record?.follow(watch)
        return stream.onOpen(watch, isGuest ? id : null)
      },
    }),
  })
}

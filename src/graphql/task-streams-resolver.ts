import 'reflect-metadata'
import { Args, ArgsType, Field, ID, Int, Resolver, Root, Subscription } from 'type-graphql'
import type { TaskStatus } from '../tasks/task.ts'
import type { GroupEvent, GroupWatch } from '../tasks/watch/watch-group.ts'
import type { OwnerEvent, OwnerRequest, OwnerWatch } from '../tasks/watch/watch-owner.ts'
import { requireOwner, type OperationContext, type SubscribeData } from './context.ts'
import { UpscaleTaskStatus } from './enums.ts'
import { badUserInput, taskNotFound } from './errors.ts'
import { selectsField } from './report-failure.ts'
import { toTaskShape } from './to-shape.ts'
import { UpscaleTaskType } from './types.ts'
import { toStreamEndError } from './watch-ends.ts'

/** How many tasks one `tasksUpdated` may follow. */
const MAX_IDS = 50

@ArgsType()
class TasksUpdatedArgs {
  @Field(() => [ID], { description: "The gateway's ids of 1 to 50 tasks." })
  ids!: string[]

  @Field(() => [Int], {
    nullable: 'itemsAndList',
    description:
      'For each id, the last version that you have received, or null. If it is current, the first event of the task is omitted.',
  })
  afterVersions?: (number | null)[] | null
}

@ArgsType()
class TasksChangedArgs {
  @Field(() => UpscaleTaskStatus, {
    nullable: true,
    description: 'Only states with this status. No event is sent when a task leaves it.',
  })
  status?: TaskStatus | null
}

/**
 * Streams of many tasks, for their owner only. They ignore `Last-Event-ID`, which can hold the version of one
 * task.
 */
@Resolver()
export class TaskStreamsResolver {
  @Subscription(() => UpscaleTaskType, {
    nullable: true,
    subscribe: ({ args, context, info }: SubscribeData<TasksUpdatedArgs>) =>
      watchGroup(args, context, selectsField(info, 'queue')),
    description:
      'Follows several of your tasks in one stream, each as `taskUpdated` does. Every event is one full task. Completes when all have settled. An unknown id causes one event with the error TASK_NOT_FOUND; the stream continues with the other tasks.',
  })
  tasksUpdated(
    @Root() event: GroupEvent,
    // The arguments are declared here; `subscribe` uses them.
    @Args(() => TasksUpdatedArgs) _args: TasksUpdatedArgs,
  ): UpscaleTaskType {
    if (typeof event === 'string') throw toStreamEndError(event)
    if ('unknownId' in event) throw taskNotFound(event.unknownId)
    return toTaskShape(event)
  }

  @Subscription(() => UpscaleTaskType, {
    nullable: true,
    subscribe: ({ args, context }: { args: TasksChangedArgs; context: OperationContext }) =>
      watchOwner(args, context),
    description:
      'Follows all of your tasks, new ones included: sends the current states of the newest 100 first, then each newer state. Unchanged states are not sent again, and a change of only `queue` is no event. Does not complete.',
  })
  upscaleTasksChanged(
    @Root() event: OwnerEvent,
    @Args(() => TasksChangedArgs) _args: TasksChangedArgs,
  ): UpscaleTaskType {
    if (typeof event === 'string') throw toStreamEndError(event)
    return toTaskShape(event)
  }
}

function watchOwner({ status }: TasksChangedArgs, context: OperationContext): OwnerWatch {
  const owner = requireOwner(context)
  return context.tasks.watchOwner({ owner, status: status ?? null, ...toRules(context) })
}

function watchGroup(
  { ids, afterVersions }: TasksUpdatedArgs,
  context: OperationContext,
  withPlace: boolean,
): GroupWatch {
  const owner = requireOwner(context)
  if (ids.length < 1 || ids.length > MAX_IDS)
    throw badUserInput('ids', `ids has ${ids.length} entries; 1 to ${MAX_IDS} are allowed.`)
  if (afterVersions && afterVersions.length !== ids.length)
    throw badUserInput(
      'afterVersions',
      `afterVersions has ${afterVersions.length} entries; it needs one for each of the ${ids.length} ids.`,
    )
  // The first of equal ids counts.
  const versions = new Map(ids.map((id, index) => [id, afterVersions?.[index] ?? null] as const).reverse())
  return context.tasks.watchGroup({
    owner,
    tasks: [...new Set(ids)].map((id) => ({ id, afterVersion: versions.get(id) ?? null })),
    withPlace,
    ...toRules(context),
  })
}

function toRules({ stream }: OperationContext): Pick<OwnerRequest, 'until' | 'onOpen'> {
  return {
    until: stream?.until ?? null,
    ...(stream && { onOpen: (watch) => stream.onOpen(watch, null) }),
  }
}

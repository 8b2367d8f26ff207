import type { GraphQLResolveInfo } from 'graphql'
import {
  Arg,
  Args,
  ArgsType,
  Ctx,
  Directive,
  Field,
  FieldResolver,
  ID,
  Info,
  Int,
  Mutation,
  Query,
  Resolver,
  Root,
} from 'type-graphql'
import { toProblem } from '../tasks/failure.ts'
import type { TaskStatus } from '../tasks/task.ts'
import { requireOwner, toTrace, type OperationContext } from './context.ts'
import { UpscaleTaskStatus } from './enums.ts'
import { badUserInput, requestError, taskNotFound, toProblemError } from './errors.ts'
import { UpscaleImagePayloadType, UpscaleTaskConnectionType } from './payload-types.ts'
import { reportOnField, reportOnPayload, throwOnce } from './report-failure.ts'
import { UpscaleErrorInfoType } from './service-types.ts'
import {
  parseCursor,
  toConnectionShape,
  toDeliveryShape,
  toErrorInfoShapes,
  toPayloadShape,
  toTaskShape,
} from './to-shape.ts'
import { CallbackDeliveryType, UpscaleTaskType } from './types.ts'
import { parseUpscaleImageInput, toSubmitError, UpscaleImageInput } from './upscale-image-input.ts'

const MAX_PAGE = 100
const DEFAULT_PAGE = 20

@ArgsType()
class UpscaleTasksArgs {
  @Field(() => Int, {
    nullable: true,
    defaultValue: DEFAULT_PAGE,
    description: 'The size of the page: 1–100.',
  })
  first?: number | null

  @Field(() => String, { nullable: true, description: 'Only tasks after this cursor.' })
  after?: string | null

  @Field(() => UpscaleTaskStatus, { nullable: true, description: 'Only tasks with this status.' })
  status?: TaskStatus | null
}

@Resolver(() => UpscaleTaskType)
export class UpscaleTaskResolver {
  @Query(() => UpscaleTaskType, {
    nullable: true,
    description: 'A task by its id; null when it is unknown or belongs to another owner.',
  })
  upscaleTask(
    @Arg('id', () => ID, { description: "The gateway's id of the task." }) id: string,
    @Ctx() context: OperationContext,
  ): Promise<UpscaleTaskType | null> {
    return resolveTaskReference({ id }, context)
  }

  @Directive(
    '@listSize(slicingArguments: ["first"], sizedFields: ["edges"], requireOneSlicingArgument: false)',
  )
  @Query(() => UpscaleTaskConnectionType, { nullable: true, description: 'Your tasks, newest first.' })
  async upscaleTasks(
    @Args(() => UpscaleTasksArgs) { first, after, status }: UpscaleTasksArgs,
    @Ctx() context: OperationContext,
  ): Promise<UpscaleTaskConnectionType> {
    const { tasks } = context
    const owner = requireOwner(context)
    const size = first ?? DEFAULT_PAGE
    if (size < 1 || size > MAX_PAGE) throw badUserInput('first', `first must be 1 to ${MAX_PAGE}.`)
    const position = after == null ? null : parseCursor(after)
    const page = await tasks.list({ owner, status: status ?? null, after: position, limit: size + 1 })
    return toConnectionShape(page, size, position !== null)
  }

  @Directive('@listSize(assumedSize: 20)')
  @Query(() => [UpscaleErrorInfoType], {
    nullable: true,
    description: 'The error catalogue, for documentation and tooling.',
  })
  upscaleErrors(): UpscaleErrorInfoType[] {
    return toErrorInfoShapes()
  }

  @Directive('@cost(weight: 10)')
  @Mutation(() => UpscaleImagePayloadType, {
    nullable: true,
    description:
      'Upscales one picture of a Midjourney generation. Returns when the upscale service has accepted the task, or, with `queue: true`, when the task waits in the queue. Follow it with `taskUpdated`. Never pays twice for the same request.',
  })
  async upscaleImage(
    @Arg('input', () => UpscaleImageInput, { description: 'What to upscale.' }) input: UpscaleImageInput,
    @Ctx() context: OperationContext,
    @Info() info: GraphQLResolveInfo,
  ): Promise<UpscaleImagePayloadType> {
    const request = parseUpscaleImageInput(input, requireOwner(context), context)
    const submission = await context.tasks
      .submit({ ...request, ...toTrace(context) })
      .catch((error: unknown) => {
        throw toSubmitError(error)
      })
    const payload = toPayloadShape(submission)
    if (payload.problem) context.record?.note(payload.problem.code)
    if (payload.problem) reportOnPayload(payload.problem, info)
    return payload
  }

  @Directive('@cost(weight: 10)')
  @Mutation(() => UpscaleTaskType, {
    nullable: true,
    description:
      'Restarts the deliveries to all callback URLs of your task. Has no effect before the task has settled.',
  })
  async redeliverCallbacks(
    @Arg('id', () => ID, { description: "The gateway's id of the task." }) id: string,
    @Ctx() context: OperationContext,
  ): Promise<UpscaleTaskType> {
    const { deliveries, correlationId } = context
    const task = await deliveries.redeliver(requireOwner(context), id)
    if (task === undefined) throw taskNotFound(id)
    if ('code' in task) throw toProblemError(toProblem({ ...task, correlationId }, id))
    return toTaskShape(task)
  }

  @Directive('@cost(weight: 10)')
  @Mutation(() => ID, {
    nullable: true,
    description:
      'Deletes your settled task with its idempotency keys, deliveries and copies. Returns its id. Fails with TASK_RUNNING if the task has not settled, and with TASK_NOT_FOUND if you have no such task.',
  })
  async deleteUpscaleTask(
    @Arg('id', () => ID, { description: "The gateway's id of the task." }) id: string,
    @Ctx() context: OperationContext,
  ): Promise<string> {
    const removed = await context.results.remove(requireOwner(context), id)
    if (removed === undefined) throw taskNotFound(id)
    if (!removed)
      throw requestError('TASK_RUNNING', 'The task has not settled yet: delete it after that.', {
        taskId: id,
      })
    return id
  }

  @FieldResolver()
  images(
    @Root() task: UpscaleTaskType,
    @Ctx() { results }: OperationContext,
    @Info() info: GraphQLResolveInfo,
  ): UpscaleTaskType['images'] {
    return task.toImages(results.links) ?? reportOnField(task.problem, info)
  }

  @FieldResolver()
  sourceImage(
    @Root() { id, correlationId, engine, source, imageIndex, sourceImage }: UpscaleTaskType,
    @Ctx() { results }: OperationContext,
  ): UpscaleTaskType['sourceImage'] | Promise<UpscaleTaskType['sourceImage']> {
    const task = { id, correlationId, engine, sourceTaskId: source.id, imageIndex }
    return sourceImage ?? results.loadSource(task)
  }

  @Directive('@listSize(assumedSize: 5)')
  @FieldResolver(() => [CallbackDeliveryType], {
    description: 'The deliveries to the callback URLs of the task.',
  })
  async callbacks(
    @Root() task: UpscaleTaskType,
    @Ctx() context: OperationContext,
  ): Promise<CallbackDeliveryType[]> {
    if (task.owner !== context.owner)
      throw requestError('FORBIDDEN', 'Only the owner of a task may read its callbacks.')
    return (await context.loadDeliveries(task.id)).map(toDeliveryShape)
  }
}

@Resolver(() => UpscaleImagePayloadType)
export class UpscaleImagePayloadResolver {
  @FieldResolver()
  task(@Root() payload: UpscaleImagePayloadType, @Info() info: GraphQLResolveInfo): UpscaleTaskType | null {
    if (payload.error !== undefined) return throwOnce(payload.error, info)
    return payload.task ?? reportOnField(payload.problem, info)
  }

  @FieldResolver(() => String, {
    nullable: true,
    description:
      'A token with which another caller can follow this task by taskUpdated: a shared page, for example, or a router that forwards no headers. Valid for an hour by default. Null when there is no task, or watch tokens are not configured.',
  })
  watchToken(
    @Root() { task }: UpscaleImagePayloadType,
    @Ctx() { watchTokens }: OperationContext,
  ): Promise<string> | null {
    return task === null ? null : (watchTokens?.create(task.id) ?? null)
  }
}

/** Resolves a reference from another subgraph. Null if the task is unknown or belongs to another owner. */
export async function resolveTaskReference(
  { id }: { readonly id: string },
  context: OperationContext,
): Promise<UpscaleTaskType | null> {
  const task = await context.loadTask(id)
  return task ? toTaskShape(task) : null
}

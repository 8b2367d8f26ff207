import type { GraphQLResolveInfo } from 'graphql'
import { Arg, Ctx, Directive, FieldResolver, ID, Info, Mutation, Resolver, Root } from 'type-graphql'
import { requireOwner, toTrace, type OperationContext } from './context.ts'
import { requestError, taskNotFound, toProblemError } from './errors.ts'
import { UpscaleImagePayloadType, UpscaleImagesPayloadType } from './payload-types.ts'
import { selectsField, selectsUnderAnyAlias } from './report-failure.ts'
import { toPayloadShape, toTaskShape } from './to-shape.ts'
import { UpscaleQueuePlaceType, UpscaleTaskType } from './types.ts'
import { toSubmitError } from './upscale-image-input.ts'
import { parseUpscaleImagesInput, UpscaleImagesInput } from './upscale-images-input.ts'

/** Many submits in one request, and the queue. */
@Resolver(() => UpscaleTaskType)
export class QueueResolver {
  // Routers assume the size; cost.ts measures the lists in the input.
  @Directive('@listSize(assumedSize: 20, sizedFields: ["results"], requireOneSlicingArgument: false)')
  @Mutation(() => UpscaleImagesPayloadType, {
    nullable: true,
    description:
      'Upscales up to 20 pictures. Each has its own outcome, as with `upscaleImage`, and counts as one submit in every limit. Follow the tasks with `tasksUpdated`.',
  })
  async upscaleImages(
    @Arg('input', () => UpscaleImagesInput, { description: 'What to upscale.' }) input: UpscaleImagesInput,
    @Ctx() context: OperationContext,
    @Info() info: GraphQLResolveInfo,
  ): Promise<UpscaleImagesPayloadType> {
    const requests = parseUpscaleImagesInput(input, requireOwner(context), context)
    const trace = toTrace(context)
    const submissions = await context.tasks.submitAll(requests.map((request) => ({ ...request, ...trace })))
    const payloads = submissions.map((submission) =>
      submission.status === 'fulfilled'
        ? toPayloadShape(submission.value)
        : { task: null, problem: null, replayed: false, error: toSubmitError(submission.reason) },
    )
    const [problem] = payloads.flatMap((payload) => payload.problem ?? [])
    if (problem) context.record?.note(problem.code)
    if (!selectsField(info, 'results')) reportFirst(payloads)
    return { payloads }
  }

  @Directive('@cost(weight: 10)')
  @Mutation(() => UpscaleTaskType, {
    nullable: true,
    description:
      'Withdraws your task from the queue: the task fails with CANCELLED, and nothing is charged. Fails with TOO_LATE_TO_CANCEL if the task has been sent (it is charged) or has settled, and with TASK_NOT_FOUND if you have no such task.',
  })
  async cancelUpscale(
    @Arg('id', () => ID, { description: "The gateway's id of the task." }) id: string,
    @Ctx() context: OperationContext,
  ): Promise<UpscaleTaskType> {
    const task = await context.tasks.cancel(requireOwner(context), id)
    if (task === undefined) throw taskNotFound(id)
    if (task.failure?.code === 'CANCELLED') return toTaskShape(task)
    const message =
      task.settledAt === null
        ? 'The task has been sent to the upscale service: it is charged, whether its result is used or not.'
        : 'The task has settled: there is nothing to cancel.'
    throw requestError('TOO_LATE_TO_CANCEL', message, { taskId: id })
  }

  @FieldResolver(() => UpscaleQueuePlaceType, {
    nullable: true,
    description:
      'The place in the queue; null unless the task waits there. A `taskUpdated` or `tasksUpdated` that selects it sends an event when the position changes: at most one a second, with the same `version`.',
  })
  async queue(
    @Root() { id, engine, isQueued }: UpscaleTaskType,
    @Ctx() { tasks }: OperationContext,
  ): Promise<UpscaleQueuePlaceType | null> {
    const place = isQueued ? await tasks.findPlace({ id, engine }) : null
    if (place === null) return null
    const { position, estimatedStartAt: at } = place
    return { position, estimatedStartAt: at === null ? null : new Date(at) }
  }
}

@Resolver(() => UpscaleImagesPayloadType)
export class UpscaleImagesPayloadResolver {
  @Directive('@cost(weight: 10)')
  @FieldResolver(() => [UpscaleImagePayloadType], {
    description: 'The outcomes, in the order of the request. Each picture can be refused for its own reason.',
  })
  results(
    @Root() { payloads }: UpscaleImagesPayloadType,
    @Info() info: GraphQLResolveInfo,
  ): readonly UpscaleImagePayloadType[] {
    const selects = (field: string) => selectsUnderAnyAlias(info, field)
    const isReported = ({ error }: UpscaleImagePayloadType) =>
      selects('task') || (error === undefined && selects('problem'))
    reportFirst(payloads.filter((payload) => !isReported(payload)))
    return payloads
  }
}

/** Throws the failure of the first of these that has one: the field can report only one. */
function reportFirst(payloads: readonly UpscaleImagePayloadType[]): void {
  for (const { problem, error } of payloads) {
    if (error !== undefined) throw error
    if (problem !== null) throw toProblemError(problem)
  }
}

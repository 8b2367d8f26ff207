import { Arg, Ctx, Directive, ID, Query, Resolver } from 'type-graphql'
import type { SourceImage } from '../tasks/task.ts'
import { requireOwner, type OperationContext } from './context.ts'
import { badUserInput, requestError, STORE_UNAVAILABLE } from './errors.ts'
import { SourceImageType } from './types.ts'
import { checkTaskId } from './upscale-image-input.ts'

/** The pictures of a source task, before any of them is upscaled. */
@Resolver()
export class SourceImagesResolver {
  @Directive('@cost(weight: 10)')
  @Directive('@listSize(assumedSize: 4)')
  @Query(() => [SourceImageType], {
    nullable: 'itemsAndList',
    description:
      'The four pictures of a generation task, by their image index. Null if the engine does not report them, or does not know the task. Free of charge. Fails with SERVICE_UNAVAILABLE, which is retryable, while the polls of the gateway are used up.',
  })
  async sourceImages(
    @Arg('taskId', () => ID, { description: 'The id of the generation task, as in `UpscaleImageInput`.' })
    taskId: string,
    @Arg('engine', () => String, {
      nullable: true,
      description: 'The engine whose task it is: a name of `upscaleService.engines`. Default: the first.',
    })
    engine: string | null,
    @Ctx() context: OperationContext,
  ): Promise<readonly SourceImage[] | null> {
    const owner = requireOwner(context)
    checkTaskId(taskId)
    const { tasks, results, correlationId } = context
    const names = tasks.engines.all.map(({ name }) => name)
    const name = engine ?? names[0]
    if (name === undefined || !names.includes(name))
      throw badUserInput('engine', `engine must be one of ${names.join(', ')}.`)
    const images = await results.listSources({ owner, engine: name, sourceTaskId: taskId, correlationId })
    if (images === 'too-many')
      throw requestError('TOO_MANY_OPERATIONS', 'Too many of your sourceImages are running: wait for them.')
    if (images === 'busy') {
      const { retryable, retryAfterMs } = STORE_UNAVAILABLE
      const message = 'The source images cannot be read at the moment: retry.'
      throw requestError('SERVICE_UNAVAILABLE', message, { retryable, retryAfterMs })
    }
    return images
  }
}

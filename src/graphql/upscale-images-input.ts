import { Field, ID, InputType, Int } from 'type-graphql'
import type { SubmitInput } from '../tasks/submit-input.ts'
import { badUserInput } from './errors.ts'
import { ENGINE, parseUpscaleImageInput, QUEUE, type InputContext } from './upscale-image-input.ts'
import { Url } from './url.ts'

@InputType('UpscalePictureInput', { description: 'One picture of `UpscaleImagesInput.inputs`.' })
class UpscalePictureInput {
  @Field(() => ID, { description: 'The id of the Midjourney generation task, as in `UpscaleImageInput`.' })
  taskId!: string

  @Field(() => Int, { description: "Which of the task's four pictures: 0–3." })
  imageIndex!: number

  @Field(() => String, {
    nullable: true,
    description: 'Replaces the watermark of the request for this picture; an empty text: no watermark.',
  })
  waterMark?: string | null
}

@InputType('UpscaleImagesInput', {
  description:
    'Which pictures to upscale: `taskId` with `imageIndices`, or `inputs`. The other fields apply to all of them.',
})
export class UpscaleImagesInput {
  @Field(() => ID, {
    nullable: true,
    description: 'The id of the Midjourney generation task whose pictures are upscaled.',
  })
  taskId?: string | null

  @Field(() => [Int], {
    nullable: true,
    description: "Which of the task's four pictures: 1 to 4 different numbers, 0–3.",
  })
  imageIndices?: number[] | null

  @Field(() => [UpscalePictureInput], {
    nullable: true,
    description:
      'Instead of `taskId` and `imageIndices`: 1 to 20 different pictures, of any generation tasks.',
  })
  inputs?: UpscalePictureInput[] | null

  @Field(() => String, {
    nullable: true,
    description: 'A watermark to draw on each picture: at most 256 characters.',
  })
  waterMark?: string | null

  @Field(() => Url, {
    nullable: true,
    description: 'The URL to which the final state of each task is delivered, as in `UpscaleImageInput`.',
  })
  callBackUrl?: URL | null

  @Field(() => String, {
    nullable: true,
    description:
      'One key for the whole request: 1–128 characters of your choice. Each task has the key together with its position in the list: repeat a request with the same list in the same order.',
  })
  idempotencyKey?: string | null

  @Field(() => Boolean, {
    nullable: true,
    defaultValue: false,
    description: 'Submit and pay again, even if tasks for the same pictures are running or have succeeded.',
  })
  force?: boolean | null

  @Field(() => Boolean, { nullable: true, defaultValue: true, description: QUEUE })
  queue?: boolean | null

  @Field(() => String, {
    nullable: true,
    description: ENGINE,
  })
  engine?: string | null
}

const MAX_INDICES = 4
const MAX_INPUTS = 20

/** The submits of a request, in its order. @throws BAD_USER_INPUT that names the first invalid field. */
export function parseUpscaleImagesInput(
  { taskId, imageIndices, inputs, ...shared }: UpscaleImagesInput,
  owner: string,
  context: InputContext,
): Omit<SubmitInput, 'correlationId' | 'traceparent'>[] {
  const requests = toPictures(taskId, imageIndices, inputs).map(({ path, ...picture }, position) => {
    const input = { ...shared, ...picture, waterMark: picture.waterMark ?? shared.waterMark ?? null }
    const request = parseUpscaleImageInput(input, owner, context, path)
    const { idempotencyKey: key } = request
    const queue = shared.queue ?? true
    return { ...request, queue, idempotencyKey: key === null ? null : ([key, position] as const) }
  })
  // An empty watermark is none.
  const pictures = requests.map(({ sourceTaskId, imageIndex, waterMark }) =>
    JSON.stringify([sourceTaskId, imageIndex, waterMark ?? '']),
  )
  if (new Set(pictures).size < pictures.length)
    throw badUserInput(imageIndices ? 'imageIndices' : 'inputs', 'Each picture may be named only once.')
  return requests
}

type Picture = UpscalePictureInput & { readonly path: string }

function toPictures(
  taskId: UpscaleImagesInput['taskId'],
  imageIndices: UpscaleImagesInput['imageIndices'],
  inputs: UpscaleImagesInput['inputs'],
): Picture[] {
  if (inputs != null) {
    if (taskId != null || imageIndices != null)
      throw badUserInput('inputs', 'inputs replaces taskId and imageIndices: send one or the other.')
    if (inputs.length < 1 || inputs.length > MAX_INPUTS)
      throw badUserInput('inputs', `inputs must have 1 to ${MAX_INPUTS} pictures.`)
    return inputs.map(({ taskId: id, imageIndex, waterMark }, index) => ({
      taskId: id,
      imageIndex,
      waterMark: waterMark ?? null,
      path: `inputs.${index}.`,
    }))
  }
  if (taskId == null) throw badUserInput('taskId', 'taskId and imageIndices, or inputs, are required.')
  const isValid = (index: number) => index >= 0 && index <= 3
  if (
    imageIndices == null ||
    imageIndices.length < 1 ||
    imageIndices.length > MAX_INDICES ||
    !imageIndices.every(isValid)
  )
    throw badUserInput('imageIndices', 'imageIndices must be one to four of the numbers 0, 1, 2 and 3.')
  return imageIndices.map((imageIndex) => ({ taskId, imageIndex, path: '' }))
}

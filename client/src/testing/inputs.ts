/** Reads the inputs of mutations, with the checks of the gateway that a form can run into. */
import { RequestError } from './execute.ts'
import { ENGINE } from './shapes.ts'
import type { Submit } from './task.ts'

type Values = Readonly<Record<string, unknown>>

export function badInput(field: string, message: string): RequestError {
  return new RequestError('BAD_USER_INPUT', message, { field })
}

export function toObject(value: unknown): Values {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {}
}

export function toText(value: unknown): string | null {
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : null
}

const PRINTABLE = /^(?! )[\p{L}\p{M}\p{N}\p{P}\p{S} ]{1,128}(?<! )$/u

/** @throws RequestError BAD_USER_INPUT that names the first invalid field. `path` prefixes its name. */
export function parseSubmit(input: Values, path = ''): Submit {
  const taskId = toText(input.taskId) ?? ''
  const { imageIndex } = input
  const waterMark = toText(input.waterMark)
  const idempotencyKey = toText(input.idempotencyKey)
  const engine = toText(input.engine)
  if (!PRINTABLE.test(taskId))
    throw badInput(
      `${path}taskId`,
      'taskId must have 1 to 128 printable characters in Unicode normal form C, without leading or trailing spaces and without invisible characters.',
    )
  if (typeof imageIndex !== 'number' || ![0, 1, 2, 3].includes(imageIndex))
    throw badInput(`${path}imageIndex`, 'imageIndex must be 0, 1, 2 or 3.')
  if (waterMark !== null && waterMark.length > 256)
    throw badInput(`${path}waterMark`, 'waterMark must have at most 256 characters.')
  if (idempotencyKey !== null && (idempotencyKey.length < 1 || idempotencyKey.length > 128))
    throw badInput('idempotencyKey', 'idempotencyKey must have 1 to 128 characters.')
  if (engine !== null && engine !== ENGINE) throw badInput('engine', `engine must be one of ${ENGINE}.`)
  return {
    taskId,
    imageIndex,
    waterMark: waterMark === '' ? null : waterMark,
    idempotencyKey,
    engine,
    callBackUrl: toText(input.callBackUrl),
    force: input.force === true,
    queue: input.queue === true,
  }
}

/** The submits of `upscaleImages`, in its order. */
export function parseSubmits({ taskId, imageIndices, inputs, queue, ...shared }: Values): Submit[] {
  const pictures = toPictures(taskId, imageIndices, inputs)
  const submits = pictures.map(({ path, ...picture }, position) => {
    const waterMark = toText(picture.waterMark) ?? shared.waterMark
    const submit = parseSubmit({ ...shared, ...picture, waterMark, queue: queue ?? true }, path)
    const { idempotencyKey: key } = submit
    return { ...submit, idempotencyKey: key === null ? null : JSON.stringify([key, position]) }
  })
  const names = submits.map(({ taskId: id, imageIndex, waterMark }) =>
    JSON.stringify([id, imageIndex, waterMark]),
  )
  if (new Set(names).size < names.length)
    throw badInput(imageIndices ? 'imageIndices' : 'inputs', 'Each picture may be named only once.')
  return submits
}

function toPictures(
  taskId: unknown,
  imageIndices: unknown,
  inputs: unknown,
): (Values & { readonly path: string })[] {
  if (Array.isArray(inputs)) {
    if (taskId != null || imageIndices != null)
      throw badInput('inputs', 'inputs replaces taskId and imageIndices: send one or the other.')
    if (inputs.length < 1 || inputs.length > 20)
      throw badInput('inputs', 'inputs must have 1 to 20 pictures.')
    return inputs.map((input, index) => ({ ...toObject(input), path: `inputs.${index}.` }))
  }
  if (taskId == null) throw badInput('taskId', 'taskId and imageIndices, or inputs, are required.')
  const indices: unknown[] = Array.isArray(imageIndices) ? imageIndices : []
  if (indices.length < 1 || indices.length > 4)
    throw badInput('imageIndices', 'imageIndices must be one to four of the numbers 0, 1, 2 and 3.')
  return indices.map((imageIndex) => ({ taskId, imageIndex, path: '' }))
}

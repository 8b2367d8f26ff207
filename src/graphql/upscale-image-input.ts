import { Field, ID, InputType, Int } from 'type-graphql'
import type { InputFault } from '../tasks/engines/choice.ts'
import type { SubmitInput } from '../tasks/submit-input.ts'
import { TooManyCallbacksError } from '../tasks/submission.ts'
import type { Tasks } from '../tasks/tasks.ts'
import type { CallbackPolicy } from './context.ts'
import { badUserInput } from './errors.ts'
import { isPublicHost } from './public-host.ts'
import { Url } from './url.ts'

export const QUEUE =
  '`true`: while the upscale service takes no tasks (rate limit, maintenance) or cannot be reached, the task waits in the queue as SUBMITTED, until `deadlineAt` at most. `false`: it is refused then.'

export const ENGINE =
  'The engine that upscales: a name of `upscaleService.engines`. Default: the gateway chooses, usually the first. With an engine named here, a task for the same picture at another engine is not reused.'

@InputType('UpscaleImageInput', {
  description: "What to upscale. The first four fields are named as in the upscale service's own REST API.",
})
export class UpscaleImageInput {
  @Field(() => ID, {
    description:
      'The id of the Midjourney generation task: 1–128 printable characters, without leading or trailing spaces and without invisible characters.',
  })
  taskId!: string

  @Field(() => Int, { description: "Which of the task's four pictures: 0–3." })
  imageIndex!: number

  @Field(() => String, { nullable: true, description: 'A watermark to draw: at most 256 characters.' })
  waterMark?: string | null

  @Field(() => Url, {
    nullable: true,
    description:
      'The URL to which the final state is delivered, signed (Standard Webhooks): an absolute http(s) URL of a public host, without user info. Each replay may add a URL to its task; a task has at most five.',
  })
  callBackUrl?: URL | null

  @Field(() => String, {
    nullable: true,
    description:
      'Submits with the same key return the same task for 24 hours: 1–128 characters of your choice.',
  })
  idempotencyKey?: string | null

  @Field(() => Boolean, {
    nullable: true,
    defaultValue: false,
    description: 'Submit and pay again, even if a task for the same picture is running or has succeeded.',
  })
  force?: boolean | null

  @Field(() => Boolean, {
    nullable: true,
    defaultValue: false,
    description: QUEUE,
  })
  queue?: boolean | null

  @Field(() => String, {
    nullable: true,
    description: ENGINE,
  })
  engine?: string | null
}

const MAX_URL_LENGTH = 2_048

/** Letters, digits, marks, punctuation, symbols, and spaces between them. */
const PRINTABLE = /^(?! )[\p{L}\p{M}\p{N}\p{P}\p{S} ]+(?<! )$/u
/** Invisible characters of those classes (such as U+3164, U+034F, U+FE0F), and blanks of four scripts. */
const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\u2800\u{1D159}\u{16FE4}\u{13441}\u{13442}]/u

/** Ids that look the same must be equal: otherwise they are different pictures, and each is paid for. */
function isPrintable(id: string): boolean {
  return id.length <= 128 && PRINTABLE.test(id) && !INVISIBLE.test(id) && id === id.normalize()
}

/** Throws BAD_USER_INPUT unless this can be the id of a source task. */
export function checkTaskId(taskId: string, path = ''): void {
  if (!isPrintable(taskId))
    throw badUserInput(
      `${path}taskId`,
      'taskId must have 1 to 128 printable characters in Unicode normal form C, without leading or trailing spaces and without invisible characters.',
    )
}

type Request = Omit<SubmitInput, 'correlationId' | 'traceparent'>

export interface InputContext {
  readonly tasks: Pick<Tasks, 'findInputFault'>
  readonly callbackPolicy: CallbackPolicy
}

/**
 * `path`: prefixes the names of the fields in errors, such as `inputs.0.`.
 * @throws BAD_USER_INPUT that names the first invalid field.
 */
export function parseUpscaleImageInput(
  input: UpscaleImageInput,
  owner: string,
  { tasks, callbackPolicy }: InputContext,
  path = '',
): Request & { readonly idempotencyKey: string | null } {
  const { taskId, imageIndex, waterMark, callBackUrl, idempotencyKey, force, queue, engine } = input
  checkTaskId(taskId, path)
  if (imageIndex < 0 || imageIndex > 3)
    throw badUserInput(`${path}imageIndex`, 'imageIndex must be 0, 1, 2 or 3.')
  if (waterMark && waterMark.length > 256)
    throw badUserInput(`${path}waterMark`, 'waterMark must have at most 256 characters.')
  if (waterMark && (waterMark.includes('\0') || !waterMark.isWellFormed()))
    throw badUserInput(`${path}waterMark`, 'waterMark must be well-formed text without NUL.')
  if (typeof idempotencyKey === 'string' && (idempotencyKey.length < 1 || idempotencyKey.length > 128))
    throw badUserInput('idempotencyKey', 'idempotencyKey must have 1 to 128 characters.')
  if (callBackUrl) checkCallBackUrl(callBackUrl, owner, callbackPolicy)
  const picture = { sourceTaskId: taskId, imageIndex, waterMark: waterMark ?? null }
  const fault = tasks.findInputFault({ ...picture, requestedEngine: engine ?? null })
  if (fault !== null) throw toInputError(fault, path)
  return {
    ...picture,
    owner,
    engine: engine ?? null,
    callBackUrl: callBackUrl?.href ?? null,
    idempotencyKey: idempotencyKey ?? null,
    force: force ?? false,
    queue: queue ?? false,
  }
}

function toInputError(fault: InputFault, path: string): Error {
  if (fault.kind === 'unknown-engine')
    return badUserInput('engine', `engine must be one of ${fault.names.join(', ')}.`)
  const { field, engine, reason } = fault
  return badUserInput(`${path}${field}`, `The engine ${engine} does not support this ${field}: ${reason}.`)
}

/** The error of a submit; BAD_USER_INPUT if the caller can remedy it. */
export function toSubmitError(error: unknown): Error {
  return error instanceof TooManyCallbacksError
    ? badUserInput('callBackUrl', 'This task already has five callback URLs.')
    : error instanceof Error
      ? error
      : new Error('A submit failed', { cause: error })
}

function checkCallBackUrl(url: URL, owner: string, { canSign, allowedHosts }: CallbackPolicy): void {
  const web = url.protocol === 'https:' || url.protocol === 'http:'
  const host = isPublicHost(url.hostname) || allowedHosts.includes(url.hostname)
  if (!web || url.username !== '' || url.password !== '' || !host)
    throw badUserInput(
      'callBackUrl',
      'callBackUrl must be an http(s) URL of a public host, without user info.',
    )
  if (url.href.length > MAX_URL_LENGTH)
    throw badUserInput('callBackUrl', `callBackUrl must have at most ${MAX_URL_LENGTH} characters.`)
  if (!canSign(owner))
    throw badUserInput(
      'callBackUrl',
      'callBackUrl is not supported: CALLBACK_SIGNING_SECRETS has no secret for your deliveries.',
    )
}

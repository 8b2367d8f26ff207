import { CATALOGUE, TASK_NOT_FOUND } from './catalogue.ts'
import { RequestError } from './execute.ts'
import { badInput, parseSubmit, parseSubmits, toObject, toText } from './inputs.ts'
import { toCause } from './scenario.ts'
import {
  toConnectionShape,
  toErrorInfoShapes,
  toPayloadShape,
  toServiceShape,
  toSourceImageShape,
  toTaskShape,
  type Shape,
} from './shapes.ts'
import { isSettled, type ScriptedTask, type Submit } from './task.ts'
import type { ScriptedTasks, Submission } from './tasks.ts'

/** What an operation has to know. */
interface OperationContext {
  readonly tasks: ScriptedTasks
  readonly correlationId: string
  /** The code of the error catalogue with which a submit is refused, as a test has asked for. */
  readonly refuseWith: string | null
}

type Args = Readonly<Record<string, unknown>>
/** Returns complete objects, of which the selected fields are picked. @throws RequestError */
type Resolve = (args: Args, context: OperationContext) => unknown

export function taskNotFound(taskId: string): RequestError {
  return new RequestError('TASK_NOT_FOUND', TASK_NOT_FOUND, { taskId })
}

export function toShape(tasks: ScriptedTasks, task: ScriptedTask): Shape {
  return toTaskShape(task, () => tasks.toPosition(task))
}

export const QUERIES: Readonly<Record<string, Resolve>> = {
  upscaleTask({ id }, { tasks }) {
    const task = tasks.find(toText(id) ?? '')
    return task ? toShape(tasks, task) : null
  },
  upscaleTasks({ first, after, status }, { tasks }) {
    const size = typeof first === 'number' ? first : 20
    if (size < 1 || size > 100) throw badInput('first', 'first must be 1 to 100.')
    const all = tasks.list().filter((task) => status == null || task.status === status)
    const rest = after == null ? all : all.slice(all.findIndex(({ id }) => id === after) + 1)
    const page = rest.slice(0, size).map((task) => toShape(tasks, task))
    return toConnectionShape(page, rest.length > size, after != null)
  },
  upscaleErrors: () => toErrorInfoShapes(),
  upscaleService: (_, { tasks }) => toServiceShape(tasks.list().length),
  sourceImages: ({ taskId }) => [0, 1, 2, 3].map((index) => toSourceImageShape(toText(taskId) ?? '', index)),
  __typename: () => 'Query',
}

export const MUTATIONS: Readonly<Record<string, Resolve>> = {
  async upscaleImage({ input }, context) {
    return toPayload(await submit(parseSubmit(toObject(input)), context), context)
  },
  async upscaleImages({ input }, context) {
    const submits = parseSubmits(toObject(input))
    const submissions = await Promise.all(submits.map((each) => submit(each, context)))
    const results = submissions.map((each) => toPayload(each, context))
    return { __typename: 'UpscaleImagesPayload', results }
  },
  cancelUpscale({ id }, { tasks }) {
    const task = findTask(tasks, id)
    if (tasks.cancel(task)) return toShape(tasks, task)
    const message = isSettled(task)
      ? 'The task has settled: there is nothing to cancel.'
      : 'The task has been sent to the upscale service: it is charged, whether its result is used or not.'
    throw new RequestError('TOO_LATE_TO_CANCEL', message, { taskId: task.id })
  },
  redeliverCallbacks: ({ id }, { tasks }) => toShape(tasks, findTask(tasks, id)),
  deleteUpscaleTask({ id }, { tasks }) {
    const task = findTask(tasks, id)
    if (!isSettled(task))
      throw new RequestError('TASK_RUNNING', 'The task has not settled yet: delete it after that.', {
        taskId: task.id,
      })
    tasks.remove(task.id)
    return task.id
  },
  __typename: () => 'Mutation',
}

function findTask(tasks: ScriptedTasks, id: unknown): ScriptedTask {
  const task = tasks.find(toText(id) ?? '')
  if (task === undefined) throw taskNotFound(toText(id) ?? '')
  return task
}

function submit(input: Submit, { tasks, correlationId, refuseWith }: OperationContext): Promise<Submission> {
  const code = CATALOGUE.find((entry) => entry.code === refuseWith)?.code
  if (code === undefined) return tasks.submit(input, correlationId)
  return Promise.resolve({ task: null, refusal: toCause(code), failedTask: null, replayed: false })
}

function toPayload(submission: Submission, { tasks, correlationId }: OperationContext): Shape {
  return toPayloadShape(submission, correlationId, (task) => toShape(tasks, task))
}

/**
 * The GraphQL object types of tasks. to-shape.ts creates their values. Fields that are loaded with their
 * parent cost nothing.
 */
import { Directive, Field, Float, ID, Int } from 'type-graphql'
import type { DeliveryState } from '../deliveries/outbox.ts'
import type { ResultLinks } from '../results/links.ts'
import type { Problem, UpscaleErrorCode } from '../tasks/failure.ts'
import type { SourceImage, TaskEventSource, TaskStatus } from '../tasks/task.ts'
import { DateTime } from './date-time.ts'
import {
  CallbackDeliveryState,
  UpscaleErrorCodeEnum,
  UpscaleTaskEventSource,
  UpscaleTaskStatus,
} from './enums.ts'
import { UpscaledImageType } from './image-type.ts'
import { PlainType } from './plain-type.ts'
import { Url } from './url.ts'

@PlainType('UpscaleProblem', 'A failure as data, with the same fields as the typed GraphQL error.')
export class UpscaleProblemType implements Problem {
  @Field(() => UpscaleErrorCodeEnum, { description: 'The stable code. Branch on it, not on the message.' })
  code!: UpscaleErrorCode

  @Field(() => String, { description: 'What happened, for people.' })
  message!: string

  @Field(() => Boolean, { description: 'Whether a retry of the same request may succeed.' })
  retryable!: boolean

  @Field(() => Int, { nullable: true, description: 'How long to wait before the retry, in milliseconds.' })
  retryAfterMs!: number | null

  @Field(() => Int, { nullable: true, description: "The upscale service's code, if it sent one." })
  upstreamCode!: number | null

  @Field(() => ID, { nullable: true, description: 'The task that has failed, if it is stored.' })
  taskId!: string | null

  @Field(() => String, { description: 'Quote it to the operator, who can find the cause in the log.' })
  correlationId!: string
}

@Directive('@key(fields: "id", resolvable: false)')
@PlainType(
  'MidjourneyTask',
  'A Midjourney generation task. Another subgraph may own this type; this one only refers to it.',
)
export class MidjourneyTaskType {
  @Field(() => ID, { description: "The upscale service's id of the generation task." })
  id!: string
}

@PlainType('SourceImage', 'The picture that is upscaled, on the server of the upscale service.')
export class SourceImageType implements SourceImage {
  @Field(() => Url, { description: 'The URL of the picture. It expires.' })
  url!: string

  @Field(() => String, {
    nullable: true,
    description: 'A placeholder of about 25 bytes (ThumbHash), in Base64.',
  })
  thumbhash!: string | null

  @Field(() => Int, { nullable: true, description: 'The width in pixels.' })
  width!: number | null

  @Field(() => Int, { nullable: true, description: 'The height in pixels.' })
  height!: number | null
}

@PlainType('UpscaleTaskEvent', 'An entry in the history of a task.')
export class UpscaleTaskEventType {
  @Field(() => DateTime, { description: 'When it happened.' })
  at!: Date

  @Field(() => UpscaleTaskStatus, { description: 'The status after the event.' })
  status!: TaskStatus

  @Field(() => UpscaleTaskEventSource, { description: 'The source of the change.' })
  source!: TaskEventSource

  @Field(() => Int, { nullable: true, description: "The upscale service's code, if it sent one." })
  upstreamCode!: number | null

  @Field(() => String, {
    nullable: true,
    description:
      'The correlation id of the task: quote it to the operator, who can find the cause in the log.',
  })
  correlationId!: string

  @Field(() => String, { nullable: true, description: 'What happened, for people.' })
  note!: string | null
}

@PlainType('CallbackDelivery', "The delivery of a task's final state to a callback URL.")
export class CallbackDeliveryType {
  @Field(() => Url, { description: 'The callback URL, without its query.' })
  url!: string

  @Field(() => CallbackDeliveryState, { description: 'The state of the delivery.' })
  state!: DeliveryState

  @Field(() => Int, { description: 'The number of attempts to deliver the latest final state.' })
  attempts!: number

  @Field(() => Int, {
    nullable: true,
    description: 'The HTTP status of the response to the last attempt; null if there was none.',
  })
  lastStatusCode!: number | null

  @Field(() => DateTime, {
    nullable: true,
    description: 'When the next attempt is due; null if none is, or if the task has not settled.',
  })
  nextAttemptAt!: Date | null
}

@Directive('@key(fields: "id")')
@PlainType('UpscaleTask', 'One upscale of one picture, from submit to result.')
export class UpscaleTaskType {
  /** Not in the schema. */
  owner!: string

  /** Not in the schema: whether it waits in the queue. */
  isQueued!: boolean

  @Field(() => ID, { description: "The gateway's id of the task." })
  id!: string

  @Field(() => Int, {
    description: 'Increases by one when status, images or problem change. Never decreases.',
  })
  version!: number

  @Field(() => String, {
    nullable: true,
    description:
      'The correlation id of the operation that submitted the task. It is in every log line and problem of the task.',
  })
  correlationId!: string

  @Field(() => UpscaleTaskStatus, { description: 'The status of the task.' })
  status!: TaskStatus

  @Directive('@cost(weight: 0)')
  @Field(() => MidjourneyTaskType, { description: 'The generation task whose picture is upscaled.' })
  source!: MidjourneyTaskType

  @Field(() => Int, { description: "Which of the source task's four pictures: 0–3." })
  imageIndex!: number

  @Field(() => String, { nullable: true, description: 'The requested watermark.' })
  waterMark!: string | null

  @Field(() => String, {
    description: 'The engine that the task was sent to, or waits for: a name of `upscaleService.engines`.',
  })
  engine!: string

  @Field(() => Float, {
    nullable: true,
    description:
      'The credits that the task cost, in the unit of its engine; null unless the engine has reported them.',
  })
  creditsConsumed!: number | null

  @Directive('@cost(weight: 0)')
  @Field(() => [UpscaledImageType], {
    nullable: true,
    description:
      'The result; null until SUCCEEDED. On a FAILED task this field has the typed error, unless `problem` is selected beside it.',
  })
  images!: UpscaledImageType[] | null

  /** Not in the schema. The images, with these links. */
  toImages!: (links: ResultLinks) => UpscaledImageType[] | null

  @Field(() => SourceImageType, {
    nullable: true,
    description:
      'The picture that is upscaled; null if the upscale service does not report it. Loaded with the result, or when it is first selected.',
  })
  sourceImage!: SourceImageType | null

  @Directive('@cost(weight: 0)')
  @Field(() => UpscaleProblemType, {
    nullable: true,
    description: 'The reason of the failure; null unless FAILED.',
  })
  problem!: UpscaleProblemType | null

  @Directive('@cost(weight: 0)')
  @Field(() => [UpscaleTaskEventType], {
    description: 'The changes of the task, oldest first.',
  })
  history!: UpscaleTaskEventType[]

  @Field(() => DateTime, { description: 'When the task was submitted.' })
  createdAt!: Date

  @Field(() => DateTime, { description: 'When `version` last increased.' })
  updatedAt!: Date

  @Field(() => DateTime, { nullable: true, description: 'When the task reached its final status.' })
  settledAt!: Date | null

  @Field(() => DateTime, {
    description:
      'When the gateway polls for the last time and then stops waiting for a result. In the queue: when the task fails if it has not been sent; a new deadline begins when it is sent.',
  })
  deadlineAt!: Date

  @Field(() => DateTime, {
    nullable: true,
    description:
      'While PROCESSING: by when nine in ten tasks settle, measured on the latest tasks of this gateway. Null otherwise, or with fewer than 20 tasks to measure.',
  })
  estimatedDoneAt!: Date | null
}

@PlainType('UpscaleQueuePlace', 'The place of a waiting task in the queue, at most a second old.')
export class UpscaleQueuePlaceType {
  @Field(() => Int, { description: 'The position among the tasks for the same engine: 1 is sent next.' })
  position!: number

  @Field(() => DateTime, {
    nullable: true,
    description:
      'By when nine in ten tasks are sent from a similar position, measured on the latest tasks of this gateway. Null with fewer than 20 tasks to measure, or once it has passed.',
  })
  estimatedStartAt!: Date | null
}

/** The GraphQL types, decorated. What comes with a task or a page anyway costs nothing more (`@cost(weight: 0)`). Plain shapes: what they hold is made of core values by to-shape.ts. */
import { Directive, Field, Float, ID, Int, ObjectType } from 'type-graphql'
import type { Problem, UpscaleErrorCode } from '../tasks/failure.ts'
import type { DeliveryState } from '../deliveries/outbox.ts'
import type { TaskEventSource, TaskStatus } from '../tasks/task.ts'
import { DateTime } from './date-time.ts'
import {
  CallbackDeliveryState,
  UpscaleErrorCodeEnum,
  UpscaleServiceMode,
  UpscaleTaskEventSource,
  UpscaleTaskStatus,
} from './enums.ts'
import { Url } from './url.ts'

@ObjectType('UpscaleProblem', {
  simpleResolvers: true,
  description: 'A failure as data, with the same fields as the typed GraphQL error.',
})
export class UpscaleProblemType implements Problem {
  @Field(() => UpscaleErrorCodeEnum, { description: 'The stable code to decide by.' })
  code!: UpscaleErrorCode

  @Field(() => String, { description: 'What happened, for a person.' })
  message!: string

  @Field(() => Boolean, { description: 'Whether the same request may succeed when it is sent again.' })
  retryable!: boolean

  @Field(() => Int, { nullable: true, description: 'How long to wait before that, in milliseconds.' })
  retryAfterMs!: number | null

  @Field(() => Int, { nullable: true, description: "The upscale service's own code, if it sent one." })
  upstreamCode!: number | null

  @Field(() => ID, { nullable: true, description: 'The task whose record holds this failure.' })
  taskId!: string | null

  @Field(() => String, { description: 'Quote it to the operator, who finds the cause in the log with it.' })
  correlationId!: string
}

@ObjectType('UpscaledImage', { simpleResolvers: true, description: 'One enlarged picture.' })
export class UpscaledImageType {
  @Field(() => Url, { description: 'Where to fetch it: an absolute http(s) URL.' })
  url!: string

  @Field(() => DateTime, {
    nullable: true,
    description:
      'When the upscale service is expected to delete it. This is an estimate: copy images that you want to keep.',
  })
  expiresAt!: Date | null
}

@Directive('@key(fields: "id", resolvable: false)')
@ObjectType('MidjourneyTask', {
  simpleResolvers: true,
  description: 'A Midjourney generation task. Another subgraph may own it; here it is only referred to.',
})
export class MidjourneyTaskType {
  @Field(() => ID, { description: "The vendor's id of the generation task." })
  id!: string
}

@ObjectType('UpscaleTaskEvent', { simpleResolvers: true, description: 'An entry in the history of a task.' })
export class UpscaleTaskEventType {
  @Field(() => DateTime, { description: 'When it happened.' })
  at!: Date

  @Field(() => UpscaleTaskStatus, { description: 'The status from then on.' })
  status!: TaskStatus

  @Field(() => UpscaleTaskEventSource, { description: 'The source of the change.' })
  source!: TaskEventSource

  @Field(() => Int, { nullable: true, description: "The upscale service's code, if it sent one." })
  upstreamCode!: number | null

  @Field(() => String, { nullable: true, description: 'What happened, for a person.' })
  note!: string | null
}

@ObjectType('CallbackDelivery', {
  simpleResolvers: true,
  description: "The delivery of a task's final state to a caller's own server.",
})
export class CallbackDeliveryType {
  @Field(() => Url, { description: 'The callback URL, without its query.' })
  url!: string

  @Field(() => CallbackDeliveryState, { description: 'The state of the delivery.' })
  state!: DeliveryState

  @Field(() => Int, { description: 'The number of attempts to deliver the latest final state.' })
  attempts!: number

  @Field(() => Int, {
    nullable: true,
    description: 'The HTTP status of the last attempt; null when there was no answer.',
  })
  lastStatusCode!: number | null

  @Field(() => DateTime, {
    nullable: true,
    description: 'When the next attempt is due; null when none is, or the task has not settled.',
  })
  nextAttemptAt!: Date | null
}

@Directive('@key(fields: "id")')
@ObjectType('UpscaleTask', {
  simpleResolvers: true,
  description: 'One upscale of one picture, from submit to result.',
})
export class UpscaleTaskType {
  /** Not in the schema. */
  owner!: string

  @Field(() => ID, { description: "The gateway's id of the task." })
  id!: string

  @Field(() => Int, { description: 'Grows by one whenever status, images or problem change. Never falls.' })
  version!: number

  @Field(() => UpscaleTaskStatus, { description: 'The status of the task.' })
  status!: TaskStatus

  @Directive('@cost(weight: 0)')
  @Field(() => MidjourneyTaskType, { description: 'The generation task whose picture is enlarged.' })
  source!: MidjourneyTaskType

  @Field(() => Int, { description: "Which of the source task's four pictures: 0–3." })
  imageIndex!: number

  @Field(() => String, { nullable: true, description: 'The requested watermark.' })
  waterMark!: string | null

  @Directive('@cost(weight: 0)')
  @Field(() => [UpscaledImageType], {
    nullable: true,
    description:
      'The result; null until SUCCEEDED. On a FAILED task this field carries the typed error, unless `problem` is selected beside it.',
  })
  images!: UpscaledImageType[] | null

  @Directive('@cost(weight: 0)')
  @Field(() => UpscaleProblemType, {
    nullable: true,
    description: 'Why the task failed; null unless FAILED.',
  })
  problem!: UpscaleProblemType | null

  @Directive('@cost(weight: 0)')
  @Field(() => [UpscaleTaskEventType], {
    description: 'Everything that happened to the task, oldest first.',
  })
  history!: UpscaleTaskEventType[]

  @Field(() => DateTime, { description: 'When the task was submitted.' })
  createdAt!: Date

  @Field(() => DateTime, { description: 'When `version` last increased.' })
  updatedAt!: Date

  @Field(() => DateTime, { nullable: true, description: 'When the task reached its final status.' })
  settledAt!: Date | null

  @Field(() => DateTime, {
    description: 'When the gateway polls a last time and then stops waiting for a result.',
  })
  deadlineAt!: Date
}

@ObjectType('UpscaleImagePayload', { simpleResolvers: true, description: 'The outcome of a submit.' })
export class UpscaleImagePayloadType {
  @Field(() => UpscaleTaskType, {
    nullable: true,
    description:
      'The task; null when it was refused. Then this field carries the typed error, unless `problem` is selected beside it.',
  })
  task!: UpscaleTaskType | null

  @Directive('@cost(weight: 0)')
  @Field(() => UpscaleProblemType, {
    nullable: true,
    description: 'Why it was refused; null when it was accepted.',
  })
  problem!: UpscaleProblemType | null

  @Field(() => Boolean, {
    description: 'True when nothing was sent, because a task for the request existed already.',
  })
  replayed!: boolean
}

@ObjectType('UpscaleErrorInfo', { simpleResolvers: true, description: 'An entry of the error catalogue.' })
export class UpscaleErrorInfoType {
  @Field(() => UpscaleErrorCodeEnum, { description: 'The stable code.' })
  code!: UpscaleErrorCode

  @Field(() => Int, { nullable: true, description: "The upscale service's code; null if it has none." })
  upstreamCode!: number | null

  @Field(() => String, { description: 'What it means, for a person.' })
  description!: string

  @Field(() => Boolean, { description: 'Whether the same request may succeed when it is sent again.' })
  retryable!: boolean

  @Field(() => Int, { nullable: true, description: 'How long to wait before that, in milliseconds.' })
  retryAfterMs!: number | null
}

@ObjectType('UpscaleRate', {
  simpleResolvers: true,
  description: "The upscale service's rate limit for new tasks, over all callers.",
})
export class UpscaleRateType {
  @Field(() => Int, { description: 'The number of new tasks allowed in one window.' })
  limit!: number

  @Field(() => Int, { description: 'The number of new tasks left in this window.' })
  remaining!: number

  @Field(() => DateTime, {
    nullable: true,
    description: 'When the window ends; null while none has begun.',
  })
  resetAt!: Date | null
}

@ObjectType('UpscaleService', { simpleResolvers: true, description: 'The gateway itself.' })
export class UpscaleServiceType {
  @Field(() => UpscaleServiceMode, {
    description: 'Whether upscales are real and cost credits, or are simulated.',
  })
  mode!: 'LIVE' | 'SANDBOX'

  @Field(() => Float, {
    nullable: true,
    description:
      "The account's credits, at most 30 seconds old; null when the upscale service does not send them. For operators.",
  })
  credits!: number | null

  @Field(() => UpscaleRateType, {
    nullable: true,
    description: 'The rate for new tasks; null where there is no limit.',
  })
  rate!: UpscaleRateType | null
}

@Directive('@shareable')
@ObjectType('PageInfo', {
  simpleResolvers: true,
  description: 'Where a page of a connection begins and ends (Relay).',
})
export class PageInfoType {
  @Field(() => Boolean, { description: 'Whether there are more after this page.' })
  hasNextPage!: boolean

  @Field(() => Boolean, { description: 'Whether this page began after a cursor.' })
  hasPreviousPage!: boolean

  @Field(() => String, { nullable: true, description: 'Cursor of the first edge.' })
  startCursor!: string | null

  @Field(() => String, { nullable: true, description: 'Cursor of the last edge: pass it as `after`.' })
  endCursor!: string | null
}

@ObjectType('UpscaleTaskEdge', { simpleResolvers: true, description: 'A task in a connection.' })
export class UpscaleTaskEdgeType {
  @Field(() => UpscaleTaskType, { description: 'The task.' })
  node!: UpscaleTaskType

  @Field(() => String, { description: 'The place of this task in the list; opaque.' })
  cursor!: string
}

@ObjectType('UpscaleTaskConnection', {
  simpleResolvers: true,
  description: 'A page of tasks, newest first (Relay).',
})
export class UpscaleTaskConnectionType {
  @Field(() => [UpscaleTaskEdgeType], { description: 'The tasks of this page, with their cursors.' })
  edges!: UpscaleTaskEdgeType[]

  @Directive('@cost(weight: 0)')
  @Field(() => PageInfoType, { description: 'Where this page begins and ends.' })
  pageInfo!: PageInfoType
}

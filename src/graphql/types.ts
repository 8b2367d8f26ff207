/** The GraphQL types, decorated. What comes with a task or a page anyway costs nothing more (`@cost(weight: 0)`). Plain shapes: what they hold is made of core values by to-shape.ts. */
import { Directive, Field, Float, ID, Int, ObjectType } from 'type-graphql'
import type { Problem, UpscaleErrorCode } from '../tasks/failure.ts'
import type { DeliveryState } from '../tasks/delivery.ts'
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
  description: 'A failure as data: the same facts as in the typed GraphQL error.',
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

  @Field(() => Int, { nullable: true, description: "The upscale service's own number, when it gave one." })
  upstreamCode!: number | null

  @Field(() => ID, { nullable: true, description: 'The task whose record holds this failure.' })
  taskId!: string | null

  @Field(() => String, { description: 'Quote it to the operator: it finds the cause in the log.' })
  correlationId!: string
}

@ObjectType('UpscaledImage', { simpleResolvers: true, description: 'One enlarged picture.' })
export class UpscaledImageType {
  @Field(() => Url, { description: 'Where to fetch it: an absolute http(s) URL.' })
  url!: string

  @Field(() => DateTime, {
    nullable: true,
    description: 'When the upscale service is expected to drop it. An estimate: copy what you want to keep.',
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

  @Field(() => UpscaleTaskEventSource, { description: 'On whose word.' })
  source!: TaskEventSource

  @Field(() => Int, { nullable: true, description: "The upscale service's number, where it gave one." })
  upstreamCode!: number | null

  @Field(() => String, { nullable: true, description: 'What happened, for a person.' })
  note!: string | null
}

@ObjectType('CallbackDelivery', {
  simpleResolvers: true,
  description: "What became of telling a caller's own server how a task ended.",
})
export class CallbackDeliveryType {
  @Field(() => Url, { description: 'The callback URL, without its query.' })
  url!: string

  @Field(() => CallbackDeliveryState, { description: 'Whether it has been told.' })
  state!: DeliveryState

  @Field(() => Int, { description: 'How often it was tried, for the latest final state.' })
  attempts!: number

  @Field(() => Int, {
    nullable: true,
    description: 'The HTTP status it answered last; null when it did not answer.',
  })
  lastStatusCode!: number | null

  @Field(() => DateTime, {
    nullable: true,
    description: 'When it is tried next; null: not again, or not before the task has settled.',
  })
  nextAttemptAt!: Date | null
}

@Directive('@key(fields: "id")')
@ObjectType('UpscaleTask', {
  simpleResolvers: true,
  description: 'One upscale of one picture, from submit to result.',
})
export class UpscaleTaskType {
  /** Whose task it is. Not in the schema. */
  owner!: string

  @Field(() => ID, { description: 'Our own id of the task.' })
  id!: string

  @Field(() => Int, { description: 'Grows by one whenever status, images or problem change. Never falls.' })
  version!: number

  @Field(() => UpscaleTaskStatus, { description: 'Where the task stands.' })
  status!: TaskStatus

  @Directive('@cost(weight: 0)')
  @Field(() => MidjourneyTaskType, { description: 'The generation task whose picture is enlarged.' })
  source!: MidjourneyTaskType

  @Field(() => Int, { description: "Which of the source task's four pictures: 0–3." })
  imageIndex!: number

  @Field(() => String, { nullable: true, description: 'The watermark that was asked for.' })
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
    description: 'Everything that happened to the task, oldest first: why it is as it is.',
  })
  history!: UpscaleTaskEventType[]

  @Field(() => DateTime, { description: 'When the task was submitted.' })
  createdAt!: Date

  @Field(() => DateTime, { description: 'When `version` last grew.' })
  updatedAt!: Date

  @Field(() => DateTime, { nullable: true, description: 'When the task reached its final status.' })
  settledAt!: Date | null

  @Field(() => DateTime, {
    description: 'When the gateway takes a last look and then stops waiting for a result.',
  })
  deadlineAt!: Date
}

@ObjectType('UpscaleImagePayload', { simpleResolvers: true, description: 'What a submit came to.' })
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
    description: 'True when nothing was sent, because the request had its task already.',
  })
  replayed!: boolean
}

@ObjectType('UpscaleErrorInfo', { simpleResolvers: true, description: 'An entry of the error catalogue.' })
export class UpscaleErrorInfoType {
  @Field(() => UpscaleErrorCodeEnum, { description: 'The stable code.' })
  code!: UpscaleErrorCode

  @Field(() => Int, { nullable: true, description: "The upscale service's number for it, where it has one." })
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
  description: "What is left of the upscale service's rate for new tasks, over all callers.",
})
export class UpscaleRateType {
  @Field(() => Int, { description: 'How many new tasks fit into one window.' })
  limit!: number

  @Field(() => Int, { description: 'How many of them are left in this window.' })
  remaining!: number

  @Field(() => DateTime, {
    nullable: true,
    description: 'When the window ends; null while none has begun.',
  })
  resetAt!: Date | null
}

@ObjectType('UpscaleService', { simpleResolvers: true, description: 'The gateway itself.' })
export class UpscaleServiceType {
  @Field(() => UpscaleServiceMode, { description: 'Whether upscales are real (and paid for) or played.' })
  mode!: 'LIVE' | 'SANDBOX'

  @Field(() => Float, {
    nullable: true,
    description:
      "The account's credits, at most 30 seconds old; null when the upscale service does not say. For operators.",
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

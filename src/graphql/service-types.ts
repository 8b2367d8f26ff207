/** The GraphQL object types of the gateway itself. */
import { Field, Float, Int } from 'type-graphql'
import type { Usage } from '../tasks/engines/usage.ts'
import type { UpscaleErrorCode } from '../tasks/failure.ts'
import { DateTime } from './date-time.ts'
import { UpscaleErrorCodeEnum, UpscaleServiceMode } from './enums.ts'
import { PlainType } from './plain-type.ts'

@PlainType('UpscaleErrorInfo', 'An entry of the error catalogue.')
export class UpscaleErrorInfoType {
  @Field(() => UpscaleErrorCodeEnum, { description: 'The stable code.' })
  code!: UpscaleErrorCode

  @Field(() => Int, {
    nullable: true,
    description: "kie.ai's code; null if it has none. Other engines have other codes.",
  })
  upstreamCode!: number | null

  @Field(() => String, { description: 'What it means, for people.' })
  description!: string

  @Field(() => Boolean, { description: 'Whether a retry of the same request may succeed.' })
  retryable!: boolean

  @Field(() => Int, { nullable: true, description: 'How long to wait before the retry, in milliseconds.' })
  retryAfterMs!: number | null
}

@PlainType('UpscaleRate', "The upscale service's rate limit for new tasks, over all callers.")
export class UpscaleRateType {
  @Field(() => Int, { description: 'The number of new tasks allowed in any interval as long as the window.' })
  limit!: number

  @Field(() => Int, { description: 'The number of new tasks that are allowed now.' })
  remaining!: number

  @Field(() => DateTime, {
    nullable: true,
    description: 'When the next of the tasks that are counted stops counting; null if none is counted.',
  })
  resetAt!: Date | null
}

@PlainType('UpscaleEngine', 'An account at an upscale service that this gateway uses.')
export class UpscaleEngineType {
  @Field(() => String, {
    description: 'The name, as in `UpscaleImageInput.engine` and `UpscaleTask.engine`.',
  })
  name!: string

  @Field(() => UpscaleServiceMode, {
    description: 'Whether its upscales are real and cost credits, or are simulated.',
  })
  mode!: 'LIVE' | 'SANDBOX'

  @Field(() => Boolean, {
    description:
      'False after repeated failures, for at least 30 seconds: its circuit is open. If the operator has enabled fallback, tasks begin with another engine that supports their input.',
  })
  available!: boolean

  @Field(() => Float, {
    nullable: true,
    description:
      'The credits of the account, at most 30 seconds old, in the unit of this engine; null if it does not send them. For operators.',
  })
  credits!: number | null

  @Field(() => UpscaleRateType, {
    nullable: true,
    description: 'The rate for new tasks; null if there is no limit.',
  })
  rate!: UpscaleRateType | null
}

@PlainType('UpscaleUsage', 'The credits that one engine reported on one day for the tasks of one owner.')
export class UpscaleUsageType implements Usage {
  @Field(() => String, { description: 'The day of the reports, in UTC, such as `2026-01-31`.' })
  day!: string

  @Field(() => String, { description: 'The owner of the tasks.' })
  owner!: string

  @Field(() => String, { description: 'The name of the engine.' })
  engine!: string

  @Field(() => Int, { description: 'The number of tasks for which the engine reported credits, also 0.' })
  tasks!: number

  @Field(() => Float, { description: 'The credits, in the unit of the engine.' })
  credits!: number
}

@PlainType('UpscaleService', 'The gateway itself.')
export class UpscaleServiceType {
  @Field(() => UpscaleServiceMode, {
    description: 'Whether upscales are real and cost credits, or are simulated.',
  })
  mode!: 'LIVE' | 'SANDBOX'

  @Field(() => Float, {
    nullable: true,
    description:
      "The credits of the first engine's account, at most 30 seconds old; null if it does not send them. For operators.",
  })
  credits!: number | null

  @Field(() => UpscaleRateType, {
    nullable: true,
    description: 'The rate of the first engine for new tasks; null if there is no limit.',
  })
  rate!: UpscaleRateType | null
}

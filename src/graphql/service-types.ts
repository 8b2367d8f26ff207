/** The GraphQL object types of the gateway itself. */
import { Field, Float, Int } from 'type-graphql'
import type { UpscaleErrorCode } from '../tasks/failure.ts'
import { DateTime } from './date-time.ts'
import { UpscaleErrorCodeEnum, UpscaleServiceMode } from './enums.ts'
import { PlainType } from './plain-type.ts'

@PlainType('UpscaleErrorInfo', 'An entry of the error catalogue.')
export class UpscaleErrorInfoType {
  @Field(() => UpscaleErrorCodeEnum, { description: 'The stable code.' })
  code!: UpscaleErrorCode

  @Field(() => Int, { nullable: true, description: "The upscale service's code; null if it has none." })
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

@PlainType('UpscaleService', 'The gateway itself.')
export class UpscaleServiceType {
  @Field(() => UpscaleServiceMode, {
    description: 'Whether upscales are real and cost credits, or are simulated.',
  })
  mode!: 'LIVE' | 'SANDBOX'

  @Field(() => Float, {
    nullable: true,
    description:
      "The account's credits, at most 30 seconds old; null if the upscale service does not send them. For operators.",
  })
  credits!: number | null

  @Field(() => UpscaleRateType, {
    nullable: true,
    description: 'The rate for new tasks; null if there is no limit.',
  })
  rate!: UpscaleRateType | null
}

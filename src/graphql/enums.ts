/** The GraphQL enums; their values are the core's own. */
import { registerEnumType } from 'type-graphql'
import { DELIVERY_STATES } from '../tasks/delivery.ts'
import { CATALOGUE, UPSCALE_ERROR_CODES } from '../tasks/failure.ts'
import { TASK_EVENT_SOURCES, TASK_STATUSES } from '../tasks/task.ts'

/** Enum objects for TypeGraphQL: name and value are the same. */
function toEnum<T extends string>(names: readonly T[]): { readonly [K in T]: K } {
  return Object.fromEntries(names.map((name) => [name, name])) as { [K in T]: K }
}

export const UpscaleTaskStatus = toEnum(TASK_STATUSES)
registerEnumType(UpscaleTaskStatus, {
  name: 'UpscaleTaskStatus',
  description: 'Where a task stands. SUCCEEDED and FAILED are final, but for a success that comes after all.',
  valuesConfig: {
    SUBMITTED: { description: 'Stored; whether the upscale service has accepted it is not known (yet).' },
    PROCESSING: { description: 'Accepted by the upscale service, which is at work.' },
    SUCCEEDED: { description: 'Done: `images` holds the result.' },
    FAILED: { description: 'It did not work: `problem` says why.' },
  },
})

export const UpscaleErrorCodeEnum = toEnum(UPSCALE_ERROR_CODES)
registerEnumType(UpscaleErrorCodeEnum, {
  name: 'UpscaleErrorCode',
  description:
    'Why an upscale failed. The same codes stand in `extensions.code` of the typed GraphQL errors.',
  valuesConfig: Object.fromEntries(
    UPSCALE_ERROR_CODES.map((code) => [code, { description: CATALOGUE[code].description }]),
  ),
})

export const UpscaleTaskEventSource = toEnum(TASK_EVENT_SOURCES)
registerEnumType(UpscaleTaskEventSource, {
  name: 'UpscaleTaskEventSource',
  description: 'On whose word a task moved.',
  valuesConfig: {
    SUBMIT: { description: 'The answer to the submit, or the want of one.' },
    CALLBACK: { description: "The upscale service's callback." },
    POLL: { description: 'Our own question to the upscale service.' },
    DEADLINE: { description: 'Nobody: the deadline passed.' },
  },
})

export const CallbackDeliveryState = toEnum(DELIVERY_STATES)
registerEnumType(CallbackDeliveryState, {
  name: 'CallbackDeliveryState',
  description: 'Whether a callback URL has been told how its task ended.',
  valuesConfig: {
    PENDING: { description: 'Not yet: the task has not settled, or the receiver has not taken it so far.' },
    DELIVERED: { description: 'The receiver answered 2xx.' },
    GAVE_UP: {
      description:
        'The receiver wants no more (410), or did not answer 2xx within CALLBACK_RETRY_FOR_S (a day by default).',
    },
  },
})

export const UpscaleServiceMode = toEnum(['LIVE', 'SANDBOX'])
registerEnumType(UpscaleServiceMode, {
  name: 'UpscaleServiceMode',
  description: 'What stands behind the gateway.',
  valuesConfig: {
    LIVE: { description: 'The real upscale service: every new task costs credits.' },
    SANDBOX: { description: 'The built-in sandbox: nothing costs anything.' },
  },
})

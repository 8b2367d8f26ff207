/** The GraphQL enums; their values are the core's own. */
import { registerEnumType } from 'type-graphql'
import { DELIVERY_STATES } from '../deliveries/outbox.ts'
import { CATALOGUE, UPSCALE_ERROR_CODES } from '../tasks/failure.ts'
import { TASK_EVENT_SOURCES, TASK_STATUSES } from '../tasks/task.ts'

/** Enum objects for TypeGraphQL: name and value are the same. */
function toEnum<T extends string>(names: readonly T[]): { readonly [K in T]: K } {
  return Object.fromEntries(names.map((name) => [name, name])) as { [K in T]: K }
}

export const UpscaleTaskStatus = toEnum(TASK_STATUSES)
registerEnumType(UpscaleTaskStatus, {
  name: 'UpscaleTaskStatus',
  description: 'The status of a task. SUCCEEDED is final; FAILED is final unless a late result arrives.',
  valuesConfig: {
    SUBMITTED: { description: 'Stored; it is not known yet whether the upscale service has accepted it.' },
    PROCESSING: { description: 'Accepted by the upscale service, which is at work.' },
    SUCCEEDED: { description: 'Done: `images` holds the result.' },
    FAILED: { description: 'Failed: `problem` holds the reason.' },
  },
})

export const UpscaleErrorCodeEnum = toEnum(UPSCALE_ERROR_CODES)
registerEnumType(UpscaleErrorCodeEnum, {
  name: 'UpscaleErrorCode',
  description: 'Why an upscale failed. The typed GraphQL errors have the same codes in `extensions.code`.',
  valuesConfig: Object.fromEntries(
    UPSCALE_ERROR_CODES.map((code) => [code, { description: CATALOGUE[code].description }]),
  ),
})

export const UpscaleTaskEventSource = toEnum(TASK_EVENT_SOURCES)
registerEnumType(UpscaleTaskEventSource, {
  name: 'UpscaleTaskEventSource',
  description: 'The source of a status change.',
  valuesConfig: {
    SUBMIT: { description: 'The answer to the submit, or its absence.' },
    CALLBACK: { description: "The upscale service's callback." },
    POLL: { description: 'A poll of the upscale service by the gateway.' },
    DEADLINE: { description: 'The deadline passed.' },
  },
})

export const CallbackDeliveryState = toEnum(DELIVERY_STATES)
registerEnumType(CallbackDeliveryState, {
  name: 'CallbackDeliveryState',
  description: 'The state of a delivery.',
  valuesConfig: {
    PENDING: { description: 'The task has not settled, or the receiver has not answered 2xx yet.' },
    DELIVERED: { description: 'The receiver answered 2xx.' },
    GAVE_UP: {
      description:
        'The receiver answered 410, or did not answer 2xx within CALLBACK_RETRY_FOR_S (a day by default).',
    },
  },
})

export const UpscaleServiceMode = toEnum(['LIVE', 'SANDBOX'])
registerEnumType(UpscaleServiceMode, {
  name: 'UpscaleServiceMode',
  description: 'Which upscale service the gateway uses.',
  valuesConfig: {
    LIVE: { description: 'The real upscale service: every new task costs credits.' },
    SANDBOX: { description: 'The built-in sandbox: no task costs credits.' },
  },
})

/** The GraphQL enums, with the values of the core. */
import { registerEnumType } from 'type-graphql'
import { DELIVERY_STATES } from '../deliveries/outbox.ts'
import { CATALOGUE, UPSCALE_ERROR_CODES } from '../tasks/failure.ts'
import { COPY_STATES, PROVENANCES, TASK_EVENT_SOURCES, TASK_STATUSES } from '../tasks/task.ts'

/** An enum object, as TypeGraphQL needs it. */
function toEnum<T extends string>(names: readonly T[]): { readonly [K in T]: K } {
  return Object.fromEntries(names.map((name) => [name, name])) as { [K in T]: K }
}

export const UpscaleTaskStatus = toEnum(TASK_STATUSES)
registerEnumType(UpscaleTaskStatus, {
  name: 'UpscaleTaskStatus',
  description: 'The status of a task. SUCCEEDED is final; FAILED is final unless a late result arrives.',
  valuesConfig: {
    SUBMITTED: {
      description:
        'Stored. It waits in the queue (`queue` is not null), or it is not known yet whether the upscale service has accepted it.',
    },
    PROCESSING: { description: 'Accepted by the upscale service, which is working on it.' },
    SUCCEEDED: { description: 'Done: `images` has the result.' },
    FAILED: { description: 'Failed: `problem` has the reason.' },
  },
})

export const UpscaleErrorCodeEnum = toEnum(UPSCALE_ERROR_CODES)
registerEnumType(UpscaleErrorCodeEnum, {
  name: 'UpscaleErrorCode',
  description: 'Why an upscale failed. Typed GraphQL errors have the same codes in `extensions.code`.',
  valuesConfig: Object.fromEntries(
    UPSCALE_ERROR_CODES.map((code) => [code, { description: CATALOGUE[code].description }]),
  ),
})

export const UpscaleTaskEventSource = toEnum(TASK_EVENT_SOURCES)
registerEnumType(UpscaleTaskEventSource, {
  name: 'UpscaleTaskEventSource',
  description: 'The source of a status change.',
  valuesConfig: {
    SUBMIT: { description: 'The response to the submit, or its absence.' },
    CALLBACK: { description: "The upscale service's callback." },
    POLL: { description: 'A poll of the upscale service by the gateway.' },
    DEADLINE: { description: 'The deadline passed.' },
    INSPECTION: { description: "The gateway's inspection of the result, or its copy." },
    OWNER: { description: 'A mutation of the owner, such as `cancelUpscale`.' },
  },
})

export const ImageCopyState = toEnum(COPY_STATES)
registerEnumType(ImageCopyState, {
  name: 'ImageCopyState',
  description: "The state of the gateway's copy of a picture.",
  valuesConfig: {
    PENDING: {
      description: "The copy is not made yet, or is retried: `url` is the upscale service's, and expires.",
    },
    KEPT: { description: 'The copy is stored: `url` does not expire.' },
    LOST: { description: "The copy could not be made: `url` is the upscale service's, and expires." },
    OFF: { description: 'This gateway keeps no copies.' },
  },
})

export const ImageProvenance = toEnum(PROVENANCES)
registerEnumType(ImageProvenance, {
  name: 'ImageProvenance',
  description: 'Whether a picture contains Content Credentials (C2PA). They are not validated.',
  valuesConfig: {
    NONE: { description: 'The picture contains none.' },
    PRESENT: {
      description: 'The picture contains a manifest store. So does its copy, which is byte-identical.',
    },
  },
})

export const CallbackDeliveryState = toEnum(DELIVERY_STATES)
registerEnumType(CallbackDeliveryState, {
  name: 'CallbackDeliveryState',
  description: 'The state of a delivery.',
  valuesConfig: {
    PENDING: { description: 'The task has not settled, or the receiver has not responded with 2xx.' },
    DELIVERED: { description: 'The receiver responded with 2xx.' },
    GAVE_UP: {
      description:
        'The receiver responded with 410, or not with 2xx within CALLBACK_RETRY_FOR_S (a day by default).',
    },
  },
})

export const UpscaleServiceMode = toEnum(['LIVE', 'SANDBOX'])
registerEnumType(UpscaleServiceMode, {
  name: 'UpscaleServiceMode',
  description: 'Which upscale service the gateway uses.',
  valuesConfig: {
    LIVE: { description: 'The real upscale service: each new task costs credits.' },
    SANDBOX: { description: 'The built-in sandbox: tasks cost nothing.' },
  },
})

/** The answers of an engine to submits that it has not sent. */
import type { SubmitAnswer } from '../tasks/engines/engine-ports.ts'
import { toFailure } from '../tasks/failure.ts'

export const UNREACHABLE: SubmitAnswer = {
  kind: 'refused',
  failure: toFailure('UPSTREAM_UNREACHABLE'),
  note: 'the upscale service could not be reached; nothing was sent',
  engineUnavailable: true,
}

/** The URL of the picture could not be read, so the paid request was not sent. */
export const NO_ANSWER_ABOUT_SOURCE: SubmitAnswer = {
  ...UNREACHABLE,
  note: 'the upscale service did not answer about the source task; nothing was sent',
}
/** Not counted as a failure of the engine: callers may cause it. */
export const NOT_UNDERSTOOD: SubmitAnswer = {
  kind: 'refused',
  failure: toFailure('UPSTREAM_UNREACHABLE'),
  note: 'the answer about the source task was not understood; nothing was sent',
}
export const NO_SOURCE: SubmitAnswer = {
  kind: 'refused',
  failure: { ...toFailure('UPSTREAM_NOT_FOUND'), nothingCharged: true },
  note: 'the source task has no such picture (yet); nothing was sent',
  sourceUnknown: true,
}

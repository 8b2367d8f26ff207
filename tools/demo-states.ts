/** The states of a task, as the demo shows them in a line. */
import type { ProgressFragment } from '../test/generated/operations.ts'
import type { Progress } from './demo-lines.ts'

export const SENDING: Progress = {
  colour: 'yellow',
  status: 'SENDING',
  text: 'one request for all pictures',
  isFinal: false,
}

export function toProgress({ status, queue, estimatedDoneAt, problem }: ProgressFragment): Progress {
  switch (status) {
    case 'SUBMITTED': {
      const text = queue ? toPlace(queue) : 'stored; no answer from the upscale service so far'
      return { colour: 'yellow', status, text, isFinal: false }
    }
    case 'PROCESSING': {
      const estimate = estimatedDoneAt === null ? '' : `, probably until ${toTime(estimatedDoneAt)}`
      return { colour: 'cyan', status, text: `the upscale service is at work${estimate}`, isFinal: false }
    }
    case 'SUCCEEDED':
      return { colour: 'green', status, text: 'the picture is ready', isFinal: true }
    case 'FAILED':
      return toFailed(problem ?? { code: 'FAILED', message: 'No reason was given.' })
    default:
      return status satisfies never
  }
}

/** `problem`: why the picture was refused or has failed. */
export function toFailed({ code, message }: { readonly code: string; readonly message: string }): Progress {
  return { colour: 'red', status: 'FAILED', text: `${code}: ${message}`, isFinal: true }
}

function toPlace({ position, estimatedStartAt }: NonNullable<ProgressFragment['queue']>): string {
  const estimate = estimatedStartAt === null ? '' : `, sent probably by ${toTime(estimatedStartAt)}`
  return `in the queue, place ${position}${estimate}`
}

function toTime(instant: string): string {
  return new Date(instant).toLocaleTimeString('en-GB')
}

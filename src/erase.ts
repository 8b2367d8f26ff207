/** The command `erase OWNER`. */
import { openStores } from './open-backends.ts'
import type { Settings } from './settings.ts'
import { StartError } from './start-error.ts'
import type { Erasure } from './store/sql.ts'
import type { Log } from './tasks/ports.ts'

/**
 * What the command prints, and the exit code: 0 if nothing of the owner is left, 2 if the owner has open
 * tasks.
 */
interface Report {
  readonly text: string
  readonly exitCode: number
}

/**
 * Erases what the database of the settings stores of an owner. A running service deletes the files of copies.
 * @throws StartError for an error that the operator can remedy.
 */
export async function erase(
  settings: Pick<Settings, 'database'>,
  [owner, ...rest]: readonly string[],
  log: Log,
): Promise<Report> {
  if (!owner || rest.length > 0)
    throw new StartError('erase needs one owner, in quotes if it has spaces: node dist/main.js erase OWNER')
  await using stores = await openStores(settings, log)
  return toReport(owner, await stores.eraseOwner(owner))
}

function toReport(owner: string, erasure: Erasure): Report {
  const name = JSON.stringify(owner)
  if (erasure.open === 0) return { text: `Erased ${name}: ${toText(erasure)}.`, exitCode: 0 }
  const deleted = erasure.tasks === 0 ? 'Nothing was deleted.' : `Deleted so far: ${toText(erasure)}.`
  return {
    text: `${name} is not erased: ${count(erasure.open, 'task')} not settled, and may be paid for. ${deleted} Refuse the owner's tokens, wait until the tasks settle (at most TASK_DEADLINE_MS), then run this again.`,
    exitCode: 2,
  }
}

function toText({ tasks, keys, deliveries, copies, usage }: Erasure): string {
  return [
    count(tasks, 'task'),
    count(keys, 'idempotency key'),
    count(deliveries, 'delivery', 'deliveries'),
    `${count(copies, 'copy', 'copies')} (the service deletes the files)`,
    count(usage, 'entry of usage', 'entries of usage'),
  ].join(', ')
}

function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`
}

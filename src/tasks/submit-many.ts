import { StoreUnavailableError } from './store-port.ts'
import { beginSubmit, type FinishSubmit, type SubmitContext } from './submit.ts'
import { observeSubmit, type Submission } from './submission.ts'
import type { SubmitInput } from './submit-input.ts'

/**
 * Submits several upscales, each as `submitTask` does. Inserts them one after another, so that they are sent
 * in this order, until the store fails. Does not reject.
 */
export async function submitTasks(
  context: SubmitContext,
  inputs: readonly SubmitInput[],
): Promise<PromiseSettledResult<Submission>[]> {
  const submissions: Promise<PromiseSettledResult<Submission>[]>[] = []
  let failure: Error | undefined
  for (const input of inputs) {
    // After a failed insert the store is probably down: the others would each wait for its timeout.
    const begun = failure === undefined ? beginSubmit(context, input) : Promise.reject<FinishSubmit>(failure)
    const submission = observeSubmit(
      context,
      begun.then((finish) => finish()),
    )
    submissions.push(Promise.allSettled([submission]))
    try {
      await begun
    } catch (error) {
      failure ??= toSkipped(error)
    }
  }
  return (await Promise.all(submissions)).flat()
}

/** The error of a task that is not stored because the insert of an earlier one has failed. */
function toSkipped(cause: unknown): Error {
  const message = 'The task is not stored: an earlier task of the request could not be stored'
  return cause instanceof StoreUnavailableError
    ? new StoreUnavailableError(message, { cause })
    : new Error(message, { cause })
}

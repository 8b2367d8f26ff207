/** Waits for a promise, one at a time, and rejects when the controller aborts: at the latest after `ms`. */
export type Limit = <Value>(promise: Promise<Value>) => Promise<Value>

export function toLimit(abort: AbortController, ms: number): Limit {
  const { signal } = abort
  return (promise) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => abort.abort(new Error('Timeout')), ms)
      signal.onabort = () => {
        clearTimeout(timer)
        reject(signal.reason as Error)
      }
      promise.then(resolve, reject).finally(() => clearTimeout(timer))
    })
}

/**
 * Lets the event loop turn until a condition holds; gives up before a test times out, so that the test run
 * ends.
 */
export async function waitFor(condition: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + 20_000
  while (!(await condition())) {
    if (performance.now() > giveUpAt) throw new Error('The condition never held')
    await new Promise(setImmediate)
  }
}

/**
 * Loaded into every contender before its own code (`node --import`): lets the bench ask a process about itself and
 * use the two hooks that each contender offers as `globalThis.bench`. Runs nothing unasked.
 */
import { performance } from 'node:perf_hooks'

const commands = {
  /** Bytes that the process holds once it has collected its garbage. */
  memory() {
    for (let n = 0; n < 3; n += 1) globalThis.gc()
    return process.memoryUsage().rss
  },
  /** Milliseconds of the processor that the process has used. */
  cpu() {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1_000
  },
  /** Makes tasks that wait for their callback; gives their ids and callback paths. */
  tasks: ({ count, settled }) => globalThis.bench.tasks(count, settled),
  /** Makes one new state of each task, and lets every subscriber know. */
  publish: ({ ids }) => globalThis.bench.publish(ids),
  /** Milliseconds by which the event loop was late, at most, since this was asked last. */
  now: () => performance.now(),
}

if (process.send !== undefined) {
  process.on('message', ({ call, command, argument }) => {
    void Promise.resolve(commands[command](argument)).then((result) => process.send({ call, result }))
  })
  process.on('disconnect', () => process.exit())
}

/**
 * Loaded into every contender before its own code (`node --import`): lets the bench ask a process about
 * itself and use the two hooks that each contender offers as `globalThis.bench`. Runs nothing unasked.
 */
import { writeHeapSnapshot } from 'node:v8'

const commands = {
  /**
   * Bytes that the process holds once it has collected its garbage: in memory, and of these in use in its
   * heap.
   */
  memory() {
    for (let n = 0; n < 3; n += 1) globalThis.gc()
    const { rss, heapUsed, heapTotal, external } = process.memoryUsage()
    return { resident: rss, heap: heapUsed + external, committed: heapTotal, external }
  },
  /** Writes a heap snapshot, which collects garbage first. */
  snapshot: ({ file }) => writeHeapSnapshot(file),
  /** Milliseconds of the processor that the process has used. */
  cpu() {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1_000
  },
  /** Makes tasks that wait for their callback; gives their ids and callback paths. */
  tasks: ({ count, settled }) => globalThis.bench.tasks(count, settled),
  /** Makes one new state of each task, and lets every subscriber know. */
  publish: ({ ids }) => globalThis.bench.publish(ids),
}

if (process.send !== undefined) {
  process.on('message', ({ call, command, argument }) => {
    void Promise.resolve(commands[command](argument)).then((result) => process.send({ call, result }))
  })
  process.on('disconnect', () => process.exit())
}

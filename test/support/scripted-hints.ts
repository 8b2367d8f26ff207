import { createLocalHints } from '../../src/replicas/local-hints.ts'
import type { TaskHints } from '../../src/tasks/ports.ts'

/** How hints arrive. Bare hints have no state, as those of other replicas. Late hints arrive at `release`. */
type HintDelivery = 'whole' | 'bare' | 'late' | 'lost'

/** Hints whose delivery the test decides, and which count their listeners. */
export function createScriptedHints() {
  const local = createLocalHints()
  let delivery: HintDelivery = 'whole'
  let listeners = 0
  const late: (() => void)[] = []
  const hints: TaskHints = {
    announce(topic, state) {
      if (delivery === 'whole') local.announce(topic, state)
      if (delivery === 'bare') local.announce(topic)
      if (delivery === 'late') late.unshift(() => local.announce(topic, state))
    },
    async listen(topic, wake) {
      const listener = await local.listen(topic, wake)
      listeners += 1
      return {
        [Symbol.dispose]() {
          listeners -= 1
          listener[Symbol.dispose]()
        },
      }
    },
  }
  return {
    hints,
    listeners: () => listeners,
    /** Changes the delivery of later hints. */
    deliver: (next: HintDelivery) => void (delivery = next),
    /** Delivers the late hints, the last one first. */
    release: () => late.splice(0).forEach((announce) => announce()),
  }
}

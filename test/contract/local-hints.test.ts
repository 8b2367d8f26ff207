import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { describeTaskHints } from './task-hints.ts'

describeTaskHints('Local hints', () =>
  Promise.resolve({ hints: createLocalHints(), [Symbol.asyncDispose]: () => Promise.resolve() }),
)

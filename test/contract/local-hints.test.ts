import { createLocalHints } from '../../src/hints/local.ts'
import { describeTaskHints } from './task-hints.ts'

describeTaskHints('Local hints', () =>
  Promise.resolve({ hints: createLocalHints(), [Symbol.asyncDispose]: () => Promise.resolve() }),
)

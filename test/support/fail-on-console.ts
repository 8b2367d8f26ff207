import { afterEach, beforeEach, jest } from '@jest/globals'

/** Whatever prints has something to say that no test asked for: it fails the test. */
const METHODS = ['debug', 'error', 'info', 'log', 'warn'] as const

beforeEach(() => {
  for (const method of METHODS) jest.spyOn(console, method)
})

afterEach(() => {
  const printed = METHODS.flatMap((method) => jest.mocked(console[method]).mock.calls)
  jest.restoreAllMocks()
  if (printed.length > 0) throw new Error(`The test printed: ${JSON.stringify(printed)}`)
})

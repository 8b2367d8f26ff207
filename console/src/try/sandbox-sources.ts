/** Source tasks of the sandbox, which accepts any id. */
export const GALLERY = [
  { id: 'misty-ridge', name: 'Misty ridge' },
  { id: 'paper-hills', name: 'Paper hills' },
  { id: 'late-summer', name: 'Late summer' },
  { id: 'winter-sun', name: 'Winter sun' },
  { id: 'distant-range', name: 'Distant range' },
  { id: 'first-light', name: 'First light' },
] as const

/** Source task ids that select an outcome: docs/sandbox.md has all of them. */
export const SCRIPTS = [
  { id: 'sandbox-code-402', text: 'No credits', outcome: 'refused with INSUFFICIENT_CREDITS' },
  { id: 'sandbox-code-422', text: 'Moderated', outcome: 'refused with UPSTREAM_VALIDATION_FAILED' },
  { id: 'sandbox-busy-2', text: 'Rate limited', outcome: 'waits in the queue, then succeeds' },
  {
    id: 'sandbox-callback-501',
    text: 'Fails later',
    outcome: 'is accepted, then fails with GENERATION_FAILED',
  },
  { id: 'sandbox-lost', text: 'Lost callback', outcome: 'no callback: the gateway polls the result' },
  { id: 'sandbox-late-20', text: 'Slow', outcome: 'succeeds after 20 seconds' },
] as const

/** Whether a source was clicked, not typed. */
export const isNamed = (taskId: string): boolean => [...GALLERY, ...SCRIPTS].some(({ id }) => id === taskId)

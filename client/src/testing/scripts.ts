/** A source task id that selects an outcome in the sandbox, and in the scripted gateway. */
export interface SandboxScript {
  readonly taskId: string
  /** What happens, for people. */
  readonly outcome: string
}

export const SANDBOX_SCRIPTS: readonly SandboxScript[] = [
  { taskId: 'my-picture', outcome: 'succeeds after about 2 seconds' },
  { taskId: 'sandbox-callback-501', outcome: 'is accepted, then fails with GENERATION_FAILED' },
]

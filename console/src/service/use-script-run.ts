import { followTask } from 'upscale-gateway-client'
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { toThrownFailure, type Failure } from '../failure.ts'
import { useSession } from '../session.ts'
import type { TaskStatus } from '../tasks/task-documents.ts'
import { RUN_SCRIPT, type ScriptOutcome } from './service-documents.ts'

/** What became of a script. */
export interface ScriptRun {
  readonly isSubmitting: boolean
  readonly taskId: string | null
  readonly status: TaskStatus | null
  /** Why it was refused, has failed, or could not be submitted or followed. */
  readonly failure: Pick<Failure, 'code' | 'message'> | null
}

const STARTED: ScriptRun = { isSubmitting: true, taskId: null, status: null, failure: null }

interface FollowedScript {
  readonly version: number
  readonly status: TaskStatus
  readonly problem: { readonly code: string; readonly message: string } | null
}

/** Runs a script of the sandbox: submits it, and follows its task to the end. */
export function useScriptRun(sourceId: string): {
  readonly run: ScriptRun | null
  readonly start: () => void
} {
  const { execute, transport } = useSession()
  const [run, setRun] = useState<ScriptRun | null>(null)
  const aborter = useRef<AbortController>(undefined)
  useEffect(() => () => aborter.current?.abort(), [])
  const start = useCallback(() => {
    aborter.current?.abort()
    aborter.current = new AbortController()
    const { signal } = aborter.current
    const show = (change: Partial<ScriptRun>) => {
      if (!signal.aborted) setRun((last) => ({ ...(last ?? STARTED), isSubmitting: false, ...change }))
    }
    const go = async () => {
      setRun(STARTED)
      const variables = { taskId: sourceId, key: crypto.randomUUID() }
      const options = { signal, repeat: true }
      const { data, failures } = await execute<ScriptOutcome>(RUN_SCRIPT, variables, options)
      const { task, problem } = data?.upscaleImage ?? { task: null, problem: null }
      if (!task) {
        const failure = problem ?? failures[0] ?? null
        show(problem ? { status: 'FAILED', failure, taskId: problem.taskId } : { failure })
        return
      }
      show({ taskId: task.id, status: task.status })
      const request = { id: task.id, selection: 'problem { code message }', signal }
      for await (const { status, problem: reason } of followTask<FollowedScript>(transport, request))
        show({ status, failure: reason })
    }
    go().catch((error: unknown) => show({ failure: toThrownFailure(error) }))
  }, [execute, transport, sourceId])
  return { run, start }
}

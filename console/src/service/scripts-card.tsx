import { SANDBOX_SCRIPTS, type SandboxScript } from 'upscale-gateway-client/testing'
import { useState } from 'preact/hooks'
import { StatusPill } from '../ui/badge.tsx'
import { Button, LinkButton } from '../ui/button.tsx'
import { Card } from '../ui/card.tsx'
import { Segments } from '../ui/segments.tsx'
import { useScriptRun, type ScriptRun } from './use-script-run.ts'

const GROUPS: readonly { readonly value: SandboxScript['ends']; readonly text: string }[] = [
  { value: 'SUCCEEDED', text: 'Succeed' },
  { value: 'FAILED', text: 'Fail' },
  { value: 'REFUSED', text: 'Refused' },
]

/** The scripts of the sandbox: each is a source task id that selects an outcome. */
export function ScriptsCard() {
  const [ends, setEnds] = useState<SandboxScript['ends']>('SUCCEEDED')
  return (
    <Card
      title="Sandbox scripts"
      note={`${SANDBOX_SCRIPTS.length} source ids, each with its own outcome`}
      class="scripts-card"
    >
      <Segments label="Outcome" options={GROUPS} value={ends} onChange={setEnds} />
      {/* Hidden rows keep their runs. */}
      <ul class="scripts">
        {SANDBOX_SCRIPTS.map((script) => (
          <ScriptRow key={script.taskId} script={script} isHidden={script.ends !== ends} />
        ))}
      </ul>
    </Card>
  )
}

function ScriptRow({ script, isHidden }: { readonly script: SandboxScript; readonly isHidden: boolean }) {
  const { taskId, outcome, waitsFor } = script
  const { run, start } = useScriptRun(taskId)
  return (
    <li class="script" data-script={taskId} hidden={isHidden}>
      <div class="script-text">
        <code>{taskId}</code>
        <p>
          {outcome}
          {waitsFor !== null && <span class="script-slow"> Takes longer.</span>}
        </p>
      </div>
      <div class="script-run" role="status">
        {run && <RunState run={run} />}
      </div>
      <Button size="small" isBusy={run?.isSubmitting ?? false} label={`Run ${taskId}`} onClick={start}>
        Run
      </Button>
    </li>
  )
}

function RunState({ run: { isSubmitting, taskId, status, failure } }: { readonly run: ScriptRun }) {
  if (isSubmitting) return <span class="soft">Submitting…</span>
  return (
    <>
      <span class="script-state">
        {failure && (
          <code class="script-code" title={failure.code}>
            {failure.code}
          </code>
        )}
        {status && <StatusPill status={status} />}
        {taskId !== null && (
          <LinkButton
            variant="ghost"
            size="small"
            icon="arrow"
            label="Open the task"
            href={`#/tasks/${taskId}`}
          />
        )}
      </span>
      {failure && (
        <span class="script-message" title={failure.message}>
          {failure.message}
        </span>
      )}
    </>
  )
}

/**
 * A page that upscales one picture for each script at once, in StrictMode, with new options in each render.
 */
import { createClient } from 'graphql-ws'
import { StrictMode, useEffect, useRef } from 'react'
import { createRoot } from 'react-dom/client'
import { toClientOptions } from '../../../client/src/index.ts'
import { useUpscale } from '../../../client/src/react/index.ts'
import type { ScriptRecord } from './records.ts'

const search = new URLSearchParams(location.search)
const client = createClient(toClientOptions({ url: search.get('url') ?? '' }))
const scripts = search.getAll('script')
const records: Record<string, ScriptRecord> = {}
Object.assign(window, { records })

function Script({ taskId }: { readonly taskId: string }) {
  const submits = useRef(0)
  const record = (records[taskId] ??= { versions: [], statuses: [], settled: [], ends: [], code: null })
  const { task, status, endedAt, problem, elapsedMs, submit } = useUpscale({
    client: { iterate: (request) => client.iterate(request) },
    onSettled: ({ id, version }) => record.settled.push(`${id} ${version}`),
  })
  useEffect(() => {
    submits.current += 1
    void submit({ taskId, imageIndex: 0 })
  }, [submit, taskId])
  useEffect(() => {
    if (task) record.versions.push(task.version)
  }, [record, task])
  useEffect(() => {
    if (record.statuses.at(-1) !== status) record.statuses.push(status)
  }, [record, status])
  useEffect(() => {
    if (endedAt === null) return
    record.ends.push(endedAt)
    record.code = problem?.code ?? null
  }, [record, endedAt, problem])
  return (
    <li>
      {taskId}: {status} {problem?.code} ({Math.round(elapsedMs / 1_000)} s)
    </li>
  )
}

const root = document.createElement('ul')
document.body.append(root)
createRoot(root).render(
  <StrictMode>
    {scripts.map((taskId) => (
      <Script key={taskId} taskId={taskId} />
    ))}
  </StrictMode>,
)

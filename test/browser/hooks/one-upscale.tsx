/** A page with one upscale, whose id is in the URL. */
import { StrictMode, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { createHttpTransport } from '../../../client/src/index.ts'
import { useUpscale, useUpscaleTask } from '../../../client/src/react/index.ts'
import { toUrlStorage } from '../../../client/src/store/index.ts'

const search = new URLSearchParams(location.search)
const url = search.get('url') ?? ''

function count(name: string): void {
  sessionStorage.setItem(name, String(Number(sessionStorage.getItem(name) ?? 0) + 1))
}

function One() {
  const { task, status, connection, problem, elapsedMs, submit } = useUpscale({
    client: createHttpTransport({ url }),
    storage: toUrlStorage('upscale'),
    onSettled: () => count('settled'),
  })
  return (
    <div>
      <button onClick={() => void submit({ taskId: 'source', imageIndex: 0, force: true })}>Upscale</button>
      <output id="status">{status}</output> <output id="connection">{connection}</output>{' '}
      <output id="problem">{problem?.code}</output> <output id="version">{task?.version}</output>{' '}
      <output id="elapsed">{Math.floor(elapsedMs / 1_000)}</output>
    </div>
  )
}

function Follower({ id }: { readonly id: string }) {
  const { status, problem } = useUpscaleTask({ client: createHttpTransport({ url }), id })
  return (
    <output id="status">
      {status} {problem?.code}
    </output>
  )
}

function App() {
  const [isShown, setShown] = useState(true)
  const id = search.get('id')
  return (
    <>
      <button onClick={() => setShown(!isShown)}>Toggle</button>
      {isShown && (id === null ? <One /> : <Follower id={id} />)}
    </>
  )
}

const root = document.createElement('main')
document.body.append(root)
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
)

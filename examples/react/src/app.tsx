import { createClient } from 'graphql-ws'
import { useState } from 'react'
import { thumbHashToDataURL } from 'thumbhash'
import { toClientOptions } from 'upscale-gateway-client'
import { useUpscale, type UpscaledImage } from 'upscale-gateway-client/react'
import { toUrlStorage } from 'upscale-gateway-client/store'

const env = import.meta.env as { readonly VITE_GATEWAY?: string }
const client = createClient(toClientOptions({ url: env.VITE_GATEWAY ?? 'ws://localhost:4000/graphql' }))
const storage = toUrlStorage('upscale')

/** Ids of the sandbox: each has another outcome. docs/sandbox.md lists all of them. */
const SOURCES = [
  'my-picture',
  'sandbox-late-10',
  'sandbox-callback-501',
  'sandbox-code-402',
  'sandbox-busy-1',
]

export function App() {
  const [taskId, setTaskId] = useState('my-picture')
  const [imageIndex, setImageIndex] = useState(0)
  const { task, status, elapsedMs, estimatedDoneAt, problem, connection, submit, retry } = useUpscale({
    client,
    storage,
  })
  const isRunning = connection !== 'idle'
  return (
    <main>
      <h1>Upscale</h1>
      <form action={() => void submit({ taskId, imageIndex, queue: true })}>
        <label>
          Source task
          <input value={taskId} onChange={(event) => setTaskId(event.target.value)} list="sources" required />
        </label>
        <datalist id="sources">
          {SOURCES.map((source) => (
            <option key={source} value={source} />
          ))}
        </datalist>
        <fieldset>
          <legend>Picture</legend>
          {[0, 1, 2, 3].map((index) => (
            <label key={index}>
              <input
                type="radio"
                name="index"
                checked={index === imageIndex}
                onChange={() => setImageIndex(index)}
              />
              {index + 1}
            </label>
          ))}
        </fieldset>
        <button disabled={isRunning}>Upscale</button>
      </form>

      <p role="status" data-status={status}>
        <strong>{status.toLowerCase()}</strong>
        {status !== 'IDLE' && ` · ${Math.round(elapsedMs / 1000)} s`}
        {task?.queue && ` · number ${task.queue.position} in the queue`}
        {estimatedDoneAt && ` · done by ${new Date(estimatedDoneAt).toLocaleTimeString()}`}
        {connection === 'waiting' && ' · waiting for the connection'}
      </p>
      {isRunning && <progress />}

      {problem && (
        <p role="alert">
          {problem.message} <code>{problem.code}</code>
          {problem.retryable && <button onClick={() => void retry()}>Try again</button>}
        </p>
      )}
      {task?.images?.map((image) => (
        <Picture key={image.url} image={image} />
      ))}
    </main>
  )
}

/** The picture in the space that it needs, over its placeholder until it is loaded. */
function Picture({ image: { url, width, height, thumbhash } }: { readonly image: UpscaledImage }) {
  const bytes = thumbhash && Uint8Array.from(atob(thumbhash), (char) => char.charCodeAt(0))
  return (
    <a href={url}>
      <img
        src={url}
        width={width ?? undefined}
        height={height ?? undefined}
        style={bytes ? { backgroundImage: `url(${thumbHashToDataURL(bytes)})` } : {}}
        alt="The upscaled picture"
      />
    </a>
  )
}

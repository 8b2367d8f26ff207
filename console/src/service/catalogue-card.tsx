import { useId, useState } from 'preact/hooks'
import { toAdvice } from '../tasks/advice.ts'
import { toAge } from '../tasks/formats.ts'
import { useQuery } from '../session.ts'
import { Badge } from '../ui/badge.tsx'
import { Card } from '../ui/card.tsx'
import { ErrorNote } from '../ui/error-note.tsx'
import { searchErrors } from './service-data.ts'
import { ERRORS_QUERY, type ErrorInfo } from './service-documents.ts'

/** The error catalogue: searchable. */
export function CatalogueCard() {
  const id = useId()
  const [text, setText] = useState('')
  const { data, failure, refetch } = useQuery<{ upscaleErrors: readonly ErrorInfo[] | null }>(ERRORS_QUERY)
  const errors = data?.upscaleErrors ?? []
  const found = searchErrors(errors, text)
  return (
    <Card title="Error catalogue" note={`${found.length} of ${errors.length} codes`} class="catalogue-card">
      <label class="visually-hidden" for={id}>
        Search the error catalogue
      </label>
      <input
        id={id}
        class="input"
        type="search"
        placeholder="Code, number or text"
        autocomplete="off"
        spellcheck={false}
        value={text}
        onInput={({ currentTarget }) => setText(currentTarget.value)}
      />
      {failure && <ErrorNote failure={failure} onRetry={refetch} />}
      {/* The roles stay when a narrow page shows each entry as a block. */}
      <table class="table" role="table">
        <thead>
          <tr>
            <th scope="col">Code</th>
            <th scope="col">Upstream</th>
            <th scope="col">Meaning, and what to do</th>
            <th scope="col">Retry</th>
          </tr>
        </thead>
        <tbody>
          {found.map((info) => (
            <ErrorRow key={info.code} info={info} />
          ))}
        </tbody>
      </table>
      {data && found.length === 0 && (
        <p class="soft table-empty" role="status">
          No code matches “{text}”.
        </p>
      )}
    </Card>
  )
}

function ErrorRow({ info }: { readonly info: ErrorInfo }) {
  const { code, upstreamCode, description, retryable, retryAfterMs } = info
  return (
    <tr role="row" data-code={code}>
      <th role="rowheader" scope="row">
        <code>{code}</code>
      </th>
      <td role="cell" class="table-number">
        {upstreamCode ?? '–'}
      </td>
      <td role="cell">
        {description}
        <span class="table-note">{toAdvice(code).text}</span>
      </td>
      <td role="cell" class="table-end">
        {retryable ? (
          <Badge tone="success">{retryAfterMs ? `after ${toAge(retryAfterMs)}` : 'at once'}</Badge>
        ) : (
          <Badge>no</Badge>
        )}
      </td>
    </tr>
  )
}

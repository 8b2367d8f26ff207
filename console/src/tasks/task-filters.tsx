import { useId } from 'preact/hooks'
import { replaceHash, toHash } from '../router.ts'
import { Button } from '../ui/button.tsx'
import { Segments } from '../ui/segments.tsx'
import { STATUSES, type TaskStatus } from './task-documents.ts'
import { toRows, type TaskList } from './task-list.ts'

interface TaskFiltersProps {
  readonly status: TaskStatus | null
  readonly text: string
  readonly list: TaskList
  readonly toTaskHash: (id: string | null) => string
}

const FILTERS: readonly { readonly value: TaskStatus | null; readonly text: string }[] = [
  { value: null, text: 'All' },
  ...STATUSES.map((value) => ({ value, text: value.charAt(0) + value.slice(1).toLowerCase() })),
]

/** The form of a task id. */
const TASK_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** Filters the loaded tasks by their source id, opens one by its own id, and chooses a status. */
export function TaskFilters({ status, text, list, toTaskHash }: TaskFiltersProps) {
  const id = useId()
  const rows = toRows(list, text)
  const wanted = text.trim()
  const find = () => {
    if (wanted === '') return
    const [first] = TASK_ID.test(wanted) ? [] : rows
    location.hash = toTaskHash(first?.id ?? wanted)
  }
  return (
    <div class="task-filters">
      <form
        role="search"
        class="task-search"
        onSubmit={(event) => {
          event.preventDefault()
          find()
        }}
      >
        <label class="visually-hidden" for={id}>
          Task id, or a part of the source id
        </label>
        <input
          id={id}
          class="input"
          type="search"
          value={text}
          placeholder="Task id, or part of the source id"
          autocomplete="off"
          spellcheck={false}
          aria-describedby={`${id}-found`}
          onInput={({ currentTarget }) => replaceHash(toHash(['tasks'], { status, q: currentTarget.value }))}
        />
        <Button type="submit">Open</Button>
      </form>
      <Segments
        label="Status"
        options={FILTERS}
        value={status}
        onChange={(value) => replaceHash(toHash(['tasks'], { status: value, q: text }))}
      />
      <p id={`${id}-found`} class="task-found" role="status">
        {toFoundText(wanted, rows.length, list)}
      </p>
    </div>
  )
}

function toFoundText(wanted: string, count: number, { loaded, shown, hasMore }: TaskList): string {
  if (!loaded) return ' '
  const all = `${shown.length} ${hasMore ? 'newest ' : ''}${shown.length === 1 ? 'task' : 'tasks'}`
  if (wanted === '') return all
  return count === 0
    ? `None of the ${all} matches. Enter opens the task with this id.`
    : `${count} of the ${all}`
}

import { CopyButton } from './copy-button.tsx'

interface CodeChipProps {
  readonly value: string
  /** What the value is, for screen readers: "task id". */
  readonly label: string
  /** What is shown in its place: a long value is shortened by default. */
  readonly shown?: string
}

const MAX_LENGTH = 22

/** The beginning and the end of a long id or checksum. */
function toShort(value: string, maxLength = MAX_LENGTH): string {
  if (value.length <= maxLength) return value
  const tail = Math.floor(maxLength / 3)
  return `${value.slice(0, maxLength - tail - 1)}…${value.slice(-tail)}`
}

/** An id or another code, with a button that copies it. */
export function CodeChip({ value, label, shown = toShort(value) }: CodeChipProps) {
  return (
    <span class="code-chip">
      <code title={value}>{shown}</code>
      <CopyButton value={value} label={`Copy the ${label}`} />
    </span>
  )
}

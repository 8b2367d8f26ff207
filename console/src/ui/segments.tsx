import './segments.css'

interface SegmentsProps<Value> {
  /** The name of the group, for screen readers. */
  readonly label: string
  readonly options: readonly { readonly value: Value; readonly text: string }[]
  readonly value: Value
  readonly onChange: (value: Value) => void
}

/** A row of buttons, one of which is chosen. */
export function Segments<Value>({ label, options, value, onChange }: SegmentsProps<Value>) {
  return (
    <div class="segmented" role="group" aria-label={label}>
      {options.map((option) => (
        <button
          key={option.text}
          type="button"
          aria-pressed={option.value === value}
          onClick={() => onChange(option.value)}
        >
          {option.text}
        </button>
      ))}
    </div>
  )
}

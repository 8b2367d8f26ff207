import type { ComponentChildren } from 'preact'
import { useId } from 'preact/hooks'

interface FieldProps {
  readonly label: ComponentChildren
  readonly hint?: ComponentChildren
  readonly error?: ComponentChildren
}

interface TextFieldProps extends FieldProps {
  readonly value: string
  readonly onInput: (value: string) => void
  readonly placeholder?: string
  readonly maxLength?: number
  /** Shows dots in place of the text. */
  readonly isSecret?: boolean
  /** Ids and codes are set in the font of code. */
  readonly isCode?: boolean
  readonly isRequired?: boolean
}

export function TextField({ label, hint, error, value, onInput, isCode = false, ...rest }: TextFieldProps) {
  const id = useId()
  const isInvalid = error !== undefined
  const { placeholder, maxLength, isSecret = false, isRequired } = rest
  const type = isSecret ? ({ type: 'password' } as const) : ({ type: 'text' } as const)
  return (
    <div class="field">
      <label class="field-label" for={id}>
        {label}
      </label>
      <input
        id={id}
        class={isCode ? 'input input-code' : 'input'}
        {...type}
        value={value}
        placeholder={placeholder}
        maxLength={maxLength}
        required={isRequired}
        autocomplete="off"
        spellcheck={false}
        aria-invalid={isInvalid}
        aria-describedby={hint !== undefined || isInvalid ? `${id}-hint` : undefined}
        onInput={({ currentTarget }) => onInput(currentTarget.value)}
      />
      {(hint !== undefined || isInvalid) && (
        <p id={`${id}-hint`} class={isInvalid ? 'field-hint field-error' : 'field-hint'}>
          {error ?? hint}
        </p>
      )}
    </div>
  )
}

interface SelectFieldProps extends FieldProps {
  readonly value: string
  readonly onChange: (value: string) => void
  readonly options: readonly { readonly value: string; readonly text: string }[]
}

export function SelectField({ label, hint, value, onChange, options }: SelectFieldProps) {
  const id = useId()
  return (
    <div class="field">
      <label class="field-label" for={id}>
        {label}
      </label>
      <select
        id={id}
        class="input"
        value={value}
        onChange={({ currentTarget }) => onChange(currentTarget.value)}
      >
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.text}
          </option>
        ))}
      </select>
      {hint !== undefined && <p class="field-hint">{hint}</p>}
    </div>
  )
}

interface SwitchFieldProps extends FieldProps {
  readonly isOn: boolean
  readonly onChange: (isOn: boolean) => void
}

export function SwitchField({ label, hint, isOn, onChange }: SwitchFieldProps) {
  const id = useId()
  return (
    <div class="field field-switch">
      <input
        id={id}
        class="switch"
        type="checkbox"
        role="switch"
        checked={isOn}
        aria-describedby={hint !== undefined ? `${id}-hint` : undefined}
        onChange={({ currentTarget }) => onChange(currentTarget.checked)}
      />
      <div>
        <label class="field-label" for={id}>
          {label}
        </label>
        {hint !== undefined && (
          <p id={`${id}-hint`} class="field-hint">
            {hint}
          </p>
        )}
      </div>
    </div>
  )
}

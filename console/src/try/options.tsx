import { useQuery } from '../session.ts'
import { SelectField, SwitchField, TextField } from '../ui/field.tsx'
import { ENGINES, type EnginesData } from './operations.ts'

export interface OptionValues {
  readonly waterMark: string
  /** Empty: the gateway chooses. */
  readonly engine: string
  readonly queue: boolean
  readonly force: boolean
}

interface OptionsProps {
  readonly values: OptionValues
  readonly onChange: (values: OptionValues) => void
}

const MAX_WATER_MARK = 256

/** What applies to all pictures of a request. */
export function Options({ values, onChange }: OptionsProps) {
  const engines = useQuery<EnginesData>(ENGINES).data?.upscaleService?.engines ?? []
  const set = (change: Partial<OptionValues>) => onChange({ ...values, ...change })
  return (
    <details class="options">
      <summary>
        Options<span class="soft">{toSummary(values)}</span>
      </summary>
      <div class="stack options-body">
        <TextField
          label="Watermark"
          value={values.waterMark}
          onInput={(waterMark) => set({ waterMark })}
          placeholder="None"
          maxLength={MAX_WATER_MARK}
        />
        {engines.length > 1 && (
          <SelectField
            label="Engine"
            value={values.engine}
            onChange={(engine) => set({ engine })}
            options={[
              { value: '', text: 'The gateway chooses' },
              ...engines.map(({ name, available }) => ({
                value: name,
                text: available ? name : `${name} (unavailable)`,
              })),
            ]}
          />
        )}
        <SwitchField
          label="Queue"
          hint="While the upscale service takes no tasks, wait instead of being refused."
          isOn={values.queue}
          onChange={(queue) => set({ queue })}
        />
        <SwitchField
          label="Force"
          hint="Submit again, even if there is a task for the same picture."
          isOn={values.force}
          onChange={(force) => set({ force })}
        />
      </div>
    </details>
  )
}

function toSummary({ waterMark, engine, queue, force }: OptionValues): string {
  const parts = [
    waterMark === '' ? '' : 'watermark',
    engine,
    queue ? '' : 'no queue',
    force ? 'force' : '',
  ].filter(Boolean)
  return parts.length > 0 ? ` ${parts.join(', ')}` : ''
}

import { Button } from '../ui/button.tsx'
import type { SourcePicture } from './operations.ts'
import { Picture } from './picture.tsx'

export const INDICES = [0, 1, 2, 3] as const

interface PicturePickerProps {
  readonly pictures: readonly (SourcePicture | null)[]
  readonly isLoading: boolean
  readonly chosen: readonly number[]
  readonly onChange: (chosen: readonly number[]) => void
}

/** The four pictures of the source task. */
export function PicturePicker({ pictures, isLoading, chosen, onChange }: PicturePickerProps) {
  const isAll = chosen.length === INDICES.length
  const toggle = (index: number) =>
    onChange(chosen.includes(index) ? chosen.filter((each) => each !== index) : [...chosen, index].sort())
  return (
    <fieldset class="picker">
      <legend class="visually-hidden">Pictures to upscale</legend>
      <div class="picker-head">
        <span class="field-label" aria-hidden="true">
          Pictures
        </span>
        <Button variant="ghost" size="small" onClick={() => onChange(isAll ? [] : INDICES)}>
          {isAll ? 'None' : 'All four'}
        </Button>
      </div>
      <div class="picker-grid">
        {INDICES.map((index) => {
          const picture = pictures[index]
          return (
            <label key={index} class={isLoading ? 'picker-tile is-loading' : 'picker-tile'}>
              <input
                type="checkbox"
                class="picker-check"
                checked={chosen.includes(index)}
                aria-label={`Picture ${index + 1}`}
                onChange={() => toggle(index)}
              />
              {picture ? <Picture {...picture} alt="" /> : <span class="picker-number">{index + 1}</span>}
              <span class="picker-mark" aria-hidden="true" />
            </label>
          )
        })}
      </div>
    </fieldset>
  )
}

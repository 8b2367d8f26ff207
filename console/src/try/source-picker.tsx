import { useSession } from '../session.ts'
import { Icon } from '../ui/icon.tsx'
import { TextField } from '../ui/field.tsx'
import { GALLERY, SCRIPTS } from './sandbox-sources.ts'
import { Picture } from './picture.tsx'
import type { SourcePicture } from './operations.ts'

interface SourcePickerProps {
  readonly source: string
  readonly onChange: (source: string) => void
  /** The first picture of each source of the gallery. */
  readonly covers: readonly (SourcePicture | null)[]
}

/** The generation task: an id, or in the sandbox a picture of the gallery, or the name of an outcome. */
export function SourcePicker({ source, onChange, covers }: SourcePickerProps) {
  const isSandbox = useSession().config.mode === 'SANDBOX'
  return (
    <div class="stack">
      <TextField
        label="Midjourney task id"
        hint={
          isSandbox ? 'Any id works in the sandbox.' : 'The id of the generation whose pictures are upscaled.'
        }
        value={source}
        onInput={onChange}
        placeholder="a1b2c3d4…"
        maxLength={128}
        isCode
      />
      {isSandbox && (
        <>
          <div class="gallery" role="radiogroup" aria-label="Sources of the sandbox">
            {GALLERY.map(({ id, name }, index) => (
              <label key={id} class="gallery-tile">
                <input
                  type="radio"
                  name="gallery"
                  class="visually-hidden"
                  checked={source === id}
                  onChange={() => onChange(id)}
                />
                <span class="gallery-picture">
                  {covers[index] ? <Picture {...covers[index]} alt="" /> : <Icon name="image" />}
                </span>
                <span class="gallery-name">{name}</span>
              </label>
            ))}
          </div>
          <div>
            <h3 class="try-subtitle">Try another outcome</h3>
            <div class="chips">
              {SCRIPTS.map(({ id, text, outcome }) => (
                <button
                  key={id}
                  type="button"
                  class="chip"
                  aria-pressed={source === id}
                  title={`${id}: ${outcome}`}
                  onClick={() => onChange(id)}
                >
                  {text}
                </button>
              ))}
            </div>
          </div>
        </>
      )}
    </div>
  )
}

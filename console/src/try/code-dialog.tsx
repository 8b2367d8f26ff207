import { useState } from 'preact/hooks'
import { CopyButton } from '../ui/copy-button.tsx'
import { Dialog } from '../ui/dialog.tsx'
import type { Snippet } from './snippets.ts'

interface CodeDialogProps {
  readonly snippets: readonly Snippet[]
  readonly isOpen: boolean
  readonly onClose: () => void
}

/** The request of the page in several languages. */
export function CodeDialog({ snippets, isOpen, onClose }: CodeDialogProps) {
  const [name, setName] = useState('curl')
  const text = snippets.find((snippet) => snippet.name === name)?.text ?? ''
  return (
    <Dialog title="Copy as code" isOpen={isOpen} onClose={onClose} isWide>
      <div class="code-head">
        <fieldset class="segments">
          <legend class="visually-hidden">Language</legend>
          {snippets.map((snippet) => (
            <label key={snippet.name}>
              <input
                type="radio"
                name="language"
                class="visually-hidden"
                checked={snippet.name === name}
                onChange={() => setName(snippet.name)}
              />
              <span>{snippet.name}</span>
            </label>
          ))}
        </fieldset>
        <CopyButton value={text} label="Copy the code" text="Copy" />
      </div>
      <pre class="code-block code-tall" tabIndex={0} role="region" aria-label={`${name} code`}>
        <code>{text}</code>
      </pre>
    </Dialog>
  )
}

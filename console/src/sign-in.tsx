import { useState } from 'preact/hooks'
import { useSession } from './session.ts'
import { useStore } from './store.ts'
import { Button } from './ui/button.tsx'
import { Dialog } from './ui/dialog.tsx'
import { TextField } from './ui/field.tsx'

/** Asks for a token while one is wanted. What is on the screen stays, and resumes with the new token. */
export function SignIn() {
  const { tokens } = useSession()
  const { wanted } = useStore(tokens.state)
  const [text, setText] = useState('')
  const submit = (event: Event) => {
    event.preventDefault()
    const token = text.trim().replace(/^bearer\s+/i, '')
    setText('')
    if (token !== '') tokens.accept(token)
  }
  const isRefused = wanted === 'refused'
  return (
    <Dialog title={isRefused ? 'Sign in again' : 'Sign in'} isOpen={wanted !== null} isModal={!isRefused}>
      <form class="stack" onSubmit={submit}>
        <TextField label="Bearer token" isSecret value={text} onInput={setText} isCode isRequired />
        <Button type="submit" variant="primary">
          Continue
        </Button>
      </form>
    </Dialog>
  )
}

import { useEffect, useState } from 'preact/hooks'
import type { OidcConfig } from './config.ts'
import { useSession } from './session.ts'
import { useStore } from './store.ts'
import type { TokenState } from './tokens.ts'
import { Button } from './ui/button.tsx'
import { Dialog } from './ui/dialog.tsx'
import { TextField } from './ui/field.tsx'

/** Asks for a token while one is wanted. What is on the screen stays, and resumes with the new token. */
export function SignIn() {
  const { config, tokens } = useSession()
  const { wanted } = useStore(tokens.state)
  const [text, setText] = useState('')
  const [isPaste, setPaste] = useState(config.oidc === null)
  const submit = (event: Event) => {
    event.preventDefault()
    const token = text.trim().replace(/^bearer\s+/i, '')
    setText('')
    if (token !== '') tokens.accept(token)
  }
  const isRefused = wanted === 'refused'
  return (
    <Dialog title={isRefused ? 'Sign in again' : 'Sign in'} isOpen={wanted !== null} isModal={!isRefused}>
      <div class="stack">
        <p class="soft">{toExplanation(wanted)}</p>
        {config.oidc && <OidcSignIn oidc={config.oidc} />}
        {isPaste ? (
          <form class="stack" onSubmit={submit}>
            <TextField
              label="Bearer token"
              hint="It stays in this tab: in memory and in its session storage, until the tab is closed or you sign out."
              value={text}
              onInput={setText}
              placeholder="eyJhbGciOi…"
              isSecret
              isCode
              isRequired
            />
            <Button type="submit" variant={config.oidc ? 'secondary' : 'primary'}>
              Continue
            </Button>
          </form>
        ) : (
          <Button variant="ghost" onClick={() => setPaste(true)}>
            Paste a token instead
          </Button>
        )}
      </div>
    </Dialog>
  )
}

function toExplanation(wanted: TokenState['wanted']): string {
  return wanted === 'refused'
    ? 'The token has expired, or the gateway does not accept it. What you see here continues with a new one.'
    : 'This gateway answers only to callers with a token, the same as your application sends in its Authorization header.'
}

/** Leads to the identity provider; coming back, it takes the token from there. */
function OidcSignIn({ oidc }: { oidc: OidcConfig }) {
  const { tokens } = useSession()
  const isReturn = new URLSearchParams(location.search).has('state')
  const [isBusy, setBusy] = useState(isReturn)
  const [error, setError] = useState<string | null>(null)
  const fail = (reason: unknown) => {
    setBusy(false)
    setError(reason instanceof Error ? reason.message : String(reason))
  }
  useEffect(() => {
    if (!isReturn) return
    void import('./oidc.ts')
      .then(({ finishSignIn }) => finishSignIn(oidc, sessionStorage))
      .then(tokens.accept, fail)
  }, [])
  const start = () => {
    setBusy(true)
    void import('./oidc.ts').then(({ startSignIn }) => startSignIn(oidc, sessionStorage)).catch(fail)
  }
  return (
    <>
      <Button variant="primary" isBusy={isBusy} onClick={start}>
        Sign in with {new URL(oidc.issuer).host}
      </Button>
      {error !== null && (
        <p class="field-hint field-error" role="alert">
          {error}
        </p>
      )}
    </>
  )
}

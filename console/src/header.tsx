import { useRoute } from './router.ts'
import type { Session } from './session.ts'
import { useStore } from './store.ts'
import { useTheme } from './theme.ts'
import { Badge } from './ui/badge.tsx'
import { Button } from './ui/button.tsx'

const PAGES = [
  { name: 'try', text: 'Try it' },
  { name: 'tasks', text: 'Tasks' },
  { name: 'service', text: 'Service' },
]

export function Header({ session }: { session: Session | null }) {
  const [current = 'try'] = useRoute().path
  const [theme, toggleTheme] = useTheme()
  return (
    <header class="shell-header">
      <div class="shell-bar">
        <a class="shell-brand" href="#/try" aria-label="Upscale gateway">
          <img src="./icon.svg" alt="" width="24" height="24" />
          <span>Upscale gateway</span>
        </a>
        <span class="shell-mode">{session && <Mode mode={session.config.mode} />}</span>
        <nav class="shell-nav" aria-label="Pages">
          {PAGES.map(({ name, text }) => (
            <a key={name} href={`#/${name}`} aria-current={name === current ? 'page' : undefined}>
              {text}
            </a>
          ))}
        </nav>
        <div class="shell-tools">
          {session?.config.authentication === 'bearer' && <SignOut session={session} />}
          <Button
            variant="ghost"
            icon={theme === 'dark' ? 'sun' : 'moon'}
            label={theme === 'dark' ? 'Light theme' : 'Dark theme'}
            onClick={toggleTheme}
          />
        </div>
      </div>
    </header>
  )
}

function Mode({ mode }: { mode: 'SANDBOX' | 'LIVE' }) {
  return mode === 'LIVE' ? <Badge tone="danger">Live</Badge> : <Badge tone="info">Sandbox</Badge>
}

function SignOut({ session: { tokens } }: { session: Session }) {
  const { token } = useStore(tokens.state)
  if (token === null) return null
  const signOut = () => {
    tokens.signOut()
    // Away from the tasks of the person who signs out.
    location.hash = '#/try'
  }
  return <Button variant="ghost" icon="signOut" label="Sign out" onClick={signOut} />
}

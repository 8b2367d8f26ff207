import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { readConfig } from './config.ts'
import { ConnectionBanner } from './connection-banner.tsx'
import { NETWORK } from './failure.ts'
import { Header } from './header.tsx'
import { useRoute } from './router.ts'
import { ServicePage } from './service/service-page.tsx'
import { createSession, SessionContext, type Session } from './session.ts'
import { SignIn } from './sign-in.tsx'
import { TasksPage } from './tasks/tasks-page.tsx'
import { TryPage } from './try/try-page.tsx'
import { ErrorNote } from './ui/error-note.tsx'
import { LiveRegion } from './ui/live.tsx'

/** The whole console. The header is there at once; the pages wait for the configuration. */
export function App() {
  const [session, setSession] = useState<Session | null>(null)
  const [isLost, setLost] = useState(false)
  const open = () => {
    setLost(false)
    void readConfig().then(
      (config) => setSession(createSession(config)),
      () => setLost(true),
    )
  }
  useEffect(open, [])
  return (
    <LiveRegion>
      <a class="skip-link" href="#main" onClick={focusMain}>
        Skip to the content
      </a>
      <Header session={session} />
      <main id="main" tabIndex={-1}>
        {isLost && <ErrorNote failure={NETWORK} onRetry={open} />}
        {session && (
          <SessionContext.Provider value={session}>
            <ConnectionBanner />
            <Page />
            <SignIn />
          </SessionContext.Provider>
        )}
      </main>
    </LiveRegion>
  )
}

/** The hash of the URL is the route, so a link to `#main` would leave the page. */
function focusMain(event: Event): void {
  event.preventDefault()
  document.querySelector<HTMLElement>('#main')?.focus()
}

const TITLES: Readonly<Record<string, string>> = { try: 'Try it', tasks: 'Tasks', service: 'Service' }

function Page(): ComponentChildren {
  const [name = 'try'] = useRoute().path
  useEffect(() => {
    document.title = `${TITLES[name] ?? 'Try it'} · Upscale gateway`
  }, [name])
  if (name === 'tasks') return <TasksPage />
  return name === 'service' ? <ServicePage /> : <TryPage />
}

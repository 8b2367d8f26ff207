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
import { createTries, type Tries } from './try/tries.ts'
import { TryPage } from './try/try-page.tsx'
import { ErrorNote } from './ui/error-note.tsx'
import { LiveRegion } from './ui/live.tsx'

interface Opened {
  readonly session: Session
  readonly tries: Tries
}

/** The whole console. The header is there at once; the pages wait for the configuration. */
export function App() {
  const [opened, setOpened] = useState<Opened | null>(null)
  const [isLost, setLost] = useState(false)
  const open = () => {
    setLost(false)
    void readConfig().then(
      (config) => {
        const session = createSession(config)
        // Tasks go on while another page is shown.
        setOpened({ session, tries: createTries(session, sessionStorage) })
      },
      () => setLost(true),
    )
  }
  useEffect(open, [])
  return (
    <LiveRegion>
      <a class="skip-link" href="#main" onClick={focusMain}>
        Skip to the content
      </a>
      <Header session={opened?.session ?? null} />
      <main id="main" tabIndex={-1}>
        {isLost && <ErrorNote failure={NETWORK} onRetry={open} />}
        {opened && (
          <SessionContext.Provider value={opened.session}>
            <ConnectionBanner />
            <Page tries={opened.tries} />
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

function Page({ tries }: { tries: Tries }): ComponentChildren {
  const [name = 'try'] = useRoute().path
  useEffect(() => {
    document.title = `${TITLES[name] ?? 'Try it'} · Upscale gateway`
  }, [name])
  if (name === 'tasks') return <TasksPage />
  return name === 'service' ? <ServicePage /> : <TryPage tries={tries} />
}

import { render } from 'preact'
import { App } from './app.tsx'
import './styles/tokens.css'
import './styles/base.css'
import './styles/ui.css'
import './styles/shell.css'
import './styles/try.css'
import { applyStoredTheme } from './theme.ts'

applyStoredTheme()
const root = document.querySelector('#root')
if (root) render(<App />, root)

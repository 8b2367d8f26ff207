import { render } from 'preact'
import { App } from './app.tsx'
import './styles/tokens.css'
import './styles/base.css'
import './styles/ui.css'
import './styles/shell.css'
import './styles/try.css'

const root = document.querySelector('#root')
if (root) render(<App />, root)

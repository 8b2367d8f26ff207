import { render } from 'preact'

const root = document.querySelector('#root')
if (root) render(<h1>Upscale gateway</h1>, root)

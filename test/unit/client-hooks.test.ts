import { expect, test } from '@jest/globals'
import { createElement } from 'react'
import { renderToString } from 'react-dom/server'
import { useUpscale, useUpscaleTask } from '../../client/src/react/index.ts'
import { createScriptedGateway } from '../../client/src/testing/index.ts'

test('on a server the hooks render IDLE and send nothing', () => {
  const client = createScriptedGateway()
  function Submit() {
    const { status, elapsedMs } = useUpscale({ client })
    return createElement('p', null, `${status} ${elapsedMs}`)
  }
  function Follow() {
    const { status, task } = useUpscaleTask({ client, id: 'a-task' })
    return createElement('p', null, `${status} ${task?.id ?? 'none'}`)
  }
  const page = createElement('main', null, createElement(Submit), createElement(Follow))
  expect(renderToString(page)).toBe('<main><p>IDLE 0</p><p>IDLE none</p></main>')
  expect(client.requests).toEqual([])
})

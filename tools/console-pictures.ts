/**
 * Draws docs/images/console-*.webp: opens each page of the console in Chromium, before a gateway on the
 * sandbox. `npm run console:pictures`; needs Chromium, as `npm run test:browser` does.
 */
import { writeFile } from 'node:fs/promises'
import type { Page } from 'playwright-core'
import sharp from 'sharp'
import { launchChromium } from '../test/support/chromium.ts'
import { openConsoleScene } from '../test/support/console-scene.ts'
import { buildConsole, untilTrue } from '../test/support/console.ts'

const FOLDER = new URL('../docs/images/', import.meta.url)
const WIDE = { width: 1280, height: 860 }
const LOOKS = {
  light: { viewport: WIDE, colorScheme: 'light' },
  dark: { viewport: WIDE, colorScheme: 'dark' },
  narrow: { viewport: { width: 360, height: 740 }, colorScheme: 'light', deviceScaleFactor: 2 },
} as const
const SET_FONTS = `
  document.documentElement.style.setProperty('--font', 'Liberation Sans')
  document.documentElement.style.setProperty('--font-code', 'Liberation Mono')
  // A screenshot has no scroll bar.
  document.documentElement.style.scrollbarGutter = 'auto'`
const QUALITY = 82
/** The duration of an upscale, so that the times that are shown are those of a real one. */
const COMPLETE_AFTER_MS = 2_300

type Scene = Awaited<ReturnType<typeof openConsoleScene>>

/** The pages, in the order of their pictures: the later ones show the tasks of the earlier ones. */
const PAGES: Readonly<Record<string, (page: Page, scene: Scene) => Promise<void>>> = {
  async try(page) {
    // The pictures of the gallery, which are drawn one after another.
    await page.locator('.gallery-picture .is-loaded').nth(5).waitFor()
    await page.getByText('Misty ridge').click()
    await page.getByRole('button', { name: 'Upscale 4 pictures' }).click()
    await page.locator('.try-card[data-status=SUCCEEDED]').nth(3).waitFor()
    // The last of the facts: they are measured from the copies.
    await page.getByText('Never expires').nth(3).waitFor()
  },
  async tasks(page) {
    await page.goto(new URL('#/tasks', page.url()).href)
    await page.locator('.task-row .badge-danger').first().waitFor()
  },
  async task(page) {
    const row = page.locator('.task-row', { hasText: 'Succeeded' }).first()
    await row.getByRole('link').click()
    await page.getByRole('heading', { name: 'Facts' }).waitFor()
  },
  async service(page) {
    await page.goto(new URL('#/service', page.url()).href)
    await page.locator('[data-code]').first().waitFor()
    await page.getByText(/\d of \d+ left|no limit/).waitFor()
  },
}

/** Tasks of every status for the list. */
async function submitAll(scene: Scene): Promise<void> {
  const sources = [
    'paper-hills',
    'sandbox-code-402',
    'sandbox-callback-501',
    'winter-sun',
    'sandbox-late-900',
  ]
  for (const [imageIndex, source] of sources.entries())
    await scene.submit(source, { imageIndex: imageIndex % 4 })
}

/** Pictures outside the window are loaded later. */
const ARE_LOADED = `[...document.images].every((image) => {
  const { top, bottom } = image.getBoundingClientRect()
  return bottom < 0 || top > innerHeight || (image.complete && image.naturalWidth > 0)
})`

async function draw(scene: Scene, look: keyof typeof LOOKS): Promise<number> {
  await using opened = await scene.open('#/try', LOOKS[look])
  const { page } = opened
  // Fonts that every Debian with Chromium has, whatever its system font is.
  await page.evaluate(SET_FONTS)
  let size = 0
  for (const [name, show] of Object.entries(PAGES)) {
    await show(page, scene)
    await page.mouse.move(0, 0)
    await untilTrue(page, ARE_LOADED)
    const picture = await page.screenshot({ animations: 'disabled', caret: 'hide' })
    const file = await sharp(picture).webp({ quality: QUALITY, effort: 6 }).toBuffer()
    await writeFile(new URL(`console-${name}-${look}.webp`, FOLDER), file)
    size += file.byteLength
  }
  return size
}

await buildConsole()
await using browser = await launchChromium()
let size = 0
for (const look of ['light', 'dark', 'narrow'] as const) {
  // Each with a gateway of its own: the tasks of the one before would be in its list.
  await using scene = await openConsoleScene(browser, {
    completeAfterMs: COMPLETE_AFTER_MS,
    areKept: true,
    settings: { UPSTREAM_RATE_LIMIT: '18/10s' },
  })
  await submitAll(scene)
  size += await draw(scene, look)
}
console.log(`docs/images/console-*.webp are written: ${Math.round(size / 1_000)} kB`)

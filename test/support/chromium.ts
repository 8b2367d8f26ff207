import { chromium, type Browser } from 'playwright-core'

/** The Chromium that CHROMIUM names (`npm run test:browser` sets it), without a window. */
export const launchChromium = (): Promise<Browser> =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    // Emulating a GPU takes a third of the time of a page.
    args: ['--no-sandbox', '--disable-gpu'],
  })

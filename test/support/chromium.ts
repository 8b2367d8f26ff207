import { chromium, type Browser } from 'playwright-core'

/** The Chromium that CHROMIUM names (`npm run test:browser` sets it), without a window. */
export const launchChromium = (): Promise<Browser> =>
  chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] })

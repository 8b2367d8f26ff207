import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { SignJWT } from 'jose'
import sharp from 'sharp'
import { FollowPicturesDocument } from '../generated/operations.ts'
import { print } from 'graphql'
import { openBrowser, type Page } from '../support/browser.ts'
import { startKeeper } from '../support/kept.ts'

let page: Page
beforeAll(async () => {
  page = await openBrowser(process.env.CHROMIUM ?? 'chromium')
})
afterAll(async () => {
  await page[Symbol.asyncDispose]()
})

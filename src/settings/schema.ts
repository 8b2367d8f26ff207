/** The schema of the settings: their names, types, defaults, checks and descriptions. */
import * as z from 'zod'
import { callerSettings } from './callers.ts'
import { databaseSettings } from './database.ts'
import { interfaceSettings } from './interface.ts'
import { outboundSettings } from './outbound.ts'
import { resultSettings } from './results.ts'
import { serviceSettings } from './service.ts'
import { upstreamSettings } from './upstream.ts'

/**
 * Every setting by the camelCase of its environment variable (`drainMs`: DRAIN_MS). The name contains the
 * unit. `prefault` is the default in the format of the variable. `npm run settings:emit` writes the first
 * sentence of a description to README, and all of it to docs/settings.md.
 */
export const schema = z.object({
  ...serviceSettings,
  ...upstreamSettings,
  ...databaseSettings,
  ...callerSettings,
  ...outboundSettings,
  ...resultSettings,
  ...interfaceSettings,
})

/** The environment variable of a setting. */
export const toName = (key: string): string =>
  key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()

export const SETTING_NAMES: readonly string[] = Object.keys(schema.shape).map(toName)

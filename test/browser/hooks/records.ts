/** What a page has seen of one upscale. */
export interface ScriptRecord {
  readonly versions: number[]
  readonly statuses: string[]
  /** One for each call of `onSettled`. */
  readonly settled: string[]
  readonly ends: number[]
  code: string | null
}

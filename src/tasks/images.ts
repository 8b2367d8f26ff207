import type { UpscaledImage } from './task.ts'

/** Image URLs with the estimate of when the vendor drops them. */
export function toImages(urls: readonly string[], at: number, lifetimeMs: number): UpscaledImage[] {
  return urls.map((url) => ({ url, expiresAt: at + lifetimeMs }))
}

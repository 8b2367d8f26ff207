/** Numbers that look random, and are the same for the same seed. Not cryptographic. */
export class Random {
  readonly #seed: string
  #count = 0

  constructor(seed: string) {
    this.#seed = seed
  }

  /** A UUID of version 4. */
  uuid(): string {
    this.#count += 1
    const hex = toHex(`${this.#seed}/${this.#count}`, 32)
    const variant = '89ab'[Number.parseInt(hex.charAt(16), 16) % 4] ?? '8'
    return [
      hex.slice(0, 8),
      hex.slice(8, 12),
      `4${hex.slice(13, 16)}`,
      variant + hex.slice(17, 20),
      hex.slice(20),
    ].join('-')
  }

  reset(): void {
    this.#count = 0
  }
}

/** A number from 0 to 2³²−1 that depends on the text (FNV-1a, with a final mix). */
export function toNumber(text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index += 1)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** Hexadecimal digits that depend on the text. */
export function toHex(text: string, digits: number): string {
  let hex = ''
  for (let part = 0; hex.length < digits; part += 1)
    hex += toNumber(`${part}/${text}`).toString(16).padStart(8, '0')
  return hex.slice(0, digits)
}

const PREFIX = 'owner:'

/**
 * The topic of hints about all tasks of an owner: short, without spaces. Two owners may share a topic, so a
 * listener checks the owner of a state.
 */
export function toOwnerTopic(owner: string): string {
  return PREFIX + toHash(owner)
}

export function isOwnerTopic(topic: string): boolean {
  return topic.startsWith(PREFIX)
}

/**
 * cyrb53: 53 bits, well mixed, not cryptographic. A fraction of the time of a digest, and every commit needs
 * one.
 */
function toHash(text: string): string {
  let high = 0xdeadbeef
  let low = 0x41c6ce57
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index)
    high = Math.imul(high ^ unit, 2_654_435_761)
    low = Math.imul(low ^ unit, 1_597_334_677)
  }
  high = Math.imul(high ^ (high >>> 16), 2_246_822_507) ^ Math.imul(low ^ (low >>> 13), 3_266_489_909)
  low = Math.imul(low ^ (low >>> 16), 2_246_822_507) ^ Math.imul(high ^ (high >>> 13), 3_266_489_909)
  return (4_294_967_296 * (2_097_151 & low) + (high >>> 0)).toString(36)
}

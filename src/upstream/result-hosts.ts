import type { Result } from '../tasks/engines/engine-ports.ts'

/** Keeps only the URLs on these hosts and their subdomains. Without hosts it keeps all URLs. */
export function keepAllowed<Found extends Result>(found: Found, hosts: readonly string[]): Found {
  if (hosts.length === 0) return found
  const imageUrls = found.imageUrls.filter((url) => isOn(new URL(url).hostname, hosts))
  const dropped = (found.dropped ?? 0) + found.imageUrls.length - imageUrls.length
  return dropped === 0 ? found : { ...found, imageUrls, dropped }
}

function isOn(hostname: string, hosts: readonly string[]): boolean {
  return hosts.some((host) => hostname === host || hostname.endsWith(`.${host}`))
}

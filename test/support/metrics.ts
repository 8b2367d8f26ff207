import { waitFor } from './wait-for.ts'

/** The lines of /metrics; of a service that serves none, an error. */
export async function readMetrics({ metricsUrl }: { readonly metricsUrl: string | null }): Promise<string[]> {
  const response = await fetch(`${metricsUrl}/metrics`)
  if (response.status !== 200) throw new Error(`/metrics was answered with ${response.status}`)
  return (await response.text()).split('\n')
}

/** Resolves once /metrics has all of these lines. */
export async function waitForMetrics(
  gateway: { readonly metricsUrl: string | null },
  ...lines: string[]
): Promise<void> {
  let missing = lines
  try {
    await waitFor(async () => {
      const found = await readMetrics(gateway)
      missing = lines.filter((line) => !found.includes(line))
      return missing.length === 0
    })
  } catch (error) {
    throw new Error(`/metrics never had ${missing.join(' and ')}`, { cause: error })
  }
}

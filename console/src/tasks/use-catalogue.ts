import { useMemo } from 'preact/hooks'
import { ERRORS_QUERY, type ErrorInfo } from '../service/service-documents.ts'
import { useQuery } from '../session.ts'

/** The error catalogue, by code. Empty until it is loaded. */
export type Catalogue = ReadonlyMap<string, ErrorInfo>

export function useCatalogue(): Catalogue {
  const { data } = useQuery<{ upscaleErrors: readonly ErrorInfo[] | null }>(ERRORS_QUERY)
  return useMemo(() => new Map(data?.upscaleErrors?.map((info) => [info.code, info])), [data])
}

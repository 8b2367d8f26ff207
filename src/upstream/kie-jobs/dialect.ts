import type { Dialect, DialectSubmit } from '../dialect.ts'
import { kieMidjourney } from '../kie-midjourney/dialect.ts'
import { parseSubmitAnswer } from '../kie-midjourney/submit-answer.ts'
import { findWaterMark } from '../unsupported.ts'
import { parseCallback, parsePollAnswer } from './wire.ts'

interface JobOptions {
  readonly model: string | null
  readonly factor: number | null
}

const FACTORS: readonly number[] = [1, 2, 4]
const DEFAULT_FACTOR = 2

type ToInput = (url: string | null, factor: number) => object

/** The models that enlarge a picture, and their inputs. */
const MODELS: ReadonlyMap<string, { readonly hasFactor: boolean; readonly toInput: ToInput }> = new Map([
  [
    'topaz/image-upscale',
    // The vendor requires the factor as a string.
    { hasFactor: true, toInput: (url, factor) => ({ image_url: url, upscale_factor: String(factor) }) },
  ],
  ['recraft/crisp-upscale', { hasFactor: false, toInput: (url) => ({ image: url }) }],
])
const DEFAULT_MODEL = 'topaz/image-upscale'

/**
 * kie.ai's jobs: other upscalers of the vendor of kie-midjourney, with the same key, envelope, codes and
 * signatures.
 * @throws Error that names the invalid option.
 */
export function createKieJobs({ model: chosen, factor }: JobOptions): Dialect {
  const name = chosen ?? DEFAULT_MODEL
  const model = MODELS.get(name)
  if (model === undefined) throw new Error(`model: "${name}" must be one of ${[...MODELS.keys()].join(', ')}`)
  if (factor !== null && !model.hasFactor) throw new Error(`factor: the model ${name} has none; omit it`)
  if (factor !== null && !FACTORS.includes(factor))
    throw new Error(`factor: ${factor} must be one of ${FACTORS.join(', ')}`)
  const toBody = ({ sourceUrl, callBackUrl }: DialectSubmit) => ({
    model: name,
    ...(callBackUrl !== null && { callBackUrl }),
    input: model.toInput(sourceUrl, factor ?? DEFAULT_FACTOR),
  })
  return {
    // The source task is a Midjourney task of the same account.
    ...kieMidjourney,
    needsSourceUrl: true,
    findUnsupported: findWaterMark,
    toSubmit: (request) => ({ path: '/api/v1/jobs/createTask', body: toBody(request) }),
    parseSubmit: ({ status, body, retryAfterMs }) => parseSubmitAnswer(status, body, retryAfterMs),
    toPollPath: (taskId) => `/api/v1/jobs/recordInfo?taskId=${encodeURIComponent(taskId)}`,
    parsePoll: ({ body }) => parsePollAnswer(body),
    parseCallback,
  }
}

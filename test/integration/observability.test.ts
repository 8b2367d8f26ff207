import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { UPSCALE_ERROR_CODES } from '../../src/tasks/failure.ts'
import { startGateway } from '../support/gateway.ts'

interface Rule {
  readonly record?: string
  readonly alert?: string
  readonly expr: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}
interface UnitTest {
  readonly name: string
  readonly alert_rule_test?: readonly {
    readonly alertname: string
    readonly exp_alerts: readonly unknown[]
  }[]
  readonly promql_expr_test?: readonly {
    readonly expr: string
    readonly exp_samples?: readonly { readonly labels: string }[]
  }[]
}
interface Dashboard {
  readonly templating: { readonly list: readonly { readonly definition?: string }[] }
  readonly panels: readonly { readonly targets?: readonly { readonly expr: string }[] }[]
}

const FOLDER = 'deploy/observability'
const read = (file: string) => readFileSync(file, 'utf8')
const { groups } = parse(read(`${FOLDER}/alerts.yaml`)) as { groups: { rules: Rule[] }[] }
const rules = groups.flatMap((group) => group.rules)
const alerts = rules.filter(({ alert }) => alert !== undefined)
const { tests } = parse(read(`${FOLDER}/alerts.test.yaml`)) as { tests: UnitTest[] }
const dashboard = JSON.parse(read(`${FOLDER}/dashboard.json`)) as Dashboard
const queries = [
  ...dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
  ...dashboard.templating.list.flatMap(({ definition }) => definition ?? []),
]

/** Metrics of Prometheus itself. */
const OF_PROMETHEUS = ['up', 'ALERTS']
/** The service has these only on PostgreSQL. */
const WITH_REPLICAS_ONLY = ['upscale_hint_listener_up']

/**
 * The names of metrics in a query: words before `{`, `[` or `)`, and `ALERTS`, but no function, label or
 * value.
 */
function findMetrics(query: string): string[] {
  const withoutLabels = query
    .replaceAll(/"[^"]*"/g, '')
    .replaceAll(/\{[^}]*\}/g, ' ')
    .replaceAll(/\b(by|on|without|ignoring) \([^)]*\)/g, ' ')
    .replaceAll(/\[[^\]]*\]/g, ' ')
    .replaceAll(/, *\w+\)$/g, ')')
  return (withoutLabels.match(/[a-zA-Z_:][\w:]*(?![\w:]*\s*\()/g) ?? []).filter(
    (word) => !['and', 'or', 'unless'].includes(word),
  )
}

/** Without the parts of histograms. */
const toFamily = (metric: string) => metric.replace(/_(bucket|count|sum)$/, '')

/** The headings of the alerts in the runbook. */
function findSections(): string[] {
  const [, section = ''] = /^## Alerts$([^]*?)^## /m.exec(read('docs/runbook.md')) ?? []
  return [...section.matchAll(/^### (.*)$/gm)].map(([, heading = '']) => heading)
}

test('metrics are found in queries', () => {
  const query =
    'sum by (job, le) (rate(a_bucket{le="1",x=~"b(c)"}[5m])) > 2 * b and on (job) time() - max(c:d) > 0'
  expect(findMetrics(query)).toEqual(['a_bucket', 'b', 'c:d'])
  expect(findMetrics('label_values(info{job="$job"}, instance)')).toEqual(['info'])
})

describe('the rules and the dashboard', () => {
  let served: Set<string>
  beforeAll(async () => {
    await using gateway = await startGateway()
    const response = await fetch(`${gateway.url}/metrics`)
    served = new Set([...(await response.text()).matchAll(/^# TYPE (\S+)/gm)].map(([, name = '']) => name))
  })

  test('name metrics that the service has, and records of the rules', () => {
    const known = [
      ...served,
      ...rules.flatMap(({ record }) => record ?? []),
      ...OF_PROMETHEUS,
      ...WITH_REPLICAS_ONLY,
    ]
    const named = [...rules.map(({ expr }) => expr), ...queries].flatMap(findMetrics)
    expect(named.length).toBeGreaterThan(50)
    expect([...new Set(named.map(toFamily))].filter((name) => !known.includes(name))).toEqual([])
  })
})

describe('the rules', () => {
  test('name codes that there are', () => {
    const others = read('docs/errors.md').split('## Faults of the request')[1] ?? ''
    const codes = rules.flatMap(({ expr }) => expr.match(/\b[A-Z]+(_[A-Z]+)+\b/g) ?? [])
    expect(codes).toContain('RATE_LIMITED')
    for (const code of codes)
      if (!(UPSCALE_ERROR_CODES as readonly string[]).includes(code)) expect(others).toContain(`\`${code}\``)
  })

  test('aggregate by installation, so that one alert speaks of one', () => {
    for (const { expr } of rules)
      for (const [, labels = ''] of expr.matchAll(/\b(?:sum|max|min|count) by \(([^)]*)\)/g))
        expect(labels.split(', ')).toContain('job')
    for (const { expr } of rules) expect(expr).not.toMatch(/\b(sum|max|min|count|avg) ?\((?!_)/)
  })
})

describe('the runbook', () => {
  test('has a section for each alert, and no other', () => {
    expect(findSections()).toEqual(alerts.map(({ alert }) => alert))
  })

  test('links to headings that it has', () => {
    const text = read('docs/runbook.md')
    const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    )
    const linked = [...text.matchAll(/\]\(#([^)]*)\)/g)].map(([, anchor]) => anchor)
    expect(linked.filter((anchor) => !headings.includes(anchor ?? ''))).toEqual([])
  })
})

describe.each(alerts.map((rule) => [rule.alert ?? '', rule] as const))('%s', (name, rule) => {
  test('has a severity, a summary, a description, and the link to its section of the runbook', () => {
    expect(rule.labels?.severity).toMatch(/^(page|ticket)$/)
    expect(rule.annotations).toEqual({
      summary: expect.stringMatching(/\w/),
      description: expect.stringMatching(/\.$/),
      runbook_url: expect.stringMatching(`/docs/runbook\\.md#${name.toLowerCase()}$`),
    })
  })

  test('has a unit test in which it fires, and one in which it does not', () => {
    const fires = tests.filter(
      ({ alert_rule_test = [], promql_expr_test = [] }) =>
        alert_rule_test.some(({ alertname, exp_alerts }) => alertname === name && exp_alerts.length > 0) ||
        promql_expr_test.some(({ exp_samples = [] }) =>
          exp_samples.some(({ labels }) => labels.includes(`"${name}",alertstate="firing"`)),
        ),
    )
    const isSilent = tests.filter(({ promql_expr_test = [] }) =>
      promql_expr_test.some(
        ({ expr, exp_samples }) =>
          expr.startsWith('ALERTS{') && expr.includes(`"${name}"`) && exp_samples === undefined,
      ),
    )
    expect(fires.map((each) => each.name)).not.toEqual([])
    for (const each of fires) expect(each.name).toContain(`${name} fires`)
    expect(isSilent.map((each) => each.name)).not.toEqual([])
    for (const each of isSilent) expect(each.name).toContain(`${name} is silent`)
  })
})

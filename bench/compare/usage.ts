/** The titles of the tables, in the order of figures.md. */
export const TABLES = [
  'Ours beside its peers',
  'Growth: subscribers',
  'Growth: settled tasks in the store',
  'PostgreSQL as store, and replicas',
  'What a user pays',
] as const

export type Table = (typeof TABLES)[number]

export const USAGE = `Usage: npm run bench [-- [RUNS] [WORD]]

Measures the gateway beside its peers, and writes bench/figures.md and bench/figures.svg.

  RUNS  how often each figure is measured; tables show medians (default: 1)
  WORD  measures only the tables whose title has this word:
${TABLES.map((title) => `          ${title}`).join('\n')}

TEST_DATABASE_URL   a PostgreSQL server, for the table of PostgreSQL
BENCH_PROFILES      a folder for a CPU profile of each contender

See bench/README.md.`

export interface Order {
  readonly runs: number
  readonly tables: readonly Table[]
}

/** Parses the arguments; `refusal`: why they are invalid. */
export function parseArguments(args: readonly string[]): Order | 'help' | { readonly refusal: string } {
  if (args.some((each) => each === '--help' || each === '-h')) return 'help'
  const [runs = '1', word, ...others] = args
  if (!/^[1-9]\d?$/.test(runs)) return { refusal: `RUNS must be a number from 1 to 99, not "${runs}"` }
  if (others.length > 0) return { refusal: `Too many arguments: remove "${others.join(' ')}"` }
  const tables = TABLES.filter((title) => word === undefined || title.includes(word))
  return tables.length === 0
    ? { refusal: `No table has the word "${word ?? ''}" in its title` }
    : { runs: Number(runs), tables }
}

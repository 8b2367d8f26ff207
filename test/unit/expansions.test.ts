import { readFile } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from '@jest/globals'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { MAJOR, toExpansions } from '../../src/store/migrations/migrations.ts'
import { openSqlite } from '../../src/store/sqlite/open.ts'
import { openTempDir } from '../support/temp-dir.ts'

const DIALECTS = {
  SQLite: { id: 'text', keepsCounts: true, isPostgres: false },
  PostgreSQL: { id: 'text collate "C"', keepsCounts: false, isPostgres: true },
}

/**
 * What a column may not be if replicas that do not know it insert rows: each row needs a value, the same for
 * all rows.
 */
const DEMANDING = /\b(primary key|unique|references|check|generated)\b/
const isRequired = (column: string) => /\bnot null\b/.test(column) && !/\bdefault\b/.test(column)

/**
 * Why an earlier build could not use the schema after a statement; undefined: it can. `created`: tables of
 * expansions.
 */
function findBreak(statement: string, created: Set<string>): string | undefined {
  const text = statement.replaceAll(/\s+/g, ' ').trim().toLowerCase()
  const [, newTable] = /^create table (\S+) \(/.exec(text) ?? []
  if (newTable !== undefined) {
    created.add(newTable)
    return undefined
  }
  const [, table, change = ''] = /^alter table (\S+) (.*)$/.exec(text) ?? []
  if (table !== undefined) return created.has(table) ? undefined : findBreakOfTable(change)
  const [, unique, indexed = ''] = /^create (unique )?index \S+ on (\S+)/.exec(text) ?? []
  if (unique !== undefined && !created.has(indexed)) return 'a unique index refuses rows of earlier builds'
  if (
    /^(create( unique)? index|drop index|create (or replace )?function|create( or replace)? trigger) /.test(
      text,
    )
  )
    return undefined
  const [, filled] = /^insert into (\S+)/.exec(text) ?? []
  if (filled !== undefined && created.has(filled)) return undefined
  return 'the statement is of no kind that is known to expand the schema'
}

function findBreakOfTable(change: string): string | undefined {
  const [, column] = /^add column (.*)$/.exec(change) ?? []
  if (column !== undefined) {
    if (isRequired(column)) return 'earlier builds insert no value into the column'
    return DEMANDING.test(column) ? 'earlier builds do not meet the constraint of the column' : undefined
  }
  if (/^(re)?set \(/.test(change) || /^alter column \S+ set statistics \d+$/.test(change)) return undefined
  return 'earlier builds use the table as it was'
}

const findBreaks = (statements: readonly string[]) => {
  const created = new Set<string>()
  return statements.flatMap((statement) => {
    const reason = findBreak(statement, created)
    return reason === undefined ? [] : [`${statement}: ${reason}`]
  })
}

/**
 * Indexes that are built after a statement that locks out readers. On PostgreSQL that lock lasts until the
 * end of the migration, and an index on a large table takes longer than replicas wait.
 */
function findLateIndexes(statements: readonly string[]): string[] {
  const locked = statements.findIndex((text) => /^\s*(alter table \S+ (add|alter) |drop index )/i.test(text))
  return locked < 0 ? [] : statements.slice(locked).filter((text) => /^\s*create index /i.test(text))
}

describe.each(Object.entries(DIALECTS))('the expansions of the schema on %s', (_name, dialect) => {
  const expansions = toExpansions(dialect)

  test('leave everything that earlier builds of the same major version use', () => {
    expect(findBreaks(Object.values(expansions).flat())).toEqual([])
  })

  test('build indexes before they lock readers out of a table', () => {
    for (const [name, statements] of Object.entries(expansions))
      expect({ name, late: findLateIndexes(statements) }).toEqual({ name, late: [] })
  })

  test('have names with the major version, in order', () => {
    const names = Object.keys(expansions)
    for (const name of names) expect(name).toMatch(new RegExp(`^${MAJOR}-\\d{3}-[a-z-]+$`))
    expect(names).toEqual(names.toSorted())
  })
})

test('the major version is that of the package', async () => {
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string }
  expect(Number.parseInt(version)).toBe(MAJOR)
})

test('an index that replaces another is built before the other is dropped', () => {
  const build = 'create index "b" on task (engine)'
  expect(findLateIndexes([build, 'drop index "a"'])).toEqual([])
  expect(findLateIndexes(['drop index "a"', build])).toEqual([build])
  expect(findLateIndexes(['alter table task add column motor text', build])).toEqual([build])
})

test('the table in which every build refuses unknown names has those of the first release only', async () => {
  await using dir = await openTempDir()
  await using _stores = await openSqlite(`${dir.path}/a.db`, createLocalHints())
  using db = new DatabaseSync(`${dir.path}/a.db`)
  const names = db.prepare('select name from upscale_migration order by name').all()
  expect(names.map(({ name }) => name)).toEqual(['001-tables', '002-results', '003-queue', '004-engines'])
})

test.each([
  'alter table task drop column engine',
  'alter table task rename column engine to motor',
  'alter table task rename to tasks',
  'alter table task add column motor text not null',
  'alter table task add column motor text unique',
  'alter table task add column motor text default 1 check (motor > 0)',
  'alter table task alter column engine set not null',
  'alter table task alter column engine type integer',
  'alter table task add constraint one unique (engine)',
  'create unique index "taskByMotor" on task (engine)',
  'drop table usage',
  'update task set engine = 1',
  'delete from task',
])('%s is no expansion', (statement) => {
  expect(findBreaks([statement])).toHaveLength(1)
})

test.each([
  'alter table task add column motor text',
  `alter table task add column motor text not null default 'new'`,
  'alter table task set (fillfactor = 80)',
  'create index "taskByMotor" on task (engine)',
  'drop index "taskByMotor"',
  'drop index if exists "taskByMotor"',
])('%s is one', (statement) => {
  expect(findBreaks([statement])).toEqual([])
})

test('a new table may have any columns, constraints and rows', () => {
  const table = 'create table motor (id text primary key not null, kind text not null)'
  const index = 'create unique index "motorByKind" on motor (kind)'
  expect(findBreaks([table, index, `insert into motor values ('a', 'b')`])).toEqual([])
})

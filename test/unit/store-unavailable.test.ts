import { describe, expect, test } from '@jest/globals'
import { DatabaseSync } from 'node:sqlite'
import pg from 'pg'
import { isPostgresAway } from '../../src/store/postgres-errors.ts'
import { isSqliteAway } from '../../src/store/sqlite/errors.ts'
import { toUnavailable } from '../../src/store/unavailable.ts'
import { StoreUnavailableError } from '../../src/tasks/store-port.ts'

const sqlState = (code: string) => Object.assign(new pg.DatabaseError('A message', 1, 'error'), { code })

describe('an error of PostgreSQL', () => {
  test.each([
    ['57P01', 'is being stopped'],
    ['57P02', 'has crashed'],
    ['57P03', 'is starting'],
    ['57014', 'a statement took too long'],
    ['53100', 'the disk is full'],
    ['53300', 'too many connections'],
    ['25006', 'takes no writes'],
    ['08P01', 'PgBouncer has no server'],
    ['40P01', 'a deadlock'],
    ['28P01', 'refuses the user'],
  ])('%s means that the database is away: %s', (code) => {
    const error = toUnavailable(sqlState(code), isPostgresAway)
    expect(error).toBeInstanceOf(StoreUnavailableError)
    expect(error).toMatchObject({ message: 'The database is unavailable: A message', cause: { code } })
  })

  test.each([
    ['42601', 'a syntax error'],
    ['42P01', 'a missing table'],
    ['23505', 'a constraint'],
    ['22001', 'a value that is too long'],
    ['25P02', 'a failed transaction'],
  ])('%s is an unexpected error: %s', (code) => {
    const error = sqlState(code)
    expect(toUnavailable(error, isPostgresAway)).toBe(error)
  })

  test('is found in the parts and causes of an error', () => {
    const refused = Object.assign(new Error('connect ECONNREFUSED'), { syscall: 'connect' })
    const both = new Error('No connection', { cause: new AggregateError([refused], '') })
    expect(toUnavailable(both, isPostgresAway)).toBeInstanceOf(StoreUnavailableError)
  })

  test('without a code is unexpected, unless it is about the connection', () => {
    for (const message of [
      'Query read timeout',
      'timeout exceeded when trying to connect',
      'Connection terminated unexpectedly',
    ])
      expect(toUnavailable(new Error(message), isPostgresAway)).toBeInstanceOf(StoreUnavailableError)
    const bug = new TypeError('x is not a function')
    expect(toUnavailable(bug, isPostgresAway)).toBe(bug)
  })
})

describe('an error of SQLite', () => {
  const codes: [string, number, boolean][] = [
    ['BUSY', 5, true],
    ['LOCKED', 6, true],
    ['READONLY_DBMOVED', 1032, true],
    ['IOERR_WRITE', 778, true],
    ['FULL', 13, true],
    ['CANTOPEN', 14, true],
    ['CONSTRAINT_UNIQUE', 2067, false],
    ['CORRUPT', 11, false],
  ]
  test.each(codes)('%s (%i) means that the file is away: %s', (_name, errcode, isAway) => {
    const error = Object.assign(new Error('A message'), { errcode })
    expect(toUnavailable(error, isSqliteAway) instanceof StoreUnavailableError).toBe(isAway)
  })

  test('about a statement is unexpected', () => {
    using db = new DatabaseSync(':memory:')
    const error: unknown = (() => {
      try {
        db.prepare('select * from missing')
        return undefined
      } catch (thrown) {
        return thrown
      }
    })()
    expect(toUnavailable(error, isSqliteAway)).toBe(error)
  })
})

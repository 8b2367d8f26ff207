/** The differences between the databases that migrations have to know. */
export interface MigrationDialect {
  /** The type of an id: text that is compared byte by byte, as in JavaScript. */
  readonly id: string
  /** Whether triggers count the tasks per status. With a single writer they block no other transaction. */
  readonly keepsCounts: boolean
  /**
   * PostgreSQL: statistics per column, from which it plans its statements, and storage parameters of tables.
   */
  readonly isPostgres: boolean
  /**
   * The schema of the tables; absent if the database has no schemas. Other programs in the same database may
   * use Kysely, too.
   */
  readonly schema?: string
}

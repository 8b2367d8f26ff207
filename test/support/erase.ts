import { startProcess } from './process.ts'

/** Runs `node dist/main.js erase …` to its end. */
export async function runErase(databaseUrl: string, ...owner: string[]) {
  await using command = await startProcess({ DATABASE_URL: databaseUrl }, ['dist/main.js', 'erase', ...owner])
  const { code } = await command.exited
  return { code, output: command.output() }
}

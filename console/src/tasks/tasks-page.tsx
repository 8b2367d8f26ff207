/** All tasks of the caller, live. */
export function TasksPage() {
  return <h1>Tasks</h1>
}

/** The slope of the line through the points, and its standard error. */
export function toLine(points: readonly (readonly [x: number, y: number])[]): {
  readonly slope: number
  readonly error: number
} {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [x, y] = [mean(points.map(([each]) => each)), mean(points.map(([, each]) => each))]
  const spread = points.reduce((sum, [each]) => sum + (each - x) ** 2, 0)
  const slope = points.reduce((sum, [px, py]) => sum + (px - x) * (py - y), 0) / spread
  const residual = points.reduce((sum, [px, py]) => sum + (py - y - slope * (px - x)) ** 2, 0)
  return { slope, error: Math.sqrt(residual / (points.length - 2) / spread) }
}

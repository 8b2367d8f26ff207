/** Where a Redis server for tests answers; undefined: tests that need one are left out, and say so. */
export const TEST_REDIS_URL = process.env.TEST_REDIS_URL

FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY client/package.json client/
COPY console/package.json console/
RUN --mount=type=cache,target=/root/.npm npm ci
COPY . .
RUN node tools/build.ts service console && node tools/runtime-packages.ts runtime/node_modules

FROM node:24-slim AS runtime
# The sandbox writes watermarks: without a font they would stay empty.
RUN apt-get update && \
    apt-get install -y --no-install-recommends fonts-dejavu-core && \
    rm -rf /var/lib/apt/lists/*
WORKDIR /app
# Scanners find the bundled packages in the lock file.
COPY package.json package-lock.json ./
COPY --from=build /app/runtime/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=build /app/console/dist console/dist
# A new volume takes over the owner of the folder that it is mounted on.
RUN mkdir data && chown node:node data
# MALLOC_ARENA_MAX: after a burst of large buffers, glibc keeps tens of MiB for each of its arenas.
ENV NODE_ENV=production \
    MALLOC_ARENA_MAX=2 \
    HOST=0.0.0.0 \
    PORT=4000 \
    DATABASE_URL=file:/app/data/upscale.db
VOLUME /app/data
EXPOSE 4000
USER node
# /livez, not /readyz: an unhealthy container gets replaced, and that mends neither a database that is away
# nor a service that is draining. Load balancers ask /readyz.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 \
    CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.PORT + '/livez').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# Not through npm or a shell: the service itself gets SIGTERM and drains.
CMD ["node", "dist/main.js"]

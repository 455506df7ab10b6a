# One image for the control worker, the cluster worker and the node agent; docker-compose.yml chooses the program.
# Debian and not Alpine: the native part of the Temporal SDK needs glibc.
FROM node:24.21.0-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY . .
RUN npm run build

FROM node:24.21.0-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
# The package `node` is for machines with an older Node; this image has the same version already. The SDK brings its
# native part for systems that no image runs on.
RUN npm ci --omit=dev --no-audit --no-fund && \
    rm -rf node_modules/node node_modules/node-bin-* node_modules/.bin/node \
    node_modules/@temporalio/core-bridge/releases/*-darwin node_modules/@temporalio/core-bridge/releases/*-windows-*

FROM node:24.21.0-bookworm-slim
# TLS to a Temporal server checks its certificate against the system's, which the slim image lacks.
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates && \
    rm -rf /var/lib/apt/lists/*
ENV NODE_ENV=production
WORKDIR /app
COPY --from=packages /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json LICENSE ./
COPY deploy/worker-health.ts deploy/worker-health.ts
USER node
CMD ["node", "--enable-source-maps", "dist/control-worker.js"]

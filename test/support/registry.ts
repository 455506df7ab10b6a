/** A real registry (Debian's docker-registry) for tests, with a proxy in front that can be slow or silent. */
import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { pack } from 'tar-stream';
import { installPackage } from './apt.ts';
import { freePort } from './nats.ts';

const run = promisify(execFile);

export interface TestRegistry {
  /** `host:port`, as image names begin. */
  readonly address: string;
  dispose(): Promise<void>;
}

interface RegistryTls {
  /** An address of this machine. Of one on loopback, Docker takes any certificate, and none. */
  readonly host: string;
  /** Files. */
  readonly certificate: string;
  readonly key: string;
}

/** @param htpasswd lines `user:bcrypt-hash`; without them everyone may pull and push. */
export async function startRegistry(htpasswd?: string, tls?: RegistryTls): Promise<TestRegistry> {
  await install();
  const folder = await mkdtemp(join(tmpdir(), 'mcli-test-registry-'));
  const port = await freePort();
  const listen = `addr: ${tls?.host ?? '127.0.0.1'}:${port}`;
  const secured = tls && `, tls: { certificate: ${tls.certificate}, key: ${tls.key} }`;
  const auth = ['auth:', '  htpasswd:', '    realm: test', `    path: ${folder}/htpasswd`];
  if (htpasswd !== undefined) await writeFile(`${folder}/htpasswd`, htpasswd);
  await writeFile(
    `${folder}/config.yml`,
    [
      'version: 0.1',
      'log: { level: error }',
      `storage: { filesystem: { rootdirectory: ${folder}/data } }`,
      `http: { ${listen}${secured ?? ''} }`,
      ...(htpasswd === undefined ? [] : auth),
    ].join('\n'),
  );
  const server = spawn('docker-registry', ['serve', `${folder}/config.yml`], { stdio: 'ignore' });
  await untilItListens(port, tls?.host);
  return {
    address: `${tls?.host ?? 'localhost'}:${port}`,
    async dispose() {
      const gone = once(server, 'exit');
      server.kill('SIGKILL');
      await gone;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export interface Throttle {
  readonly address: string;
  /** Bytes that went to clients. */
  sentBytes(): number;
  openConnections(): number;
  dispose(): Promise<void>;
}

/** @param bytesPerSecond of each connection; 0 accepts and never answers. */
export async function throttle(upstream: string, bytesPerSecond: number): Promise<Throttle> {
  const [host = '', port = ''] = upstream.split(':');
  const sockets = new Set<Socket>();
  let sent = 0;
  const server = createServer((client) => {
    sockets.add(client);
    client.on('close', () => sockets.delete(client)).on('error', () => undefined);
    if (bytesPerSecond === 0) return;
    const registry = connect(Number(port), host).on('error', () => client.destroy());
    client.on('close', () => registry.destroy());
    const slow = new Transform({
      transform(chunk: Buffer, _, done) {
        sent += chunk.length;
        setTimeout(() => done(null, chunk), (chunk.length / bytesPerSecond) * 1000);
      },
    });
    client.pipe(registry).pipe(slow).pipe(client);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    address: `localhost:${(server.address() as { port: number }).port}`,
    sentBytes: () => sent,
    openConnections: () => sockets.size,
    async dispose() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Puts an image with one layer of random bytes into the registry, under this name and nowhere else. */
export async function pushImage(
  name: string,
  bytes: number,
  architecture?: string,
  login?: { readonly username: string; readonly password: string },
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'mcli-test-login-'));
  const auth = login && Buffer.from(`${login.username}:${login.password}`).toString('base64');
  const auths = auth === undefined ? {} : { [name.split('/')[0] as string]: { auth } };
  await writeFile(join(folder, 'config.json'), JSON.stringify({ auths }));
  try {
    await loadImage(name, bytes, architecture);
    await run('docker', ['--config', folder, 'push', name]);
  } finally {
    await removeImages([name]);
    await rm(folder, { recursive: true, force: true });
  }
}

/** Puts something into an open registry that is no image: a Helm chart. */
export async function pushChart(name: string): Promise<void> {
  const [, host, repository, tag] = /^([^/]+)\/(.+):([^:]+)$/.exec(name) ?? [];
  const base = `http://${host}/v2/${repository}`;
  const pushBlob = async (mediaType: string, content: string) => {
    const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`;
    const upload = await fetch(`${base}/blobs/uploads/`, { method: 'POST' });
    const place = new URL(upload.headers.get('location') ?? '', base);
    place.searchParams.set('digest', digest);
    await fetch(place, { method: 'PUT', body: content });
    return { mediaType, digest, size: content.length };
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: await pushBlob('application/vnd.cncf.helm.config.v1+json', '{}'),
    layers: [await pushBlob('application/vnd.cncf.helm.chart.content.v1.tar+gzip', 'chart')],
  };
  const headers = { 'content-type': manifest.mediaType };
  await fetch(`${base}/manifests/${tag}`, { method: 'PUT', headers, body: JSON.stringify(manifest) });
}

/** Makes an image on this machine that holds one file of random bytes, and so no bash. */
export async function loadImage(name: string, bytes: number, architecture = 'amd64'): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'mcli-test-image-'));
  try {
    const layer = await tarOf({ data: randomBytes(bytes) });
    const diffId = `sha256:${createHash('sha256').update(layer).digest('hex')}`;
    const config = { architecture, os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: [diffId] } };
    const manifest = [{ Config: 'config.json', RepoTags: [name], Layers: ['layer.tar'] }];
    const saved = await tarOf({
      'layer.tar': layer,
      'config.json': Buffer.from(JSON.stringify(config)),
      'manifest.json': Buffer.from(JSON.stringify(manifest)),
    });
    await writeFile(join(folder, 'image.tar'), saved);
    await run('docker', ['load', '-i', join(folder, 'image.tar')]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Makes an image with one change to another, in the words of a Dockerfile. */
export async function buildFrom(base: string, name: string, change: string): Promise<void> {
  const { stdout: container } = await run('docker', ['create', base]);
  await run('docker', ['commit', '--change', change, container.trim(), name]);
  await run('docker', ['rm', container.trim()]);
}

/** Names that are not there are passed over. */
export async function removeImages(names: readonly string[]): Promise<void> {
  await run('docker', ['rmi', '-f', ...names]).catch(() => undefined);
}

async function tarOf(files: Record<string, Buffer>): Promise<Buffer> {
  const archive = pack();
  for (const [name, content] of Object.entries(files)) archive.entry({ name }, content);
  archive.finalize();
  const chunks: Uint8Array[] = [];
  for await (const chunk of archive) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks);
}

async function install(): Promise<void> {
  try {
    await run('docker-registry', ['--version']);
  } catch {
    await installPackage('docker-registry');
  }
}

async function untilItListens(port: number, host = '127.0.0.1'): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    const socket = connect(port, host);
    try {
      await once(socket, 'connect');
      return;
    } catch (error) {
      if (attempt > 100) throw error;
      await sleep(50);
    } finally {
      socket.destroy();
    }
  }
}

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import type { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PulledImage, PullProgress } from '../../activities/contract.ts';
import type { Docker } from '../../activities/docker.ts';
import { DockerError } from '../../activities/docker-requests.ts';
import { classifyPullError, createImageActivities } from '../../activities/image.ts';
import { FAILURES } from '../../core/failures.ts';
import { anAttempt, aRank, docker, eventually, stop } from '../support/docker.ts';
import type { TestRegistry, Throttle } from '../support/registry.ts';
import { pushChart, pushImage, removeImages, startRegistry, throttle } from '../support/registry.ts';

/** Of user `user` with password `pass`. */
const HTPASSWD = 'user:$2y$05$vnobXXfZFZfw5c53S9Oo9uU79MeWn603XvgYTz6OIAJn/KZ4zUnXW\n';
const MEBIBYTE = 1024 ** 2;
let registry: TestRegistry;
const proxies: Throttle[] = [];
const pulled = new Set<string>();

beforeAll(async () => {
  registry = await startRegistry();
  await pushImage(`${registry.address}/team/small:1`, MEBIBYTE);
  await pushImage(`${registry.address}/team/small:latest`, 1000);
  await pushImage(`${registry.address}/team/large:1`, 8 * MEBIBYTE);
  await pushImage(`${registry.address}/team/large:2`, 8 * MEBIBYTE);
  for (const tag of [3, 4, 5]) await pushImage(`${registry.address}/team/large:${tag}`, 8 * MEBIBYTE);
  await pushImage(`${registry.address}/team/small:2`, MEBIBYTE);
  await pushImage(`${registry.address}/team/foreign:1`, 1000, 's390x');
}, 60_000);
afterAll(async () => {
  await Promise.all(proxies.map((proxy) => proxy.dispose()));
  await registry.dispose();
  await removeImages([...pulled]);
}, 60_000);

async function proxied(bytesPerSecond: number): Promise<Throttle> {
  const proxy = await throttle(registry.address, bytesPerSecond);
  proxies.push(proxy);
  return proxy;
}

interface PullOptions {
  readonly attempt?: MockActivityEnvironment;
  readonly allowLocalImages?: boolean;
  readonly pullIdleMs?: number;
  readonly login?: { readonly username: string; readonly password: string };
  readonly faults?: Partial<Docker>;
}

function pull(image: string, options: PullOptions = {}) {
  const { attempt = anAttempt(), allowLocalImages = false, pullIdleMs = 30_000, login, faults } = options;
  pulled.add(image);
  const authFor = async () =>
    login && { ...login, secret: 'my-registry', server: image.split('/')[0] as string };
  const activities = createImageActivities({
    docker: { ...docker, ...faults },
    authFor,
    allowLocalImages,
    pullIdleMs,
  });
  return attempt.run<[never], PulledImage, never>(
    activities['pull-image'] as never,
    { ...aRank(''), image } as never,
  );
}

const failure = (image: string, options: PullOptions = {}) =>
  pull(image, options).then(
    (answer) => ({ message: `no failure: ${JSON.stringify(answer)}`, type: 'none' }),
    (error: unknown) => error as { type: string; message: string; nonRetryable: boolean; details: unknown },
  );

describe('a pull', () => {
  it('brings the image, and costs nothing where it is already there', async () => {
    const image = `${registry.address}/team/small:1`;
    const first = await pull(image);
    expect(first.imageId).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(first.downloadedBytes).toBeGreaterThan(MEBIBYTE);
    expect(await pull(image)).toEqual({ imageId: first.imageId, downloadedBytes: 0 });
  });

  it('without a tag is one of `latest` only', async () => {
    const image = `${registry.address}/team/small`;
    const { downloadedBytes } = await pull(image);
    expect(downloadedBytes).toBeLessThan(MEBIBYTE);
  });

  it('tells how many bytes of how many have come', async () => {
    const proxy = await proxied(4 * MEBIBYTE);
    const attempt = anAttempt();
    const seen: PullProgress[] = [];
    attempt.on('heartbeat', (progress: PullProgress) => seen.push(progress));
    const { downloadedBytes } = await pull(`${proxy.address}/team/large:1`, { attempt });
    const middle = seen.find((progress) => progress.downloadedBytes > 0);
    expect(middle?.totalBytes).toBeGreaterThan(8 * MEBIBYTE);
    expect(middle?.downloadedBytes).toBeLessThan(8 * MEBIBYTE);
    expect(middle).toMatchObject({ layersDone: 0, layersTotal: 1 });
    expect(downloadedBytes).toBe(middle?.totalBytes);
  });

  it('survives that Docker hangs up when it is done', async () => {
    let hangsUp = true;
    const faults: Partial<Docker> = {
      async image(name) {
        if (!hangsUp) return docker.image(name);
        hangsUp = false;
        throw new DockerError('socket hang up');
      },
    };
    expect(await pull(`${registry.address}/team/small:1`, { faults })).toHaveProperty('imageId');
  });

  it('waits behind others for as long as they take', async () => {
    // Docker fetches three layers at a time.
    const proxy = await proxied(2 * MEBIBYTE);
    const others = ['large:3', 'large:4', 'large:5'].map((name) => pull(`${proxy.address}/team/${name}`));
    await eventually(
      () => Promise.resolve(proxy.sentBytes()),
      (bytes) => bytes > 2 * MEBIBYTE,
    );
    const image = `${registry.address}/team/small:2`;
    const { downloadedBytes } = await pull(image, { pullIdleMs: 1_000 });
    expect(downloadedBytes).toBeGreaterThan(MEBIBYTE);
    await Promise.all(others);
  });

  it('that is stopped stops the download itself', async () => {
    const proxy = await proxied(MEBIBYTE / 4);
    const attempt = anAttempt();
    const outcome = failure(`${proxy.address}/team/large:2`, { attempt });
    await eventually(
      () => Promise.resolve(proxy.sentBytes()),
      (bytes) => bytes > MEBIBYTE / 4,
    );
    stop(attempt);
    expect(await outcome).toMatchObject({ name: 'CancelledFailure' });
    await eventually(
      () => Promise.resolve(proxy.openConnections()),
      (open) => open === 0,
    );
    expect(proxy.sentBytes()).toBeLessThan(8 * MEBIBYTE);
  });
});

describe('a failed pull', () => {
  it('says in the words of the registry that there is no such image', async () => {
    const image = `${registry.address}/team/nothing:1`;
    expect(await failure(image)).toMatchObject({
      type: 'ImageNotFound',
      nonRetryable: true,
      message: expect.stringMatching(
        /^Could not pull image localhost:\d+\/team\/nothing:1: .*manifest unknown.*\.$/,
      ),
      details: [{ type: 'ImageNotFound', rank: 0, node: 'test-node' }],
    });
  });

  it('says that the registry wants credentials, or which secret it has refused', async () => {
    const closed = await startRegistry(HTPASSWD);
    const image = `${closed.address}/team/private:1`;
    const login = { username: 'user', password: 'pass' };
    try {
      await pushImage(image, 1000, undefined, login);
      expect(await failure(image)).toMatchObject({
        type: 'ImageUnauthorized',
        message: expect.stringMatching(
          /no basic auth credentials\. tester has no docker secret for localhost:\d+\.$/,
        ),
      });
      expect(await failure(image, { login: { ...login, password: 'wrong' } })).toMatchObject({
        type: 'ImageUnauthorized',
        message: expect.stringMatching(
          /unauthorized: authentication required\. Secret my-registry for localhost:\d+ was tried\.$/,
        ),
      });
      expect(await failure(`${closed.address}/team/nothing:1`, { login })).toMatchObject({
        type: 'ImageNotFound',
      });
      expect((await pull(image, { login })).imageId).toMatch(/^sha256:/);
    } finally {
      await closed.dispose();
    }
  });

  it.each([
    // Strangers can't know whether there is such an image.
    [403, 'DENIED', 'ImageNotFound', 'ImageForbidden'],
    [429, 'TOOMANYREQUESTS', 'RegistryRateLimited', 'RegistryRateLimited'],
    [503, 'UNAVAILABLE', 'RegistryDown', 'RegistryDown'],
  ])('understands what Docker makes of status %d', async (status, code, stranger, member) => {
    const refusing = createServer((request, response) => {
      response.statusCode = request.url === '/v2/' ? 200 : status;
      response.end(JSON.stringify({ errors: [{ code, message: 'refused' }] }));
    }).listen(0, '127.0.0.1');
    await once(refusing, 'listening');
    const image = `localhost:${(refusing.address() as AddressInfo).port}/team/x:1`;
    try {
      expect((await failure(image)).type).toBe(stranger);
      expect((await failure(image, { login: { username: 'u', password: 'p' } })).type).toBe(member);
    } finally {
      refusing.close();
      refusing.closeAllConnections();
    }
  });

  it('speaks against neither node nor platform where what is pulled is no image', async () => {
    const image = `${registry.address}/team/chart:1`;
    await pushChart(image);
    expect(await failure(image)).toMatchObject({ type: 'ImageInvalid' });
    expect(FAILURES.ImageInvalid).not.toHaveProperty('nodeAtFault');
  });

  it('repeats no password that the registry says, and nothing that a terminal would obey', async () => {
    const login = { username: 'u', password: 'very-secret-password' };
    const shown = Buffer.from(`${login.username}:${login.password}`).toString('base64');
    const repeating = createServer((_, response) => {
      response.statusCode = 400;
      const message = `no good: ${login.password} \u001B[2J ${shown} ${'x'.repeat(2_000)}`;
      response.end(JSON.stringify({ errors: [{ code: 'UNKNOWN', message }] }));
    }).listen(0, '127.0.0.1');
    await once(repeating, 'listening');
    const image = `localhost:${(repeating.address() as AddressInfo).port}/team/x:1`;
    try {
      const error = (await failure(image, { login })) as unknown as Error;
      const all = JSON.stringify([error.message, error.stack, String(error.cause), error.cause]);
      expect(error.message).toContain('***');
      expect(error.message.length).toBeLessThan(700);
      for (const text of [login.password, shown.slice(4, -4), '\u001B']) expect(all).not.toContain(text);
      expect((error.cause as Error).cause).toBeUndefined();
    } finally {
      repeating.close();
      repeating.closeAllConnections();
    }
  });

  it('says that nothing listens, that there is no such host, and that a registry went silent', async () => {
    expect(await failure('localhost:9/team/x:1')).toMatchObject({ type: 'RegistryDown' });
    expect(await failure('no-such-registry.invalid/x:1')).toMatchObject({
      type: 'RegistryUnreachable',
      message: expect.stringContaining('no such host'),
    });
    const silent = await proxied(0);
    expect(await failure(`${silent.address}/team/small:1`, { pullIdleMs: 1500 })).toMatchObject({
      type: 'RegistryDown',
      message: expect.stringContaining('nothing came from the registry for 1.5 s'),
    });
  });

  it('says that the image is for another platform', async () => {
    expect(await failure(`${registry.address}/team/foreign:1`)).toMatchObject({
      type: 'ImageWrongPlatform',
      message: expect.stringMatching(/linux\/s390x/),
    });
  });

  it.each([
    ['toomanyrequests: You have reached your pull rate limit.', 'RegistryRateLimited'],
    ['write /var/lib/docker/tmp/x: no space left on device', 'PullDiskFull'],
    ['no matching manifest for linux/amd64 in the manifest list entries', 'ImageWrongPlatform'],
    ['Get "https://r.example/v2/": x509: certificate signed by unknown authority', 'RegistryTls'],
    ['Get "https://r.example/v2/": http: server gave HTTP response to HTTPS client', 'RegistryTls'],
    ["pull access denied for x, repository does not exist or may require 'docker login'", 'ImageNotFound'],
    ['unauthorized: authentication required', 'ImageUnauthorized'],
    ['denied: requested access to the resource is denied', 'ImageUnauthorized'],
    ['Get "https://r.example/v2/": context deadline exceeded', 'RegistryDown'],
    ['received unexpected HTTP status: 503 Service Unavailable', 'RegistryDown'],
    ['layer does not exist in the content store', 'DockerError'],
    ['failed to register layer: mkdir /var/lib/docker/overlay2/x: input/output error', 'DockerError'],
    ['open /var/lib/docker/tmp/GetImageBlob1: permission denied', 'DockerError'],
    ['failed to register layer: fork/exec /usr/sbin/dockerd: cannot allocate memory', 'DockerError'],
    ['unsupported media type application/vnd.cncf.helm.config.v1+json', 'ImageInvalid'],
    ['invalid rootfs in image configuration', 'ImageInvalid'],
    ['blob unknown to registry', 'ImageInvalid'],
    ['manifest invalid: manifest invalid', 'ImageInvalid'],
    ['filesystem layer verification failed for digest sha256:aa', 'ImageInvalid'],
    ['[DEPRECATION NOTICE] Docker Image manifest version 2, schema 1 support is disabled', 'ImageInvalid'],
    ['error parsing HTTP 402 response body: unexpected end of JSON input: ""', 'ImageInvalid'],
    ['unexpected status code [manifests 1]: 418', 'ImageInvalid'],
    ['quota exceeded', 'RegistryRateLimited'],
    ['write /x: disk quota exceeded', 'PullDiskFull'],
    ['http: server closed idle connection', 'RegistryDown'],
  ])('reads %s', (message, type) => {
    expect(classifyPullError(message, false)).toBe(type);
  });

  it('knows that an account is not a stranger', () => {
    const words = "pull access denied for x, repository does not exist or may require 'docker login'";
    expect(classifyPullError(words, true)).toBe('ImageForbidden');
    const expired = 'denied: Your authorization token has expired. Reauthenticate and try again.';
    expect(classifyPullError(expired, true)).toBe('ImageUnauthorized');
  });
});

describe('images on the machine', () => {
  it('are used where that is allowed, without asking the registry', async () => {
    const image = 'localhost:9/team/local:1';
    await promisify(execFile)('docker', ['tag', 'bash', image]);
    expect(await pull(image, { allowLocalImages: true })).toMatchObject({ downloadedBytes: 0 });
    expect(await failure(image)).toMatchObject({ type: 'RegistryDown' });
  });
});

import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createDocker } from '../../activities/docker.ts';
import { DockerSilent } from '../../activities/docker-requests.ts';
import { aDockerProxy } from '../support/docker-proxy.ts';
import type { DockerProxy } from '../support/docker-proxy.ts';

let proxy: DockerProxy;

beforeEach(async () => {
  proxy = await aDockerProxy();
});
afterEach(async () => {
  vi.useRealTimers();
  await proxy.dispose();
});

it('waits no longer for the beginning of a log than for other answers', async () => {
  proxy.fallSilent();
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const opening = createDocker(proxy.host).logs('mcli-none-0-0');
  const refused = expect(opening).rejects.toThrow(DockerSilent);
  vi.advanceTimersByTime(60_000);
  await refused;
});

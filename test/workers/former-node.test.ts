import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { containerConfig } from '../../activities/container-config.ts';
import type { RankExecution } from '../../activities/contract.ts';
import { containerName } from '../../core/naming.ts';
import { refuseRunsOfAnother } from '../../workers/former-node.ts';
import { leaseWriter, uptimeMs } from '../../workers/node-lease.ts';
import { aRank, docker, SETTINGS } from '../support/docker.ts';

const cluster = `test-${randomUUID()}`;
const former = { controlPlane: SETTINGS.controlPlane, cluster, node: 'former' };
let stateDirectory: string;
let rank: RankExecution;

beforeEach(async () => {
  stateDirectory = await mkdtemp(path.join(tmpdir(), 'mcli-test-former-'));
  rank = { ...aRank('true'), ...former };
  await docker.create({ ...containerConfig(rank, SETTINGS, false), Cmd: ['sleep', '600'] });
  await docker.start(containerName(rank));
});
afterEach(async () => {
  await docker.remove(containerName(rank));
  await rm(stateDirectory, { recursive: true });
});

describe('a machine that becomes another node', () => {
  const begin = (place = { ...former, node: 'latter' }) =>
    refuseRunsOfAnother({ stateDirectory, docker, place });

  it('has to be empty, since nobody would guard its runs any more', async () => {
    leaseWriter(stateDirectory)({ renewedAt: uptimeMs(), leaseMs: 300_000, place: former });
    const words = `still runs ${containerName(rank)} as node former of cluster ${cluster} at test`;
    await expect(begin()).rejects.toThrow(words);
    await docker.kill(containerName(rank), 'SIGKILL');
    await begin();
  });

  it('is none when it only names its Docker in another way, or has never been a node', async () => {
    await begin();
    const dockerHost = 'unix:///run/docker.sock';
    leaseWriter(stateDirectory)({ renewedAt: uptimeMs(), leaseMs: 300_000, place: former, dockerHost });
    await begin(former);
  });
});

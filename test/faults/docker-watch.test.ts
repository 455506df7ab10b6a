import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DockerWatch } from '../../faults/docker-watch.ts';
import { FakeDocker } from './fake-docker.ts';

let fake: FakeDocker;
let watch: DockerWatch;
beforeEach(async () => {
  fake = new FakeDocker();
  watch = new DockerWatch('n0', fake.docker);
  // It listens to events after its first look.
  await sleep(50);
});
afterEach(() => {
  watch.close();
  fake.close();
});

/** Looks of the kernel come every 100 ms, those at Docker every second. */
const until = async (condition: () => void): Promise<void> => {
  await vi.waitFor(condition, { timeout: 5_000, interval: 20 });
};
const KERNEL_MS = 250;

/** A running container whose process the watch knows: it sees it go. */
async function started(id = 'container'): Promise<void> {
  fake.create(id);
  const at = fake.start(id);
  await until(() => expect(watch.evidence()[0]?.aliveUntil ?? 0).toBeGreaterThan(at + 50));
}

describe('the watch over a Docker daemon', () => {
  it('knows a container with its labels, its times, its exit code and what it has printed', async () => {
    fake.create('container');
    const startedAt = fake.start('container');
    await until(() => expect(watch.alive()).toEqual([{ id: 'container', run: 'a-000001', resumption: 0 }]));
    fake.print('container', 'one\n');
    await until(() => expect(watch.evidence()[0]?.seen).toBe('one\n'));
    fake.print('container', '\u00ff two\n');
    await fake.endProgram('container');
    const diedAt = fake.noteEnd('container', 3);
    await until(() => expect(watch.evidence()[0]?.exitCode).toBe(3));
    const [life] = watch.evidence();
    expect(life).toMatchObject({ id: 'container', node: 'n0', run: 'a-000001', fence: 1, gpuIds: [1, 3] });
    expect(life?.seen).toBe('one\n\u00ff two\n');
    expect(Math.abs((life?.startedAt ?? 0) - startedAt)).toBeLessThan(KERNEL_MS);
    expect(Math.abs((life?.aliveUntil ?? 0) - diedAt)).toBeLessThan(KERNEL_MS);
    expect(watch.alive()).toEqual([]);
  });

  it('believes the kernel, and not Docker, when a program runs on that Docker holds to have ended', async () => {
    await started();
    const diedAt = fake.noteEnd('container', 0);
    await sleep(600);
    expect(fake.isRunning('container')).toBe(true);
    expect(watch.evidence()[0]?.aliveUntil).toBeGreaterThan(diedAt + 400);
    const goneAt = await fake.endProgram('container');
    await sleep(KERNEL_MS);
    expect(Math.abs((watch.evidence()[0]?.aliveUntil ?? 0) - goneAt)).toBeLessThan(KERNEL_MS);
  });

  it('believes the kernel when Docker learns of an end late', async () => {
    await started();
    fake.die();
    const goneAt = await fake.endProgram('container');
    await sleep(500);
    expect(watch.alive()).toEqual([]);
    fake.comeBack();
    fake.noteEnd('container', 7);
    await until(() => expect(watch.evidence()[0]?.exitCode).toBe(7));
    expect(Math.abs((watch.evidence()[0]?.aliveUntil ?? 0) - goneAt)).toBeLessThan(KERNEL_MS);
  });

  it('counts a container that is started again as another life', async () => {
    await started();
    await fake.endProgram('container');
    fake.noteEnd('container', 0);
    await sleep(20);
    const again = fake.start('container');
    await until(() => expect(watch.evidence()).toHaveLength(2));
    const [first, second] = watch.evidence();
    expect(first?.exitCode).toBe(0);
    expect(first?.aliveUntil).toBeLessThanOrEqual(again);
    await until(() => expect(watch.evidence()[1]?.aliveUntil).toBeGreaterThan(again + KERNEL_MS));
    expect(second?.exitCode).toBeUndefined();
    expect(watch.alive()).toHaveLength(1);
  });

  it('finds such a second life also when the daemon was dead meanwhile', async () => {
    await started();
    await fake.endProgram('container');
    fake.noteEnd('container', 0);
    await until(() => expect(watch.alive()).toEqual([]));
    fake.die();
    fake.start('container');
    fake.comeBack();
    await until(() => expect(watch.evidence()).toHaveLength(2));
    await sleep(1_200);
    expect(watch.evidence()).toHaveLength(2);
  });

  it('finds what was started and ended while the daemon was dead', async () => {
    fake.die();
    fake.create('container');
    fake.start('container');
    await fake.endProgram('container');
    const diedAt = fake.noteEnd('container', 4);
    fake.comeBack();
    await until(() => expect(watch.evidence()).toMatchObject([{ exitCode: 4 }]));
    expect(Math.abs((watch.evidence()[0]?.aliveUntil ?? 0) - diedAt)).toBeLessThan(KERNEL_MS);
  });

  it('takes no date for one that has not happened', async () => {
    fake.die();
    fake.create('container');
    fake.start('container');
    fake.noteEnd('container', 0);
    fake.forgetWhen('container');
    fake.comeBack();
    await until(() => expect(watch.evidence()).toHaveLength(1));
    await sleep(1_200);
    const [life] = watch.evidence();
    expect(life?.exitCode).toBeUndefined();
    expect(life?.aliveUntil).toBe(life?.startedAt);
  });

  it('takes no container for one that was started that never was', async () => {
    fake.create('container');
    await sleep(1_200);
    expect(watch.evidence()).toEqual([]);
  });

  it('does not take the word of a daemon that does not know for an exit code', async () => {
    await started();
    await fake.endProgram('container');
    fake.noteEnd('container', 255);
    await until(() => expect(watch.alive()).toEqual([]));
    expect(watch.evidence()[0]?.exitCode).toBeUndefined();
  });

  it('reads the end of a log that the daemon has only when it is back', async () => {
    await started();
    fake.print('container', 'one\n');
    await until(() => expect(watch.evidence()[0]?.seen).toBe('one\n'));
    fake.die();
    fake.print('container', 'two\n');
    await fake.endProgram('container');
    await sleep(KERNEL_MS);
    fake.comeBack();
    fake.noteEnd('container', 0);
    await until(() => expect(watch.evidence()[0]?.seen).toBe('one\ntwo\n'));
  });

  it('asks again for a log when the daemon has swallowed the request', { timeout: 20_000 }, async () => {
    fake.swallowsLogRequests = true;
    await started();
    fake.print('container', 'one\n');
    fake.swallowsLogRequests = false;
    await vi.waitFor(() => expect(watch.evidence()[0]?.seen).toBe('one\n'), { timeout: 10_000 });
  });
});

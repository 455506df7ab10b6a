import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGpuMonitor } from '../../activities/gpu-monitor.ts';
import type { NvidiaSmi } from '../../activities/nvidia-smi.ts';
import { createNvidiaSmi } from '../../activities/nvidia-smi.ts';

const MEBIBYTE = 1024 ** 2;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcli-test-gpus-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** A program that answers as this shell script does. */
async function aProgram(name: string, script: string): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, `#!/bin/sh\n${script}\n`);
  await chmod(file, 0o755);
  return file;
}

describe('nvidia-smi', () => {
  it('is asked for a table', async () => {
    const program = await aProgram('echoes', 'printf "%s, x\\n7, [N/A]\\n" "$*"');
    const rows = await createNvidiaSmi(program).query('query-gpu', ['index']);
    expect(rows).toEqual([
      ['--query-gpu=index --format=csv', 'noheader', 'nounits', 'x'],
      ['7', '[N/A]'],
    ]);
  });

  it('fails in its own words', async () => {
    const words = 'Unable to determine the device handle for GPU 0000:3B:00.0: GPU is lost.';
    const program = await aProgram('lost', `echo "${words}"; exit 15`);
    await expect(createNvidiaSmi(program).query('query-gpu', ['index'])).rejects.toThrow(
      `nvidia-smi failed: ${words}`,
    );
  });

  it('that cannot be started, or whose output nobody closes, keeps no further one from being asked', async () => {
    await expect(createNvidiaSmi('/dev/null/nvidia-smi', 100).query('query-gpu', [])).rejects.toThrow(
      'ENOTDIR',
    );
    const program = await aProgram(
      'leaves',
      `[ -e ${folder}/left ] && echo 0, x && exit; sleep 5 & touch ${folder}/left`,
    );
    const nvidiaSmi = createNvidiaSmi(program, 300);
    await expect(nvidiaSmi.query('query-gpu', [])).rejects.toThrow('did not answer within 0.3 s');
    expect(await nvidiaSmi.query('query-gpu', [])).toEqual([['0', 'x']]);
  });

  it('that hangs is given up, and asked again when it is gone', async () => {
    const program = await aProgram('hangs', `[ -e ${folder}/well ] && echo 0, x || exec sleep 60`);
    const nvidiaSmi = createNvidiaSmi(program, 300);
    await expect(nvidiaSmi.query('query-gpu', [])).rejects.toThrow('did not answer within 0.3 s');
    await writeFile(join(folder, 'well'), '');
    await expect.poll(() => nvidiaSmi.query('query-gpu', []).catch(String)).toEqual([['0', 'x']]);
  });
});

/** A machine that answers each query with a table, or fails. */
function aMachine(
  tables: Readonly<Record<string, readonly string[] | Error>>,
): NvidiaSmi & { queries: number } {
  return {
    queries: 0,
    async query(option, fields) {
      this.queries += 1;
      const table = tables[`${option} ${fields.at(-1)}`];
      if (!Array.isArray(table)) throw table ?? new Error('no such query');
      return (table as string[]).map((line) => line.split(', '));
    },
  };
}

const ECC = 'query-gpu ecc.errors.uncorrected.volatile.total';
const ROWS = 'query-remapped-rows remapped_rows.failure';

describe('the health of GPUs', () => {
  const health = (tables: Parameters<typeof aMachine>[0]) => createGpuMonitor(aMachine(tables)).health();

  it('is fine where nothing is wrong, also with GPUs that can tell nothing', async () => {
    expect(
      await health({
        [ECC]: ['0, GPU-a, 0', '1, GPU-b, [N/A]', '2, GPU-c, [Not Supported]'],
        [ROWS]: ['GPU-a, No, No', 'GPU-b, [N/A], [N/A]'],
      }),
    ).toEqual({ seen: 3, problems: [] });
    expect(await health({ [ECC]: ['0, GPU-a, 0'] })).toEqual({ seen: 1, problems: [] });
  });

  it('names what is wrong with each', async () => {
    expect(
      await health({
        [ECC]: ['0, GPU-a, 2', '1, GPU-b, 0', '2, GPU-c, 0', '3, GPU-d, [Unknown Error]'],
        [ROWS]: ['GPU-b, Yes, No', 'GPU-c, 0, 1'],
      }),
    ).toEqual({
      seen: 4,
      problems: [
        'GPU 0: 2 memory errors that could not be corrected since the driver was loaded.',
        'GPU 1: a bad row of its memory is replaced with the next reset.',
        'GPU 2: a bad row of its memory could not be replaced.',
        'GPU 3: nvidia-smi says [Unknown Error].',
      ],
    });
  });

  it('is a problem when nvidia-smi fails', async () => {
    expect(await health({ [ECC]: new Error('nvidia-smi failed: GPU is lost') })).toEqual({
      problems: ['nvidia-smi failed: GPU is lost.'],
    });
  });
});

describe('the use of GPUs', () => {
  const USAGE = 'query-gpu memory.total';

  it('is asked for once, however many ranks want to know', async () => {
    const machine = aMachine({ [USAGE]: ['0, 97, 70000, 81559', '1, [N/A], 0, 81559', '2, 0, 1, 81559'] });
    const monitor = createGpuMonitor(machine);
    const [first, second] = await Promise.all([monitor.usage(), monitor.usage()]);
    expect(first).toEqual([
      { gpu: 0, utilizationPercent: 97, memoryBytes: 70000 * MEBIBYTE, memoryTotalBytes: 81559 * MEBIBYTE },
      { gpu: 2, utilizationPercent: 0, memoryBytes: MEBIBYTE, memoryTotalBytes: 81559 * MEBIBYTE },
    ]);
    expect(second).toBe(first);
    expect(machine.queries).toBe(1);
  });

  it('is unknown while nvidia-smi fails', async () => {
    expect(await createGpuMonitor(aMachine({})).usage()).toEqual([]);
  });
});

/** `mcli logs` with a real log server; what the run is going through is told by the test. */
import { PassThrough } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { logs } from '../../cli/commands/logs.ts';
import type { LogsFlags } from '../../cli/commands/logs.ts';
import { CliContext } from '../../cli/context.ts';
import type { Mcli } from '../../cli/context.ts';
import type { RunDetails } from '../../client/index.ts';
import { aRank, eventually } from '../support/docker.ts';
import { endedRun } from '../support/ended-run.ts';
import { aReader, aRun, closeReaders, line, refOf, writeLog } from '../support/logs.ts';
import { useNats } from '../support/nats.ts';

const nats = useNats();
afterEach(closeReaders);

/** Details of a run of two ranks. */
function detailsOf(run: string, changes: Partial<RunDetails> = {}): RunDetails {
  return {
    ...endedRun({ ...aRank('train'), run }),
    status: 'RUNNING',
    reason: '',
    resumption: 0,
    closed: false,
    ...changes,
  };
}

/** A run that goes through these details, and then on for ever. */
class ToldRuns {
  readonly #story: readonly RunDetails[];

  constructor(story: readonly RunDetails[]) {
    this.#story = story;
  }

  describe(): Promise<RunDetails | undefined> {
    return Promise.resolve(this.#story[0]);
  }

  async *watch(_: string, signal?: AbortSignal): AsyncGenerator<RunDetails> {
    yield* this.#story;
    if (this.#story.at(-1)?.closed || signal?.aborted) return;
    await new Promise((resolve) => signal?.addEventListener('abort', resolve, { once: true }));
  }
}

function logsOf(run: string, flags: LogsFlags, ...story: readonly RunDetails[]) {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  let text = '';
  stdout.on('data', (data: Buffer) => (text += data.toString()));
  const context = new CliContext({ stdin, stdout, stderr, interactive: false }, {});
  const mcli = { runs: new ToldRuns(story), logs: aReader(nats.url) } as unknown as Mcli;
  context.mcli = () => Promise.resolve(mcli);
  return { done: logs(context, run, flags), text: () => text };
}

describe('mcli logs --follow', () => {
  it('of an earlier resumption gives what is there', async () => {
    const run = aRun();
    await writeLog(nats.connection, refOf(run, 0, 0), [line('earlier')]);
    await writeLog(nats.connection, refOf(run, 1, 1), [line('later')]);
    const { done, text } = logsOf(run, { follow: true, prev: true }, detailsOf(run, { resumption: 1 }));
    await done;
    expect(text()).toBe('[rank 0] earlier\n');
  });

  it('of the last resumption ends with its log', async () => {
    const run = aRun();
    const { done, text } = logsOf(run, { follow: true, resumption: 0 }, detailsOf(run));
    for (const rank of [0, 1]) await writeLog(nats.connection, refOf(run, rank), [line('end')], 'exit 0');
    await done;
    expect(text().split('\n').toSorted()).toEqual(['', '[rank 0] end', '[rank 1] end']);
  });

  it('names the ranks of a run that was not constructed yet when it was asked', async () => {
    const run = aRun();
    const { resources: _, ...pending } = detailsOf(run, { status: 'PENDING' });
    const ended = detailsOf(run, { status: 'FAILED', closed: true });
    await writeLog(nats.connection, refOf(run, 1), [line('there')], 'exit 1');
    const { done, text } = logsOf(run, { follow: true }, pending, detailsOf(run), ended);
    await done;
    expect(text()).toBe('[rank 1] there\n');
  });

  it('goes on while agents end the containers of a run whose workflow was terminated', async () => {
    const run = aRun();
    const at = new Date();
    const lifecycle = (['RUNNING', 'STOPPED'] as const).map((status) => ({
      resumption: 0,
      status,
      startedAt: at,
      reason: '',
    }));
    const terminated = {
      status: 'STOPPED',
      reason: 'Terminated',
      endedAt: at,
      closed: true,
      lifecycle,
    } as const;
    const { done, text } = logsOf(run, { follow: true }, detailsOf(run, terminated));
    await writeLog(nats.connection, refOf(run, 0), [line('goes on')]);
    await eventually(
      () => Promise.resolve(text()),
      (all) => all.includes('goes on'),
    );
    await writeLog(nats.connection, refOf(run, 0), [line('saved')], 'orphaned');
    await writeLog(nats.connection, refOf(run, 1), [line('saved')], 'orphaned');
    await done;
    expect(text().match(/saved/g)).toHaveLength(2);
  });
});

/** `mcli run`: submit a run file, or a clone of an earlier run, and follow it. */
import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { MAX_RUN_FILE_BYTES, readRunFile } from '../../core/run-file.ts';
import type { LocatedProblem, Problem } from '../../core/run-problem.ts';
import type { RunOverrides } from '../../core/run-overrides.ts';
import type { RunSpec } from '../../core/run-spec.ts';
import type { CliContext } from '../context.ts';
import { CliError, EXIT } from '../errors.ts';

export interface RunFlags extends RunOverrides {
  readonly file?: string;
  readonly clone?: string;
  readonly follow: boolean;
  readonly dryRun?: boolean;
  readonly output?: 'yaml' | 'json';
}

/** Answers with the exit code. */
export async function run(context: CliContext, flags: RunFlags): Promise<number> {
  const { source, name } = await readSource(context, flags);
  const read = readRunFile(source, { overrides: flags });
  // Also of a file that is refused: a misspelt field is often the cause.
  for (const { line, message } of read.warnings) {
    context.say(`! ${line ? `${name}:${line}: ` : ''}${message}`);
  }
  if (!read.ok) throw new CliError(read.problems.map((problem) => located(name, problem)));
  const { submittedYaml } = read;
  const spec = { ...submittedInside(context.env), ...read.spec };
  if (flags.dryRun) return await dryRun(context, spec, flags.output ?? 'yaml');

  const { runs } = await context.mcli();
  const { run: runName, construction } = await runs.submit({ spec, submittedYaml, user: context.user() });
  if (!construction.accepted) throw new CliError(construction.problems);
  for (const warning of construction.warnings) context.say(`! ${warning}`);
  context.say(`✔ Run ${runName} submitted.`);
  if (!flags.follow) {
    context.say(`i To see the run's status: mcli get runs`);
    context.say(`i To see the run's logs: mcli logs ${runName}`);
    return EXIT.ok;
  }
  const { followRun } = await import('../follow.ts');
  return await followRun(context, runName);
}

/** What a run submits is its child, unless the file says otherwise. */
function submittedInside({ MOSAICML_PLATFORM, RUN_NAME }: NodeJS.ProcessEnv): Pick<RunSpec, 'parentName'> {
  return MOSAICML_PLATFORM?.toLowerCase() === 'true' && RUN_NAME ? { parentName: RUN_NAME } : {};
}

async function readSource(
  context: CliContext,
  { file, clone }: RunFlags,
): Promise<{ source: string; name: string }> {
  if ((file === undefined) === (clone === undefined)) {
    throw new CliError(
      {
        message: 'Nothing to run, or two things at once',
        why: '`mcli run` takes either a file (-f) or a run to clone (--clone)',
        fix: 'mcli run -f run.yaml',
      },
      EXIT.usage,
    );
  }
  if (clone !== undefined) {
    const { runs } = await context.mcli();
    return { source: (await runs.describe(clone)).input.submittedYaml, name: clone };
  }
  if (file === '-')
    return { source: decode('-', await buffer(context.terminal.stdin)), name: 'standard input' };
  try {
    return { source: decode(file as string, await readFile(file as string)), name: file as string };
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(unreadable(file as string, error as NodeJS.ErrnoException));
  }
}

/** Another encoding would be read wrongly, and nobody would see it. */
function decode(file: string, bytes: Uint8Array): string {
  // What is too large is told so, without a look at all of it.
  const head = bytes.subarray(0, MAX_RUN_FILE_BYTES + 1);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(head, { stream: head.length < bytes.length });
  } catch {
    throw new CliError({
      message: `File ${file} is not UTF-8 text`,
      why: 'it is binary, or saved in another encoding',
      fix: 'Give the path of a run file; if it is one, save it as UTF-8.',
    });
  }
}

function unreadable(file: string, { code, message }: NodeJS.ErrnoException): Problem {
  if (code === 'ENOENT') return { message: `File ${file} not found`, fix: 'Check the path after -f.' };
  if (code === 'EISDIR') return { message: `${file} is a folder`, fix: 'Name a run file after -f.' };
  return { message: `File ${file} cannot be read`, why: message };
}

function located(file: string, { line, column, message, why, fix }: LocatedProblem): Problem {
  const place = line === undefined ? '' : `${file}:${line}:${column ?? 1}: `;
  return {
    message: `${place}${message}`,
    ...(why === undefined ? {} : { why }),
    ...(fix === undefined ? {} : { fix }),
  };
}

/** What construction would make of the file; nothing is submitted. */
async function dryRun(context: CliContext, spec: RunSpec, format: 'yaml' | 'json'): Promise<number> {
  const { clusters } = await context.mcli();
  const [{ resolveResources }, { constructedAsJson, renderConstructed }] = await Promise.all([
    import('../../core/resources.ts'),
    import('../../core/run-constructed.ts'),
  ]);
  const views = await clusters.list();
  const answer = resolveResources(
    spec,
    views.map(({ snapshot }) => snapshot),
  );
  if (!answer.ok) throw new CliError(answer.problems);
  for (const warning of answer.warnings) context.say(`! ${warning}`);
  context.print(
    format === 'json'
      ? JSON.stringify(constructedAsJson(spec, answer.resources), null, 2)
      : renderConstructed(spec, answer.resources).trimEnd(),
  );
  return EXIT.ok;
}

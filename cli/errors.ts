/** What goes wrong, told to people: what, why, how to mend it. Never a stack trace. */
import type { Problem } from '../core/run-problem.ts';

/** Exit codes of mcli, documented in the README. */
export const EXIT = { ok: 0, failed: 1, usage: 2, stopped: 3, detached: 130 } as const;

export class CliError extends Error {
  readonly problems: readonly Problem[];
  readonly exitCode: number;

  constructor(problems: Problem | readonly Problem[], exitCode: number = EXIT.failed) {
    const list = Array.isArray(problems) ? (problems as readonly Problem[]) : [problems as Problem];
    super(list.map(({ message }) => message).join('; '));
    this.name = 'CliError';
    this.problems = list;
    this.exitCode = exitCode;
  }
}

/** An error as the problems that people read; errors of ours carry their reason and their remedy. */
export function problemsOf(error: unknown): readonly Problem[] {
  if (error instanceof CliError) return error.problems;
  if (!(error instanceof Error)) return [{ message: String(error) }];
  if (error.name === 'ServerUnreachable') {
    return [
      {
        message: error.message,
        ...(error.cause instanceof Error ? { why: error.cause.message } : {}),
        fix: 'On this machine: `mcli status` shows the local stack, `mcli up` starts it. Elsewhere: check TEMPORAL_ADDRESS and MCLI_NATS_URL.',
      },
    ];
  }
  if (error.name === 'RunNotFound') return [{ message: error.message, fix: 'See `mcli get runs`.' }];
  const { why, fix } = error as { why?: unknown; fix?: unknown };
  return [
    {
      message: error.message,
      ...(typeof why === 'string' ? { why } : {}),
      ...(typeof fix === 'string' ? { fix } : {}),
    },
  ];
}

export function renderProblem({ message, why, fix }: Problem): string {
  return [
    `✗ ${message}`,
    ...(why === undefined ? [] : [`  why: ${why}`]),
    ...(fix === undefined ? [] : [`  fix: ${fix}`]),
  ].join('\n');
}

/** Parses the command line, runs the command, renders its error, sets the exit code. */
import { CommanderError } from 'commander';
import packageJson from '../package.json' with { type: 'json' };
import { CliContext } from './context.ts';
import { buildProgram } from './program.ts';

const USAGE = 2;

// `mcli logs | head` closes the pipe early; that is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

const context = new CliContext(
  {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    interactive: process.stderr.isTTY && process.stdin.isTTY,
  },
  process.env,
);

process.exitCode = await main();
await context.close();

async function main(): Promise<number> {
  let exitCode = 0;
  const program = buildProgram(
    context,
    async (handler) => {
      exitCode = await handler();
    },
    packageJson.version,
  );
  if (process.argv.length <= 2) {
    program.outputHelp();
    return 0;
  }
  try {
    await program.parseAsync();
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE;
    const { CliError, EXIT, problemsOf, renderProblem } = await import('./errors.ts');
    for (const problem of problemsOf(error)) context.say(renderProblem(problem));
    return error instanceof CliError ? error.exitCode : EXIT.failed;
  }
}

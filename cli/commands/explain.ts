import type { CliContext } from '../context.ts';
export async function explainRun(
  _: CliContext,
  __: string | undefined,
  ___: { readonly output?: 'json' },
): Promise<number> {
  return 0;
}

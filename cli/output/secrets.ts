/** Secrets without their values. */
import type { SecretSummary } from '../../client/index.ts';
import { secretKey } from '../../core/secret.ts';
import { renderTable } from './table.ts';
import { displayTime } from './time.ts';

/** @param ids whether to show under which key each is stored */
export function renderSecrets(secrets: readonly SecretSummary[], ids: boolean): string {
  return renderTable(
    [
      { head: 'NAME', value: ({ name }) => name },
      { head: 'TYPE', value: ({ type }) => type },
      { head: 'CREATED_AT', value: ({ createdAt }) => displayTime(new Date(createdAt)) },
      ...(ids ? [{ head: 'ID', value: ({ user, name }: SecretSummary) => secretKey(user, name) }] : []),
    ],
    secrets,
  );
}

export function secretAsJson(secret: SecretSummary): Record<string, unknown> {
  const { name, type, createdAt, variables, mountPath, server } = secret;
  return { name, type, createdAt, variables, mountPath: mountPath ?? null, server: server ?? null };
}

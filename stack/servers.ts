/** The two servers of the local stack, asked over HTTP: are they at work, and does the namespace stand as it should. */
import { HISTORY_DAYS, NAMESPACE } from '../core/naming.ts';
import { SEARCH_ATTRIBUTES } from '../core/search-attributes.ts';
import { natsMonitorUrl, temporalAddress, temporalHttpUrl } from './addresses.ts';
import type { StackConfig, StackPorts } from './config.ts';
import { runProgram } from './shell.ts';

const ASK_TIMEOUT_MS = 2_000;
const RETENTION = `${HISTORY_DAYS * 86_400}s`;

/** Answers the retention of closed runs in days, or throws what Temporal, or its absence, says. */
export async function askTemporal(ports: StackPorts): Promise<{ historyDays: number }> {
  const answer = (await getJson(`${temporalHttpUrl(ports)}/api/v1/namespaces/${NAMESPACE}`)) as {
    config: { workflowExecutionRetentionTtl: string };
  };
  return { historyDays: Number.parseInt(answer.config.workflowExecutionRetentionTtl, 10) / 86_400 };
}

/** Throws what NATS, or its absence, says. */
export async function askNats(ports: StackPorts): Promise<void> {
  const answer = (await getJson(`${natsMonitorUrl(ports)}/healthz?js-enabled-only=true`)) as {
    status: string;
    error?: string;
  };
  if (answer.status !== 'ok') throw new Error(answer.error ?? answer.status);
}

/**
 * Runs after every start of Temporal: the dev server has no option for retention, and its options for search
 * attributes count only for a new database.
 */
export async function prepareNamespace({
  ports,
  tools,
}: Pick<StackConfig, 'ports' | 'tools'>): Promise<void> {
  const base = temporalHttpUrl(ports);
  const { historyDays } = await askTemporal(ports);
  if (historyDays !== HISTORY_DAYS) {
    await getJson(`${base}/api/v1/namespaces/${NAMESPACE}/update`, {
      config: { workflowExecutionRetentionTtl: RETENTION },
    });
    const now = await askTemporal(ports);
    if (now.historyDays !== HISTORY_DAYS) {
      throw new Error(`retention is ${now.historyDays} days, and does not take ${HISTORY_DAYS}`);
    }
  }
  const { customAttributes } = (await getJson(
    `${base}/cluster/namespaces/${NAMESPACE}/search-attributes`,
  )) as { customAttributes?: Record<string, string> };
  const missing = Object.entries(SEARCH_ATTRIBUTES).filter(
    ([name]) => !Object.hasOwn(customAttributes ?? {}, name),
  );
  if (missing.length === 0) return;
  const { code, tail } = await runProgram(
    [
      [tools.temporal, 'operator', 'search-attribute', 'create'],
      ['--address', temporalAddress(ports), '--namespace', NAMESPACE],
      ...missing.map(([name, type]) => ['--name', name, '--type', type]),
    ].flat(),
    { timeoutMs: 30_000 },
  );
  if (code !== 0) throw new Error(`search attributes: ${tail}`);
}

async function getJson(url: string, body?: object): Promise<unknown> {
  const response = await fetch(url, {
    signal: AbortSignal.timeout(ASK_TIMEOUT_MS),
    ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text.slice(0, 300)}`);
  return JSON.parse(text) as unknown;
}

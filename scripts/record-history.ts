/**
 * `npm run record-history -- WORKFLOW_ID FILE`: keeps the history of a workflow of the local stack as a recording for
 * test/workflows/replay.test.ts. A recording is never edited, and never made again for code that it no longer fits.
 */
import { writeFile } from 'node:fs/promises';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { Connections } from '../client/connection.ts';
import { ensureStack } from '../stack/local-stack.ts';

const [workflowId, file] = process.argv.slice(2);
if (workflowId === undefined || file === undefined) {
  console.error('✗ usage: npm run record-history -- WORKFLOW_ID FILE');
  process.exit(2);
}
const { temporalAddress, namespace, natsUrl } = await ensureStack({ env: process.env, say: console.error });
const connections = new Connections({ temporal: { address: temporalAddress }, namespace, natsUrl });
const client = await connections.temporal();
const history = await client.workflow.getHandle(workflowId).fetchHistory();
// Stack traces name the folders of this machine, and no replay reads them.
const scrubbed = JSON.stringify(
  JSON.parse(historyToJSON(history)),
  (key, value: unknown) => (key === 'stackTrace' ? '' : value),
  1,
);
await writeFile(file, `${scrubbed}\n`);
await connections.close();

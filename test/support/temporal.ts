/** A real Temporal server for tests of workflows, with the search attributes of the product. */
import { defineSearchAttributeKey } from '@temporalio/common';
import type { SearchAttributeType } from '@temporalio/common';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { bundleWorkflowCode, DefaultLogger, Runtime } from '@temporalio/worker';
import type { WorkflowBundleWithSourceMap } from '@temporalio/worker';
import { SEARCH_ATTRIBUTES } from '../../core/search-attributes.ts';

const SEARCH_ATTRIBUTE_TYPES = {
  Keyword: 'KEYWORD',
  KeywordList: 'KEYWORD_LIST',
  Int: 'INT',
  Datetime: 'DATETIME',
} as const;

export async function startTemporal(): Promise<TestWorkflowEnvironment> {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const path = process.env['MCLI_TEMPORAL_BIN'];
  if (!path) throw new Error('MCLI_TEMPORAL_BIN is not set: run the tests with `npm test`');
  return await TestWorkflowEnvironment.createLocal({
    server: {
      executable: { type: 'existing-path', path },
      ip: '127.0.0.1',
      extraArgs: [
        ['--dynamic-config-value', 'matching.numTaskqueueReadPartitions=1'],
        ['--dynamic-config-value', 'matching.numTaskqueueWritePartitions=1'],
      ].flat(),
      searchAttributes: Object.entries(SEARCH_ATTRIBUTES).map(([name, type]) =>
        defineSearchAttributeKey(name, SEARCH_ATTRIBUTE_TYPES[type] as SearchAttributeType),
      ),
    },
  });
}

export function bundleWorkflows(
  entry: 'index.ts' | 'cluster-index.ts',
): Promise<WorkflowBundleWithSourceMap> {
  const workflowsPath = new URL(`../../workflows/${entry}`, import.meta.url).pathname;
  return bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('WARN') });
}

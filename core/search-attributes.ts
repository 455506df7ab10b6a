/**
 * What can be searched by, in the namespace of the runs. SQL visibility allows 10 keywords, 3 keyword lists, 3 integers
 * and 3 times: spend them with care. Never a secret: search attributes are not encrypted.
 */
export const SEARCH_ATTRIBUTES = {
  RunStatus: 'Keyword',
  RunReason: 'Keyword',
  RunUser: 'Keyword',
  Cluster: 'Keyword',
  Priority: 'Keyword',
  GpuType: 'Keyword',
  NodeNames: 'KeywordList',
  Metadata: 'KeywordList',
  Gpus: 'Int',
  Nodes: 'Int',
  Resumption: 'Int',
  RunStarted: 'Datetime',
  RunEnded: 'Datetime',
} as const;

export type SearchAttributeName = keyof typeof SEARCH_ATTRIBUTES;

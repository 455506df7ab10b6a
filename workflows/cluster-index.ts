/** Bundle of the cluster worker. */
export { cluster } from './cluster.ts';
export { node } from './node.ts';

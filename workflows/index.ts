/** Bundle of the control worker. */
export { run } from './run.ts';
export { tracking } from './tracking.ts';

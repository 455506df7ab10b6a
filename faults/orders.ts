/** Which order a run was made for. */
import type { Evidence, RunOrder } from './evidence.ts';

/** What mcli puts behind a submitted name. */
const SUFFIX = /-[a-z0-9]{6}$/;

export function orderOf({ orders }: Pick<Evidence, 'orders'>, run: string): RunOrder | undefined {
  const name = run.replace(SUFFIX, '');
  return orders.find((order) => order.name === name);
}

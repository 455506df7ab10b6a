/** `mcli cordon|uncordon|drain|delete node`: what an operator does with a node. */
import type { NodeOrder } from '../../client/index.ts';
import type { ClusterNode } from '../../core/cluster.ts';
import type { ClusterView } from '../../workflows/messages.ts';
import type { CliContext } from '../context.ts';
import { CliError, EXIT } from '../errors.ts';
import { runsOn } from '../output/clusters.ts';
import { findNode, selectClusters } from '../select-clusters.ts';

export interface NodeFlags {
  readonly cluster?: string;
}

export interface CordonFlags extends NodeFlags {
  readonly reason?: string;
}

export interface ConfirmedNodeFlags extends NodeFlags {
  readonly yes?: boolean;
}

/** No new runs start on the node; those on it go on. */
export async function cordonNode(context: CliContext, name: string, flags: CordonFlags): Promise<number> {
  const { reason } = flags;
  const { view, cluster, node } = await findNode(await context.mcli(), name, flags.cluster);
  if (node.cordoned) context.say(`i Node ${name} of ${cluster} is already cordoned.`);
  else {
    const cordon = { type: 'cordoned', node: name, ...(reason === undefined ? {} : { reason }) } as const;
    await order(context, cluster, cordon, (found) => found?.cordoned === true);
    context.say(`✔ Cordoned node ${name} of ${cluster}: no new runs start there.`);
  }
  const runs = runsOn(view.snapshot, name);
  if (runs.length > 0) {
    context.say(`i ${named(runs)} there and may finish. To move them away now: mcli drain node ${name}`);
  }
  context.say(`i To let runs start there again: mcli uncordon node ${name}`);
  return EXIT.ok;
}

export async function uncordonNode(context: CliContext, name: string, flags: NodeFlags): Promise<number> {
  const { cluster, node } = await findNode(await context.mcli(), name, flags.cluster);
  if (!node.cordoned) context.say(`i Node ${name} of ${cluster} is not cordoned.`);
  else {
    await order(context, cluster, { type: 'uncordoned', node: name }, (found) => found?.cordoned === false);
    context.say(`✔ Uncordoned node ${name} of ${cluster}: runs start there again.`);
  }
  if (!node.alive) context.say(`! Its agent does not answer: no run starts there before it is back.`);
  context.say('i See who runs and who waits: mcli util');
  return EXIT.ok;
}

/** Cordons the node and moves its runs away; resolves when it is empty. */
export async function drainNode(
  context: CliContext,
  name: string,
  flags: ConfirmedNodeFlags,
): Promise<number> {
  const { view, cluster } = await findNode(await context.mcli(), name, flags.cluster);
  const runs = runsOn(view.snapshot, name);
  if (runs.length > 0 && !flags.yes) {
    context.say(`i ${named(runs)} on ${name}, would stop, and would start again as the next resumption.`);
    await confirm(context, `Would you like to drain the node: ${name}?`, 'drain');
  }
  await order(context, cluster, { type: 'drained', node: name }, (found) => found?.cordoned === true);
  context.say(`✔ Cordoned node ${name} of ${cluster}: no new runs start there.`);
  if (runs.length > 0) {
    context.say(`i ${named(runs)} there and must leave; each has its grace to stop.`);
    const left = await leave(context, cluster, name);
    if (left.length > 0) {
      throw new CliError({
        message: `Node ${name} is not empty yet`,
        why: `after ${DRAIN_MS / 1_000} s, ${named(left)} there; containers may need their whole grace to stop`,
        fix: `They leave by themselves. Look again: mcli describe cluster ${cluster}`,
      });
    }
    context.say(`✔ Drained node ${name}: its runs queue again at their old places.`);
  }
  context.say(
    `i To let runs start there again: mcli uncordon node ${name}. To remove it: mcli delete node ${name}`,
  );
  return EXIT.ok;
}

/** Removes a node that is gone, or that nothing runs on. Safe to repeat: what is left of it is removed, too. */
export async function deleteNode(
  context: CliContext,
  name: string,
  flags: ConfirmedNodeFlags,
): Promise<number> {
  if (await forgetLeftKey(context, name, flags.cluster)) return EXIT.ok;
  const { view, cluster, node } = await findNode(await context.mcli(), name, flags.cluster);
  const runs = runsOn(view.snapshot, name);
  if (node.alive && (!node.cordoned || runs.length > 0)) {
    const why = runs.length > 0 ? `${named(runs)} there` : 'new runs may start there any moment';
    throw new CliError({
      message: `Node ${name} of ${cluster} is in service and is not deleted`,
      why: `its agent answers, and ${why}`,
      fix: `Empty it first: mcli drain node ${name}`,
    });
  }
  if (runs.length > 0) context.say(`! ${named(runs)} on ${name}, would lose the node, and would be retried.`);
  if (!flags.yes) await confirm(context, `Would you like to delete the node: ${name}?`, 'delete');
  const { secrets } = await context.mcli();
  // Or else all secrets would be sealed to the key of a machine that may be anybody's by now. First, whatever comes of
  // the order; and once more, since an agent that is there publishes its key again while the cluster has its node.
  await secrets.forgetNode(cluster, name).catch(() => undefined);
  await order(context, cluster, { type: 'deleted', node: name }, (found) => found === undefined);
  await secrets.forgetNode(cluster, name).catch((error: unknown) => {
    throw new CliError({
      message: `Node ${name} of ${cluster} is deleted, and its key is not: secrets are still sealed to it`,
      why: error instanceof Error ? error.message : String(error),
      fix: `When NATS is back, once more: mcli delete node ${name} --cluster ${cluster}`,
    });
  });
  context.say(`✔ Deleted node ${name} of ${cluster}.`);
  const again = node.alive ? 'Its agent still runs: stop it, or the node' : 'The node';
  context.say(`i ${again} joins again when its agent starts.`);
  return EXIT.ok;
}

/** Of a node that no cluster has any more: an earlier command was interrupted. */
async function forgetLeftKey(
  context: CliContext,
  name: string,
  cluster: string | undefined,
): Promise<boolean> {
  const mcli = await context.mcli();
  const views = await selectClusters(mcli, cluster === undefined ? [] : [cluster]);
  if (views.some(({ snapshot }) => snapshot.nodes.some(({ node }) => node === name))) return false;
  let forgotten = false;
  for (const { snapshot } of views) {
    if (!(await mcli.secrets.forgetNode(snapshot.cluster, name))) continue;
    context.say(`✔ Removed the key of node ${name}, which ${snapshot.cluster} has no more.`);
    forgotten = true;
  }
  return forgotten;
}

/** Sends the order, and waits until the cluster shows it. */
async function order(
  context: CliContext,
  cluster: string,
  nodeOrder: NodeOrder,
  holds: (node: ClusterNode | undefined) => boolean,
): Promise<void> {
  const { clusters } = await context.mcli();
  await clusters.order(cluster, nodeOrder);
  const shown = await poll(context, cluster, SHOWN_MS, ({ snapshot }) =>
    holds(snapshot.nodes.find(({ node }) => node === nodeOrder.node)),
  );
  if (shown) return;
  throw new CliError({
    message: `Cluster ${cluster} has not carried out the order for ${nodeOrder.node} yet`,
    why: `it was sent, and ${SHOWN_MS / 1_000} s later the node is not ${nodeOrder.type}`,
    fix: `Look again: mcli describe cluster ${cluster}`,
  });
}

/** Answers with the runs that are still there when the time is over. */
async function leave(context: CliContext, cluster: string, node: string): Promise<readonly string[]> {
  let left: readonly string[] = [];
  await poll(context, cluster, DRAIN_MS, ({ snapshot }) => {
    left = runsOn(snapshot, node);
    return left.length === 0;
  });
  return left;
}

async function poll(
  context: CliContext,
  cluster: string,
  withinMs: number,
  holds: (view: ClusterView) => boolean,
): Promise<boolean> {
  const { clusters } = await context.mcli();
  const deadline = Date.now() + withinMs;
  for (;;) {
    if (holds(await clusters.view(cluster))) return true;
    if (Date.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function confirm(context: CliContext, question: string, verb: string): Promise<void> {
  if (await context.confirm(question)) return;
  throw new CliError({
    message: `Canceling ${verb} node`,
    ...(context.terminal.interactive
      ? {}
      : { why: 'nobody can be asked: this is no terminal', fix: 'Say yes beforehand: -y' }),
  });
}

function named(runs: readonly string[]): string {
  const shown = runs.slice(0, MAX_NAMED).join(', ');
  const more = runs.length > MAX_NAMED ? ` and ${runs.length - MAX_NAMED} more` : '';
  return `${shown}${more} ${runs.length === 1 ? 'runs' : 'run'}`;
}

/** A signal takes effect within a workflow task; a restarting worker takes seconds. */
const SHOWN_MS = 15_000;
/** Three times the usual grace of a container. */
const DRAIN_MS = 90_000;
const POLL_MS = 300;
/** More do not fit in a sentence. */
const MAX_NAMED = 5;

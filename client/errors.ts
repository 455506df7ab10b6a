/** What the client throws, beside the errors of the SDKs that it does not expect. */

export class ServerUnreachable extends Error {
  readonly server: string;
  readonly address: string;

  constructor(server: string, address: string, cause: unknown) {
    super(`${server} at ${address} does not answer`, { cause });
    this.name = 'ServerUnreachable';
    this.server = server;
    this.address = address;
  }
}

export class RunNotFound extends Error {
  readonly run: string;

  constructor(run: string) {
    super(`Could not find run: ${run}`);
    this.name = 'RunNotFound';
    this.run = run;
  }
}

const START_WORKERS =
  'On this machine: `mcli status` shows the parts, `mcli up` starts them. Elsewhere: start the workers.';

export class ClusterSilent extends Error {
  readonly cluster: string;
  readonly why: string;
  readonly fix = START_WORKERS;

  constructor(cluster: string, cause: unknown) {
    super(`Cluster ${cluster} does not answer`, { cause });
    this.name = 'ClusterSilent';
    this.cluster = cluster;
    this.why = `no cluster worker took the question (${cause instanceof Error ? cause.message : String(cause)})`;
  }
}

export class RunSilent extends Error {
  readonly run: string;
  readonly why = 'no control worker took the change; whether it is carried out later is not known';
  readonly fix = START_WORKERS;

  constructor(run: string, cause: unknown) {
    super(`Run ${run} does not answer`, { cause });
    this.name = 'RunSilent';
    this.run = run;
  }
}

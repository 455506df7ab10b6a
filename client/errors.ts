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

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

export class UserInvalid extends Error {
  readonly why: string;
  readonly fix = 'Set MCLI_USER to a name, or leave it unset: then the name on this machine counts.';

  constructor(user: string, fault: string) {
    super(`${JSON.stringify(user.slice(0, 60))} is not the name of a user`);
    this.name = 'UserInvalid';
    this.why = fault;
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

export class SecretNotFound extends Error {
  readonly fix = 'See `mcli get secrets`.';

  constructor(name: string) {
    super(`Could not find secret: ${name}`);
    this.name = 'SecretNotFound';
  }
}

export class SecretExists extends Error {
  readonly why = 'a secret is never changed: it is deleted and created again';
  readonly fix: string;

  constructor(name: string) {
    super(`Secret ${name} exists already`);
    this.name = 'SecretExists';
    this.fix = `Choose another --name, or delete it first: mcli delete secret ${name}`;
  }
}

/** No container could be made with it. */
export class SecretInvalid extends Error {
  readonly why: string;
  readonly fix =
    'Give another; what is too long for a variable can be a file: mcli create secret mounted FILE';

  constructor(name: string, fault: string) {
    super(`Secret ${name} cannot be used`);
    this.name = 'SecretInvalid';
    this.why = fault;
  }
}

/** Two secrets that a run could not get both. */
export class SecretClash extends Error {
  readonly why: string;
  readonly fix: string;

  constructor(name: string, other: string, what: string) {
    super(`Secret ${name} and secret ${other} want ${what}`);
    this.name = 'SecretClash';
    this.why = 'a run gets all secrets of its user, and can have only one of them there';
    this.fix = `Delete the other first: mcli delete secret ${other}`;
  }
}

export class SecretLimit extends Error {
  readonly why: string;
  readonly fix = 'Keep large or many files where runs can fetch them, and their credentials here.';

  constructor(message: string, why: string) {
    super(message);
    this.name = 'SecretLimit';
    this.why = why;
  }
}

export class NoNodeKeys extends Error {
  readonly why = 'no node agent has published a key, so nobody could ever open it';
  readonly fix =
    'On this machine: `mcli up`. Elsewhere: give each node agent a key (mcli create node-key FILE) and name it in MCLI_NODE_KEY_FILE.';

  constructor() {
    super('The secret cannot be sealed');
    this.name = 'NoNodeKeys';
  }
}

export class SecretStoreSilent extends Error {
  readonly why: string;
  readonly fix =
    'On this machine: `mcli status` shows NATS, `mcli up` starts it. Elsewhere: check MCLI_NATS_URL, that JetStream is on, and what your credentials permit.';

  constructor(cause: unknown) {
    super('The store of secrets does not answer', { cause });
    this.name = 'SecretStoreSilent';
    this.why = cause instanceof Error ? `NATS: ${cause.message}` : 'NATS does not answer';
  }
}

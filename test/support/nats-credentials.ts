/** Accounts and users of a NATS server that takes nobody else, as `nsc` makes them. */
import { createAccount, createOperator, createUser } from '@nats-io/nkeys';
import type { KeyPair } from '@nats-io/nkeys';

interface NatsAccount {
  /** Text of the server's configuration that trusts this account, and no other. */
  readonly serverConfig: string;
  /** A `.creds` file of one of its users. */
  readonly credentials: string;
}

const UNLIMITED = { subs: -1, data: -1, payload: -1 };
const ACCOUNT_LIMITS = { ...UNLIMITED, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };

export function aNatsAccount(): NatsAccount {
  const [operator, account, user] = [createOperator(), createAccount(), createUser()];
  const accountClaims = claims(operator, account, 'account', { limits: ACCOUNT_LIMITS });
  const seed = new TextDecoder().decode(user.getSeed());
  return {
    serverConfig: [
      `operator: ${claims(operator, operator, 'operator')}`,
      'resolver: MEMORY',
      `resolver_preload: { ${account.getPublicKey()}: ${accountClaims} }`,
    ].join('\n'),
    credentials: [
      '-----BEGIN NATS USER JWT-----',
      claims(account, user, 'user', UNLIMITED),
      '------END NATS USER JWT------',
      '-----BEGIN USER NKEY SEED-----',
      seed,
      '------END USER NKEY SEED------',
      '',
    ].join('\n'),
  };
}

/** A signed statement of the issuer about the subject. */
function claims(issuer: KeyPair, subject: KeyPair, type: string, about: object = {}): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = {
    jti: type,
    iat: Math.floor(Date.now() / 1_000),
    iss: issuer.getPublicKey(),
    sub: subject.getPublicKey(),
    name: type,
    nats: { type, version: 2, ...about },
  };
  const signed = `${encode({ typ: 'JWT', alg: 'ed25519-nkey' })}.${encode(body)}`;
  return `${signed}.${Buffer.from(issuer.sign(Buffer.from(signed))).toString('base64url')}`;
}

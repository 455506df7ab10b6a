/** Where the MLflow server of a run is, and what lets in there, from the variables that its library reads. */
import type { Variables } from '../core/tracking.ts';

export interface MlflowServer {
  /** Without a slash at its end, and without credentials. */
  readonly url: string;
  readonly authorization?: string;
  readonly isDatabricks: boolean;
}

/** The tracker cannot be used, is away, or refuses: the message is a sentence for the user. */
export class MlflowError extends Error {
  override readonly name = 'MlflowError';
  /** MLflow's own, like RESOURCE_DOES_NOT_EXIST; absent when the server did not answer as MLflow does. */
  readonly code: string | undefined;

  constructor(message: string, code?: string) {
    super(message);
    this.code = code;
  }
}

/** The variables name no server that could be asked, now or later. */
export class NoMlflowServer extends MlflowError {}

/** @throws NoMlflowServer */
export function mlflowServer(variables: Variables): MlflowServer {
  const uri = variables['MLFLOW_TRACKING_URI'] ?? '';
  if (uri === 'databricks') return databricks(variables);
  const parsed = httpUrl(uri);
  if (parsed === undefined) {
    // The whole may hold a password.
    const kind = uri === '' ? 'is not set' : `is a place of the kind ${uri.replace(/:.*/, '')}`;
    throw new NoMlflowServer(
      `MLflow cannot be told of the run: MLFLOW_TRACKING_URI ${kind}, and only http addresses and \`databricks\` can be reached from outside of the container.`,
    );
  }
  const user = variables['MLFLOW_TRACKING_USERNAME'] || decoded(parsed.username);
  const password = variables['MLFLOW_TRACKING_PASSWORD'] || decoded(parsed.password);
  const token = variables['MLFLOW_TRACKING_TOKEN'];
  const authorization = user
    ? `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
    : token && bearer('MLFLOW_TRACKING_TOKEN', token);
  return { url: withoutCredentials(parsed), isDatabricks: false, ...(authorization && { authorization }) };
}

function databricks({ DATABRICKS_HOST: host, DATABRICKS_TOKEN: token }: Variables): MlflowServer {
  if (!host || !token) {
    throw new MlflowError(
      'MLflow cannot be told of the run: its tracking_uri is `databricks`, and there is no DATABRICKS_HOST with a DATABRICKS_TOKEN: `mcli create secret databricks` gives both to all later runs.',
    );
  }
  const parsed = httpUrl(host.includes('://') ? host : `https://${host}`);
  if (parsed === undefined || parsed.username || parsed.password) {
    throw new MlflowError(
      'MLflow cannot be told of the run: DATABRICKS_HOST is no plain address, like https://dbc-1234.cloud.databricks.com. What lets in is the DATABRICKS_TOKEN.',
    );
  }
  return {
    url: withoutCredentials(parsed),
    authorization: bearer('DATABRICKS_TOKEN', token),
    isDatabricks: true,
  };
}

function httpUrl(text: string): URL | undefined {
  const parsed = URL.canParse(text) ? new URL(text) : undefined;
  return parsed?.protocol === 'http:' || parsed?.protocol === 'https:' ? parsed : undefined;
}

/** Of a part of an address, in which a `%` may stand for itself. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function withoutCredentials({ origin, pathname }: URL): string {
  return `${origin}${pathname}`.replace(/\/+$/, '');
}

/** Whoever makes the request would refuse it, too, and quote it. */
function bearer(variable: string, value: string): string {
  const token = value.trim();
  if (!/^[\x20-\x7e]+$/.test(token)) {
    throw new MlflowError(
      `MLflow cannot be told of the run: ${variable} is no token, since it is empty or has line breaks or characters that are not ASCII. Create the secret again.`,
    );
  }
  return `Bearer ${token}`;
}

/** All that a server knows from us and must not be seen: a token, or the password of a user. */
export function credentialsOf({ authorization = '' }: MlflowServer): string[] {
  const value = authorization.slice(authorization.indexOf(' ') + 1);
  if (!authorization.startsWith('Basic ')) return [value];
  return [Buffer.from(value, 'base64').toString().replace(/^.*?:/s, '')];
}

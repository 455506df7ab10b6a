/** What must not be seen in a log of what a secret holds: its values as a whole, and the parts that programs print alone. */
import type { Secret } from './secret.ts';
import { binaryValue } from './secret-mask.ts';

/** Texts, and what `binaryValue` makes of bytes. Lines of a text are found on their own by whoever masks. */
export function secretTexts({ content }: Secret): string[] {
  switch (content.type) {
    case 'environment':
      return isTrackerAddress(content) ? [] : withParts(content.value);
    case 'mounted':
    case 'gcp':
    case 'ssh':
    case 'git':
    case 'sftp':
      return fileTexts(content.fileBase64);
    case 'docker_registry':
      return [content.password];
    case 's3':
      return [...partsOf(content.credentials), ...partsOf(content.config ?? '')];
    case 'oci':
      return [content.keyFile, ...partsOf(content.config)];
    case 'databricks':
    case 'hugging_face':
      return [content.token];
    case 'wandb':
      return [content.apiKey];
  }
}

/** What mcli itself prints in the log, as part of a link: it is no secret, unless it holds more than an address. */
function isTrackerAddress({ key, value }: { readonly key: string; readonly value: string }): boolean {
  if (!TRACKER_ADDRESSES.includes(key)) return false;
  if (value === 'databricks') return true;
  return /^https?:\/\/[^@?#]+$/.test(value);
}

const TRACKER_ADDRESSES = ['MLFLOW_TRACKING_URI', 'WANDB_BASE_URL', 'COMET_URL_OVERRIDE'];

function fileTexts(base64: string): string[] {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  try {
    return withParts(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return [binaryValue(base64)];
  }
}

const withParts = (text: string): string[] => [...new Set([text, ...partsOf(text)])];

function partsOf(text: string): string[] {
  return [...new Set([...namedValues(text), ...urlPasswords(text), ...netrcPasswords(text)])];
}

const SECRET_NAME = '(?:key|secret|token|passw|pass_?phrase|credential)[\\w.-]*';
const SECRET_NAMES = new RegExp(SECRET_NAME, 'i');
/** `export API_TOKEN="…"`, `token: '…'`, `{ password = … }`, `?key=…&`. */
const NAMED_VALUE = new RegExp(
  `${SECRET_NAME}["']?[ \\t]*[=:][ \\t]*(?:"([^"\\n]*)"|'([^'\\n]*)'|([^\\s"',;&})\\]]+))`,
  'gi',
);
/** Without quotes a value may have spaces in it, as in INI files. */
const NAMED_LINE = new RegExp(
  `^[ \\t]*[\\w.-]*${SECRET_NAME}[ \\t]*[=:][ \\t]*([^\\s"'].*?)[ \\t\\r]*$`,
  'gim',
);

/** Values under names like `aws_secret_access_key`, in JSON and in whatever else has names and values. */
function namedValues(text: string): string[] {
  try {
    return jsonValues(JSON.parse(text), '');
  } catch {
    return [...text.matchAll(NAMED_VALUE), ...text.matchAll(NAMED_LINE)].flatMap(([, ...values]) =>
      values.filter(Boolean),
    );
  }
}

function jsonValues(value: unknown, name: string): string[] {
  if (typeof value === 'string') return SECRET_NAMES.test(name) ? [value] : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) => jsonValues(item, Array.isArray(value) ? name : key));
}

/** `https://user:password@host`; of `https://token@host` the token. As they are there, and as servers read them. */
function urlPasswords(text: string): string[] {
  return [...text.matchAll(/\b[a-z][a-z\d+.-]*:\/\/([^\s/@:"']*)(?::([^\s/@"']*))?@/gi)].flatMap(
    ([, user = '', password = '']) => {
      const secret = password === '' || password === 'x-oauth-basic' ? user : password;
      return [...new Set([secret, urlDecoded(secret)])].filter(Boolean);
    },
  );
}

function urlDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** `machine … login … password …`, on one line or on three. */
function netrcPasswords(text: string): string[] {
  if (!/^[ \t]*(?:machine[ \t]+\S|default\b)/m.test(text)) return [];
  return [...text.matchAll(/\bpassword\s+"?([^\s"]+)/g)].map(([, password = '']) => password);
}

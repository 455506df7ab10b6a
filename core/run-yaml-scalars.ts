/**
 * What a plain scalar means to PyYAML's `safe_load`, which reads YAML 1.1: `1e-4` is text, `012` is 10, `1:30` is 90,
 * `on` is true. The original reads run files with it, and so does the training code that opens parameters.yaml.
 */
export type ScalarValue =
  | { readonly kind: 'null' }
  | { readonly kind: 'str'; readonly value: string }
  | { readonly kind: 'bool'; readonly value: boolean }
  | { readonly kind: 'int'; readonly value: bigint }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'timestamp' }
  | { readonly kind: 'binary' }
  | { readonly kind: 'merge' }
  /** PyYAML raises an error on it. */
  | { readonly kind: 'invalid'; readonly why: string };

/** The value of a plain scalar without a tag. */
export function resolvePlain(text: string): ScalarValue {
  if (NULL.test(text)) return { kind: 'null' };
  if (BOOL.test(text)) return { kind: 'bool', value: isTrue(text) };
  if (FLOAT.test(text)) return { kind: 'float', value: readFloat(text) };
  if (INT.test(text)) return readInt(text);
  if (text === '<<') return { kind: 'merge' };
  if (TIMESTAMP.test(text)) return readTimestamp(text);
  if (text === '=') return { kind: 'invalid', why: 'a plain = has a meaning of its own in YAML 1.1' };
  return { kind: 'str', value: text };
}

/** The value of a scalar with one of YAML's own tags, given without its prefix: `int` for `!!int`. */
export function resolveTagged(tag: string, text: string): ScalarValue {
  switch (tag) {
    case 'str':
      return { kind: 'str', value: text };
    case 'null':
      return { kind: 'null' };
    case 'bool':
      return /^(?:yes|no|true|false|on|off)$/i.test(text)
        ? { kind: 'bool', value: isTrue(text) }
        : { kind: 'invalid', why: `${text} is not a boolean` };
    case 'int':
      return INT.test(text) ? readInt(text) : { kind: 'invalid', why: `${text} is not a whole number` };
    case 'float':
      return FLOAT.test(text) || /^[-+]?[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?$/.test(text)
        ? { kind: 'float', value: readFloat(text) }
        : { kind: 'invalid', why: `${text} is not a number` };
    case 'timestamp':
      return TIMESTAMP_PARTS.test(text)
        ? readTimestamp(text)
        : { kind: 'invalid', why: `${text} is not a date` };
    case 'binary':
      return BASE64.test(text.replaceAll(/\s/g, ''))
        ? { kind: 'binary' }
        : { kind: 'invalid', why: 'the content is not base64' };
    default:
      return { kind: 'invalid', why: `the tag !!${tag} does not fit a single value` };
  }
}

/**
 * The text that Python's `str()` makes of a value: `True`, `90`, `0.0001`. Dates keep the text of the file, and null
 * is empty.
 */
export function pythonText(value: ScalarValue, text: string): string {
  switch (value.kind) {
    case 'null':
      return '';
    case 'bool':
      return value.value ? 'True' : 'False';
    case 'int':
      return value.value.toString();
    case 'float':
      return pythonFloat(value.value);
    default:
      return text;
  }
}

const NULL = /^(?:~|null|Null|NULL)?$/;
const BOOL = /^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$/;
const INT =
  /^(?:[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$/;
const FLOAT =
  /^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$/;
const TIMESTAMP =
  /^(?:\d{4}-\d\d-\d\d|(?:\d{4})-\d\d?-\d\d?(?:[Tt]| +)\d\d?:\d\d:\d\d(?:\.\d*)?(?: *(?:Z|[-+]\d\d?(?::\d\d)?))?)$/;
const TIMESTAMP_PARTS =
  /^(\d{4})-(\d\d?)-(\d\d?)(?:(?:[Tt]| +)(\d\d?):(\d\d):(\d\d)(?:\.\d*)?(?: *(?:Z|[-+](\d\d?)(?::(\d\d))?))?)?$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function isTrue(text: string): boolean {
  return /^(?:yes|true|on)$/i.test(text);
}

function readInt(text: string): ScalarValue {
  const digits = text.replaceAll('_', '');
  const negative = digits.startsWith('-');
  const magnitude = readMagnitude(digits.replace(/^[-+]/, ''));
  return magnitude === undefined
    ? { kind: 'invalid', why: `${text} looks like a number and has no digits` }
    : { kind: 'int', value: negative ? -magnitude : magnitude };
}

function readMagnitude(digits: string): bigint | undefined {
  if (/^0[bx]$/.test(digits)) return undefined;
  if (/^0[bx]/.test(digits)) return BigInt(digits);
  if (/^0[0-7]/.test(digits)) return BigInt(`0o${digits.slice(1)}`);
  return digits.split(':').reduce((sum, part) => sum * 60n + BigInt(part), 0n);
}

function readFloat(text: string): number {
  const digits = text.replaceAll('_', '').toLowerCase();
  const sign = digits.startsWith('-') ? -1 : 1;
  const magnitude = digits.replace(/^[-+]/, '');
  if (magnitude === '.inf') return sign * Infinity;
  if (magnitude === '.nan') return NaN;
  return sign * magnitude.split(':').reduce((sum, part) => sum * 60 + Number(part), 0);
}

function readTimestamp(text: string): ScalarValue {
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, zoneHour = 0, zoneMinute = 0] = (
    TIMESTAMP_PARTS.exec(text) ?? []
  )
    .slice(1)
    .map((part) => Number(part ?? 0));
  const valid =
    year >= 1 &&
    month >= 1 &&
    month <= 12 &&
    day >= 1 &&
    day <= daysOf(year, month) &&
    hour <= 23 &&
    minute <= 59 &&
    second <= 59 &&
    zoneHour * 60 + zoneMinute < 24 * 60;
  return valid
    ? { kind: 'timestamp' }
    : { kind: 'invalid', why: `${text} looks like a date and is none in the calendar` };
}

function daysOf(year: number, month: number): number {
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  if (month === 2) return leap ? 29 : 28;
  return [4, 6, 9, 11].includes(month) ? 30 : 31;
}

/** Python writes the shortest digits that read back equal, as JavaScript does, but changes to exponents elsewhere. */
function pythonFloat(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0';
  const [mantissa = '', exponentText = '0'] = value.toExponential().split('e');
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= 16) {
    const sign = exponent < 0 ? '-' : '+';
    return `${mantissa}e${sign}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  const text = String(value);
  return text.includes('.') ? text : `${text}.0`;
}

// Configuration: a service reads its `CISTERN_*` environment variables once, at the start, against a schema.
// A bad or missing one ends the start with one line that names it.
import { readFileSync } from 'node:fs';
import type { ErrorObject } from 'ajv';
import { type Static, type TObject, Type } from 'typebox';
import { ConfigError } from './config-error.ts';
import { convert } from './schemas.ts';

export { ConfigError } from './config-error.ts';

const pemFile = (what: string) =>
  Type.Optional(Type.String({ minLength: 1, description: `path of a PEM file: ${what}` }));

/** Settings that every service has. Times are in seconds, sizes in bytes. */
export const commonSettings = {
  CISTERN_LISTEN: Type.String({
    default: '127.0.0.1',
    minLength: 1,
    description: 'address to listen on',
  }),
  CISTERN_LOG_LEVEL: Type.Union(
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'].map((level) => Type.Literal(level)),
    { default: 'info', description: 'least severe log level that is written' },
  ),
  CISTERN_LOG_REQUESTS: Type.Union([Type.Literal('all'), Type.Literal('slow'), Type.Literal('none')], {
    default: 'slow',
    description: "which requests are logged: 'slow' means those that failed or took over a second",
  }),
  CISTERN_CLUSTER_KEY: Type.String({
    minLength: 32,
    description: 'secret that all parts of the cluster share; signs tickets',
  }),
  CISTERN_CLUSTER_KEY_PREVIOUS: Type.Optional(
    Type.String({ minLength: 32, description: 'former cluster key, still accepted while it is rotated out' }),
  ),
  CISTERN_TLS_CERT_FILE: pemFile(
    'certificate to listen with, and its chain; it is also our client certificate',
  ),
  CISTERN_TLS_KEY_FILE: pemFile('its private key'),
  CISTERN_TLS_CA_FILE: pemFile('authorities that the other parts are trusted by'),
  CISTERN_TLS_CLIENT_CA_FILE: pemFile('authorities of which whoever connects must have a certificate'),
};

/**
 * Reads the settings that `schema` names from `env`, with defaults filled in and texts turned into numbers.
 * For each NAME, `NAME_FILE` may give the path of a file that holds the value (for secrets).
 * @throws ConfigError naming the first setting that is wrong
 */
export function readConfig<T extends TObject>(schema: T, env: NodeJS.ProcessEnv = process.env): Static<T> {
  const given: Record<string, unknown> = {};
  for (const name of Object.keys(schema.properties)) {
    const value = readSetting(name, env);
    if (value !== undefined && value !== '') given[name] = value;
  }
  const filled = { ...given };
  const error = convert(schema, filled);
  if (error === undefined) return filled as Static<T>;
  throw new ConfigError(explain(error, schema, given));
}

function readSetting(name: string, env: NodeJS.ProcessEnv): string | undefined {
  const file = env[`${name}_FILE`];
  if (file === undefined || file === '') return env[name];
  if (env[name]) throw new ConfigError(`${name} and ${name}_FILE are both set: set only one of them`);
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw new ConfigError(`${name}_FILE: cannot read '${file}' (${(error as NodeJS.ErrnoException).code})`);
  }
}

function explain(error: ErrorObject, schema: TObject, given: Record<string, unknown>): string {
  const { missingProperty } = error.params as { missingProperty?: string };
  if (missingProperty !== undefined) return `${missingProperty} is not set`;
  const name = error.instancePath.split('/')[1] ?? '';
  const { anyOf: allowed } = schema.properties[name] as { anyOf?: { const: string }[] };
  const message = allowed ? `must be one of ${allowed.map((one) => one.const).join(', ')}` : error.message;
  // Secrets must not reach a log, not even mistyped ones.
  const shown = /KEY|TOKEN|DATABASE/.test(name) ? '' : ` (is '${String(given[name])}')`;
  return `${name} ${message}${shown}`;
}

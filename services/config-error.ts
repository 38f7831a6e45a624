// Apart from config.ts, so that the command can do without the library that validates settings.

/** A setting is missing or wrong. The message is one line, fit to be shown to an operator. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}

// JSON logs by pino, on stderr, so that stdout stays free for what a command prints.
import { type Logger, pino, stdSerializers } from 'pino';

export type { Logger };

/** Makes a service's logger. `service` and `host` stand in every line; tickets and tokens never do. */
export function createLogger(options: { level: string; service: string; host?: string }): Logger {
  const base = { service: options.service, ...(options.host === undefined ? {} : { host: options.host }) };
  return pino(
    {
      level: options.level,
      base,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: [
        'req.headers.authorization',
        'headers.authorization',
        'token',
        'ticket',
        '*.ticket',
        '*.token',
      ],
      serializers: { err: stdSerializers.err },
    },
    pino.destination({ fd: 2, sync: false }),
  );
}

// Settings: what a service makes of its environment, and the one line that it ends with.
import { Type } from 'typebox';
import { expect, test } from 'vitest';
import { ConfigError, readConfig } from './config.ts';

const schema = Type.Object({
  PORT: Type.Integer({ default: 7500, minimum: 0, maximum: 65_535 }),
  SHARE: Type.Number({ default: 0.5 }),
  ON: Type.Boolean({ default: false }),
  NAME: Type.String({ minLength: 2 }),
  LEVEL: Type.Union([Type.Literal('low'), Type.Literal('high')], { default: 'low' }),
  SECRET_KEY: Type.Optional(Type.String({ minLength: 8 })),
});

test('texts become numbers and truths, and what is not given has its default', () => {
  const env = {
    NAME: '12',
    PORT: '80',
    SHARE: '0.25',
    ON: 'true',
    LEVEL: 'high',
    OTHER: 'x',
    SECRET_KEY: '',
  };
  expect(readConfig(schema, env)).toEqual({ PORT: 80, SHARE: 0.25, ON: true, NAME: '12', LEVEL: 'high' });
  expect(readConfig(schema, { NAME: 'ab' })).toEqual({
    PORT: 7500,
    SHARE: 0.5,
    ON: false,
    NAME: 'ab',
    LEVEL: 'low',
  });
});

test.each([
  [{}, 'NAME is not set'],
  [{ NAME: 'a' }, "NAME must NOT have fewer than 2 characters (is 'a')"],
  [{ NAME: 'ab', PORT: 'http' }, "PORT must be integer (is 'http')"],
  [{ NAME: 'ab', PORT: '1.5' }, "PORT must be integer (is '1.5')"],
  [{ NAME: 'ab', PORT: '65536' }, "PORT must be <= 65535 (is '65536')"],
  [{ NAME: 'ab', ON: 'maybe' }, "ON must be boolean (is 'maybe')"],
  [{ NAME: 'ab', LEVEL: 'none' }, "LEVEL must be one of low, high (is 'none')"],
  [{ NAME: 'ab', SECRET_KEY: 'short' }, 'SECRET_KEY must NOT have fewer than 8 characters'],
])('%o: %s', (env, message) => {
  expect(() => readConfig(schema, env)).toThrow(new ConfigError(message));
});

// Schemas are compiled when they are first needed. A tracker has some 600 of them, most of which only document how a
// route may fail: to compile all at the start took half of it, and a service that is started again is waited for.
import validators from '@fastify/ajv-compiler';
import serializers from '@fastify/fast-json-stringify-compiler';
import { Ajv } from 'ajv';
import type { FastifyServerOptions } from 'fastify';
import type { Static, TSchema } from 'typebox';

type Compile<Route, Compiled> = (route: Route) => Compiled;
type Validator = ((data: unknown) => unknown) & { errors?: unknown };

const buildValidator = validators();
const buildSerializer = serializers();

/** For Fastify's `schemaController`: its own compilers, put off to a route's first use. */
const compilersFactory = {
  buildValidator: (...given: Parameters<typeof buildValidator>) => {
    const compile = once(() => buildValidator(...given) as unknown as Compile<unknown, Validator>);
    return (route: unknown) => {
      const validator = once(() => compile()(route));
      return (data: unknown) => validator()(data) || { error: validator().errors };
    };
  },
  buildSerializer: (...given: Parameters<typeof buildSerializer>) => {
    const compile = once(
      () => buildSerializer(...given) as unknown as Compile<unknown, (data: unknown) => string>,
    );
    return (route: unknown) => {
      const serializer = once(() => compile()(route));
      return (data: unknown) => serializer()(data);
    };
  },
};

export const lazyCompilation = { compilersFactory } as unknown as NonNullable<
  FastifyServerOptions['schemaController']
>;

const checking = once(() => new Ajv({ strict: false }));
const converting = once(() => new Ajv({ strict: false, coerceTypes: true, useDefaults: true }));

/** Whether a value that comes from elsewhere than a route has the shape of `schema`. */
export function matches<T extends TSchema>(schema: T, value: unknown): value is Static<T> {
  return checking().validate(schema, value);
}

/**
 * Fills in defaults and turns texts into numbers, in `values` itself.
 * @returns what is wrong first, with where: a JSON pointer; undefined if nothing is
 */
export function convert(
  schema: TSchema,
  values: Record<string, unknown>,
): { at: string; missing: string | undefined; message: string } | undefined {
  const ajv = converting();
  if (ajv.validate(schema, values)) return undefined;
  const [error] = ajv.errors ?? [];
  const { instancePath: at = '', message = 'is not valid', params = {} } = error ?? {};
  return { at, message, missing: (params as { missingProperty?: string }).missingProperty };
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

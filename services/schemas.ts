// Schemas are compiled when they are first needed. A tracker has some 600 of them, most of which only document how a
// route may fail: to compile all at the start took a third of it, and a service that is started again is waited for.
import validators from '@fastify/ajv-compiler';
import serializers from '@fastify/fast-json-stringify-compiler';
import { Ajv, type ErrorObject } from 'ajv';
import type { FastifyServerOptions } from 'fastify';
import type { Static, TSchema } from 'typebox';

type Validator = ((data: unknown) => unknown) & { errors?: unknown };
type Serializer = (data: unknown) => string;

const buildValidator = lazily<Validator>(validators());
const buildSerializer = lazily<Serializer>(serializers());

/** For Fastify's `schemaController`: its own compilers, put off to a route's first use. */
export const lazyCompilation = {
  compilersFactory: {
    buildValidator: (...given: unknown[]) => {
      const compile = buildValidator(...given);
      return (route: unknown) => {
        const validator = compile(route);
        return (data: unknown) => validator()(data) || { error: validator().errors };
      };
    },
    buildSerializer: (...given: unknown[]) => {
      const compile = buildSerializer(...given);
      return (route: unknown) => {
        const serializer = compile(route);
        return (data: unknown) => serializer()(data);
      };
    },
  },
} as unknown as NonNullable<FastifyServerOptions['schemaController']>;

/** What Fastify builds a compiler with, so that neither the compiler is made before it is needed nor what it compiles. */
function lazily<Compiled>(build: unknown): (...given: unknown[]) => (route: unknown) => () => Compiled {
  const now = build as (...given: unknown[]) => (route: unknown) => Compiled;
  return (...given) => {
    const compiler = once(() => now(...given));
    return (route) => once(() => compiler()(route));
  };
}

const checking = once(() => new Ajv({ strict: false }));
const converting = once(() => new Ajv({ strict: false, coerceTypes: true, useDefaults: true }));

/** Whether a value that comes from elsewhere than a route has the shape of `schema`. */
export function matches<T extends TSchema>(schema: T, value: unknown): value is Static<T> {
  return checking().validate(schema, value);
}

/**
 * Fills in defaults and turns texts into numbers, in `values` itself.
 * @returns what is wrong first, if anything is
 */
export function convert(schema: TSchema, values: Record<string, unknown>): ErrorObject | undefined {
  const ajv = converting();
  return ajv.validate(schema, values) ? undefined : ajv.errors?.[0];
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

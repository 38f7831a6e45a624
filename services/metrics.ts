// Prometheus metrics that every service has; each service adds its own to the same registry.
import { Counter, collectDefaultMetrics, Histogram, Registry } from 'prom-client';

export interface HttpMetrics {
  registry: Registry;
  seconds: Histogram<'method' | 'route' | 'status'>;
  bytes: Counter<'direction'>;
}

/** Makes a registry with the process's own metrics and those of its HTTP server (seconds, bytes). */
export function createMetrics(service: string): HttpMetrics {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  collectDefaultMetrics({ register: registry });
  return {
    registry,
    seconds: new Histogram({
      name: 'cistern_http_request_seconds',
      help: 'Time from the request head to the end of the answer',
      labelNames: ['method', 'route', 'status'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60],
      registers: [registry],
    }),
    bytes: new Counter({
      name: 'cistern_http_bytes_total',
      help: 'File bytes received and sent',
      labelNames: ['direction'],
      registers: [registry],
    }),
  };
}

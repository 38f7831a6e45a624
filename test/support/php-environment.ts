// What tests that are written in PHP are told of the cluster that they run on.
import type { Cluster } from './cluster.ts';
import type { Control } from './fault-control.ts';
import type { FaultProxy } from './fault-proxy.ts';

/** Variables for client-php-shim/tests/Support. `proxies` stand before the trackers, one each. */
export function phpEnvironment(
  cluster: Cluster,
  proxies: FaultProxy[] = [],
  control?: Control,
): Record<string, string> {
  const urls = (parts: { url: string }[]) => parts.map(({ url }) => url).join(',');
  return {
    CISTERN_TRACKER_URLS: urls(cluster.trackers),
    CISTERN_DOMAIN: cluster.domain,
    CISTERN_TOKEN: cluster.token,
    CISTERN_PROXY_URLS: urls(proxies),
    CISTERN_CONTROL_URL: control?.url ?? '',
  };
}

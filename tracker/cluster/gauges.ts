// The cluster as Prometheus gauges. They are read from the snapshot at each scrape, so they cost nothing in between.
import { Gauge, type Registry } from 'prom-client';
import type { ClusterState } from './state.ts';

/** Adds gauges of hosts and devices to the tracker's registry. */
export function watchCluster(registry: Registry, state: ClusterState): void {
  const registers = [registry];
  new Gauge({
    name: 'cistern_hosts',
    help: 'Hosts, by whether they are up',
    labelNames: ['observed'],
    registers,
    collect() {
      const up = state.hosts().filter((host) => host.up).length;
      this.set({ observed: 'up' }, up);
      this.set({ observed: 'down' }, state.hosts().length - up);
    },
  });
  new Gauge({
    name: 'cistern_devices',
    help: 'Devices, by state, by what their node says of them, and by whether they can be read',
    labelNames: ['state', 'condition', 'readable'],
    registers,
    collect() {
      this.reset();
      for (const { state: set, condition, readable } of state.devices()) {
        this.inc({ state: set, condition, readable: String(readable) });
      }
    },
  });
  new Gauge({
    name: 'cistern_host_clock_offset_seconds',
    help: "A host's clock minus the database's",
    labelNames: ['host'],
    registers,
    collect() {
      this.reset();
      for (const { name, clockOffsetMs, up } of state.hosts()) {
        if (up) this.set({ host: name }, clockOffsetMs / 1000);
      }
    },
  });
  const each = {
    total: 'Size of the device in bytes',
    free: 'Bytes that uploads may still fill, beyond the reserve',
    blobs: 'Blobs on the device',
    errors: 'Read and write errors since its node started',
  };
  for (const [field, help] of Object.entries(each) as [keyof typeof each, string][]) {
    new Gauge({
      name: `cistern_device_${field}${field === 'total' || field === 'free' ? '_bytes' : ''}`,
      help,
      labelNames: ['host', 'device'],
      registers,
      collect() {
        this.reset();
        for (const device of state.devices()) {
          this.set({ host: device.host.name, device: device.id }, device[field]);
        }
      },
    });
  }
}

// The processes of a cluster, as Linux's /proc shows them: which there are, what memory and time they used.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** One kind of process. PostgreSQL's are many, and come and go: `pids` looks anew. */
export interface Part {
  name: 'supervisor' | 'tracker' | 'nodes' | 'PostgreSQL';
  pids(): number[];
}

/** The parts of a cluster by its supervisor's process id. */
export function partsOf(supervisor: number): Part[] {
  const parts: [Part['name'], (command: string) => boolean][] = [
    ['tracker', (command) => command.includes('tracker/main.ts')],
    ['nodes', (command) => command.includes('storage-node/main.ts')],
    ['PostgreSQL', (command) => /\bpostgres(:|\0| )/.test(command)],
  ];
  return [
    { name: 'supervisor', pids: () => [supervisor] },
    ...parts.map(([name, is]) => ({
      name,
      pids: () => descendants(supervisor).filter((pid) => is(read(pid, 'cmdline'))),
    })),
  ];
}

/** Highest resident memory of a process since its start, in bytes; 0 if it has ended. */
export function peakMemory(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(read(pid, 'status'))?.[1] ?? 0) * 1024;
}

/** Processor seconds that the parts use from now until the function that is returned is called. */
export function watchProcessors(parts: Part[]): () => Record<string, number> {
  const tick = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  const used = () => parts.map((part) => part.pids().reduce((sum, pid) => sum + ticks(pid), 0) / tick);
  const before = used();
  return () => {
    const after = used();
    return Object.fromEntries(parts.map(({ name }, i) => [name, (after[i] ?? 0) - (before[i] ?? 0)]));
  };
}

function ticks(pid: number): number {
  // The second field is the program's name in parentheses; user and system time are fields 14 and 15 (proc(5)).
  const fields = read(pid, 'stat').split(') ').at(-1)?.split(' ') ?? [];
  return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
}

function descendants(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const pid = Number(entry);
    const parent = Number(/^PPid:\s+(\d+)/m.exec(read(pid, 'status'))?.[1]);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const all: number[] = [];
  const add = (pid: number) => {
    for (const child of children.get(pid) ?? []) {
      all.push(child);
      add(child);
    }
  };
  add(root);
  return all;
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

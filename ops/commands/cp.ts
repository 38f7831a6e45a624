// `cistern cp`: copies files and directories within a domain. No bytes are moved.
import type { Command } from 'commander';
import { registerRelocation } from '../lib/relocate.ts';

export function register(program: Command): void {
  registerRelocation(program, 'cp', 'copy', 'copy files and directories within the domain (takes no space)');
}

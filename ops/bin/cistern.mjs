#!/usr/bin/env node
// The `cistern` command.
import { launch } from './launch.mjs';

await launch('cistern', 'ops/main');

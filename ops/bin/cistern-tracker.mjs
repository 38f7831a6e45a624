#!/usr/bin/env node
// A tracker, by its CISTERN_* settings: docs/configuration.md.
import { launch } from './launch.mjs';

await launch('cistern-tracker', 'tracker/main');

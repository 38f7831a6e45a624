#!/usr/bin/env node
// A storage node, by its CISTERN_* settings: docs/configuration.md.
import { launch } from './launch.mjs';

await launch('cistern-storage-node', 'storage-node/main');

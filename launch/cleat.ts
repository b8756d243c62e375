/**
 * `cleat`: what is executed. It loads the command line (cli/main.ts) as one program.
 *
 * Limits: the build makes CommonJS of launch/, because Node has that loader ready in a new process: the one of ES modules takes 8 ms of
 * CPU, a third of what Node itself takes.
 */
import type * as CommandLine from '../cli/main.ts';
import { load } from './program.ts';

void (load('command').exports as typeof CommandLine).main(process.argv);

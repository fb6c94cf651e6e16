/**
 * What notebook cells use, in one import.
 *
 * @module
 */
export { InterruptedError, interruptible } from "./interrupt.ts";
export { NotebookSetup, setupNotebook, type SetupOptions } from "./setup.ts";

/**
 * The Deno version that the course is pinned to.
 *
 * @module
 */

/** Chosen by the kernel conformance test: the table is in `tests/notebook/conformance_test.ts`. */
export const PINNED_DENO_VERSION = "2.8.1";

/** What every comparison of hypotheses with references demands. */

/** @throws {RangeError} no pairs, or lists of unequal length */
export function checkPaired(
  metric: string,
  hypotheses: readonly string[],
  references: readonly string[],
): void {
  if (hypotheses.length !== references.length) {
    throw new RangeError(
      `Cannot compute ${metric}: expected one reference a hypothesis, found ` +
        `${hypotheses.length} hypotheses and ${references.length} references.`,
    );
  }
  if (hypotheses.length === 0) {
    throw new RangeError(
      `Cannot compute ${metric}: expected at least one pair, found none. Generate answers first.`,
    );
  }
}

/**
 * Singular values of a small matrix, for pictures: one-sided Jacobi rotations.
 *
 * Source: G. Golub, C. Van Loan, "Matrix Computations", 4th ed., § 8.6.3.
 *
 * @module
 */

/** `matrix = Σ values[k] · left[k] · right[k]ᵀ`, the largest value first. */
export interface SingularValues {
  readonly values: readonly number[];
  /** One unit vector of length `rows` for each value. */
  readonly left: readonly Float64Array[];
  /** One unit vector of length `columns` for each value. */
  readonly right: readonly Float64Array[];
}

/** Rotations end when columns are this near to orthogonal. */
const TOLERANCE = 1e-12;
const MOST_SWEEPS = 60;

const dot = (a: Float64Array, b: Float64Array) =>
  a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0);

/** Turns two vectors by one angle. */
function rotate(a: Float64Array, b: Float64Array, cosine: number, sine: number): void {
  for (let at = 0; at < a.length; at++) {
    const [x, y] = [a[at] ?? 0, b[at] ?? 0];
    a[at] = cosine * x - sine * y;
    b[at] = sine * x + cosine * y;
  }
}

/** Makes columns `i` and `j` orthogonal. @returns whether they were not */
function orthogonalise(
  columns: readonly Float64Array[],
  turned: readonly Float64Array[],
  i: number,
  j: number,
): boolean {
  const [a, b, v, w] = [columns[i], columns[j], turned[i], turned[j]];
  if (!a || !b || !v || !w) return false;
  const [alpha, beta, gamma] = [dot(a, a), dot(b, b), dot(a, b)];
  if (Math.abs(gamma) <= TOLERANCE * Math.sqrt(alpha * beta)) return false;
  const zeta = (beta - alpha) / (2 * gamma);
  const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
  const cosine = 1 / Math.hypot(1, tangent);
  rotate(a, b, cosine, cosine * tangent);
  rotate(v, w, cosine, cosine * tangent);
  return true;
}

/**
 * Takes a matrix apart into layers of rank 1.
 *
 * @param matrix `rows × columns` numbers, row by row
 * @throws {RangeError} where their count is another
 *
 * @example
 * ```ts
 * import { singularValues } from "@lib/notebook/svd.ts";
 * import { assertAlmostEquals } from "@std/assert";
 *
 * const { values } = singularValues([3, 0, 4, 5], 2, 2);
 * assertAlmostEquals(values[0] ?? 0, Math.sqrt(45), 1e-12);
 * ```
 */
export function singularValues(
  matrix: ArrayLike<number>,
  rows: number,
  columns: number,
): SingularValues {
  if (matrix.length !== rows * columns) {
    throw new RangeError(
      `Cannot decompose a matrix: expected ${rows} × ${columns} numbers, found ${matrix.length}.`,
    );
  }
  const list = Array.from(
    { length: columns },
    (_, j) => Float64Array.from({ length: rows }, (_, i) => matrix[i * columns + j] ?? 0),
  );
  const turned = list.map((_, j) => Float64Array.from({ length: columns }, (_, i) => +(i === j)));
  for (let sweep = 0, busy = true; busy && sweep < MOST_SWEEPS; sweep++) {
    busy = false;
    for (let i = 0; i < columns; i++) {
      for (let j = i + 1; j < columns; j++) busy = orthogonalise(list, turned, i, j) || busy;
    }
  }
  const found = list.map((column, at) => {
    const value = Math.sqrt(dot(column, column));
    const left = column.map((x) => value === 0 ? 0 : x / value);
    return { value, left, right: turned[at] ?? new Float64Array(columns) };
  }).toSorted((a, b) => b.value - a.value);
  return {
    values: found.map(({ value }) => value),
    left: found.map(({ left }) => left),
    right: found.map(({ right }) => right),
  };
}

/** The nearest matrix of a rank: the sum of the first `rank` layers, row by row. */
export function lowRank({ values, left, right }: SingularValues, rank: number): Float64Array {
  const [rows, columns] = [left[0]?.length ?? 0, right[0]?.length ?? 0];
  const sum = new Float64Array(rows * columns);
  for (let k = 0; k < Math.min(rank, values.length); k++) {
    for (let i = 0; i < rows; i++) {
      const factor = (values[k] ?? 0) * (left[k]?.[i] ?? 0);
      for (let j = 0; j < columns; j++) {
        sum[i * columns + j] = (sum[i * columns + j] ?? 0) + factor * (right[k]?.[j] ?? 0);
      }
    }
  }
  return sum;
}

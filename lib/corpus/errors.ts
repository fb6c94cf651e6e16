/** An error about the corpus itself: a file, a row or an option that is not as it must be. */
export class CorpusError extends Error {
  override readonly name = "CorpusError";
}
